"""PyPI's xiaozhi-sdk, a real client, against the running server with real engines."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, cast

import numpy as np
import pytest

from tests.support.llm.server import Reply, Script, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak, quiet
from voiceagent.audio.pcm import Pcm, to_bytes
from voiceagent.audio.resample import Resampler
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.settings import Settings

xiaozhi_sdk = pytest.importorskip("xiaozhi_sdk", reason="xiaozhi-sdk is not installed: pip install xiaozhi-sdk")
pytestmark = pytest.mark.real

Json = dict[str, object]
FRAME_MS = 60
DEADLINE = 30.0
LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far."
)


class Sdk(Protocol):
    """What is used of its client."""

    output_audio_queue: list[Pcm]
    mode: str

    async def set_mcp_tool(self, mcp_tool_list: list[Json]) -> None: ...
    async def init_connection(self, mac_addr: str) -> bool: ...
    async def send_audio(self, pcm: bytes) -> bool: ...
    async def send_text(self, content: str) -> bool: ...
    async def send_abort(self) -> None: ...
    async def close(self) -> None: ...


class Client:
    """Plays nothing, but keeps what it would. Its microphone never stops."""

    def __init__(self, make: Callable[..., Sdk], url: str, audio_format: str, mode: str) -> None:
        self.told: list[Json] = []
        self.sdk = make(
            message_handler_callback=self._take,
            url=url,
            audio_sample_rate=16_000,
            audio_output_sample_rate=16_000,
            audio_frame_duration=FRAME_MS,
            audio_format=audio_format,
        )
        self.sdk.mode = mode
        self._to_say = np.zeros(0, np.int16)

    async def _take(self, message: Json) -> None:
        self.told.append(message)

    def say(self, pcm: Pcm) -> None:
        narrow = Resampler(24_000, 16_000, "quality")
        self._to_say = np.concatenate((narrow.push(pcm), narrow.flush()))

    async def listen(self) -> None:
        size = 16 * FRAME_MS
        due = asyncio.get_running_loop().time()
        while True:
            piece, self._to_say = self._to_say[:size], self._to_say[size:]
            await self.sdk.send_audio(to_bytes(np.concatenate((piece, np.zeros(size - len(piece), np.int16)))))
            due += FRAME_MS / 1000
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    def of(self, kind: str, state: str | None = None) -> list[Json]:
        return [told for told in self.told if told["type"] == kind and state in (None, told.get("state"))]

    async def until(self, kind: str, state: str | None = None, count: int = 1) -> Json:
        async with asyncio.timeout(DEADLINE):
            while len(self.of(kind, state)) < count:  # noqa: ASYNC110 - the package has only a callback
                await asyncio.sleep(0.02)
        return self.of(kind, state)[count - 1]

    @property
    def seconds(self) -> float:
        """Of sound that it was sent."""
        return sum(len(samples) for samples in list(self.sdk.output_audio_queue)) / 16_000


@asynccontextmanager
async def talking(
    engines_for: EnginesFor,
    script: Script,
    *,
    tools: tuple[Json, ...] = (),
    audio_format: str = "opus",
    mode: str = "realtime",
    section: XiaozhiSection | None = None,
) -> AsyncIterator[tuple[Client, ScriptedLlm]]:
    settings = Settings(xiaozhi=section or XiaozhiSection(on_wake="silent"))
    async with ScriptedLlm(script) as llm, running(settings, engines_for(llm.base_url)) as (voice, url):
        client = Client(xiaozhi_sdk.XiaoZhiWebsocket, f"{url}/xiaozhi/v1/", audio_format, mode)
        await client.sdk.set_mcp_tool(list(tools))
        assert await client.sdk.init_connection("00:22:44:66:88:00")
        listening = asyncio.create_task(client.listen())
        try:
            yield client, llm
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            await client.sdk.close()
        async with asyncio.timeout(5):
            while voice.admission.sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(("audio_format", "mode"), [("opus", "realtime"), ("opus", "auto"), ("pcm", "realtime")])
async def test_a_voice_turn(engines_for: EnginesFor, speak: Speak, audio_format: str, mode: str) -> None:
    script = ["Paris. It is lovely."]
    async with talking(engines_for, script, audio_format=audio_format, mode=mode) as (client, llm):
        client.say(np.concatenate([quiet(0.3), speak("What is the capital of France?")]))
        stt = await client.until("stt")
        assert "capital of France" in cast(str, stt["text"])
        await client.until("tts", "stop")
        said = " ".join(cast(str, told["text"]) for told in client.of("tts", "sentence_start"))
        assert said == script[0]
        assert client.of("tts")[0]["state"] == "start"
        assert client.of("llm")[0]["emotion"] == "neutral"
        assert 0.8 < client.seconds < 4.0
        loudest = max(int(np.abs(samples).max()) for samples in list(client.sdk.output_audio_queue))
        assert loudest > 3_000
        assert "France" in llm.requests[0].messages[-1]["content"]


async def test_typed_words(engines_for: EnginesFor) -> None:
    async with talking(engines_for, ["Hello! Nice to meet you."]) as (client, llm):
        await client.sdk.send_text("你好，请介绍一下自己")
        await client.until("tts", "stop")
        assert client.of("stt")[0]["text"] == "你好，请介绍一下自己"
        assert client.of("llm")[0]["emotion"] == "happy"
        assert llm.requests[0].messages[-1] == {"role": "user", "content": "你好，请介绍一下自己"}


async def test_a_tool_of_the_client_is_called(engines_for: EnginesFor) -> None:
    calls: list[Json] = []

    def set_volume(arguments: Json) -> tuple[Json, bool]:
        calls.append(arguments)
        return {"volume": arguments["volume"]}, False

    tool: Json = {
        "name": "self.audio_speaker.set_volume",
        "description": "Set the volume.",
        "inputSchema": {
            "type": "object",
            "properties": {"volume": {"type": "integer", "minimum": 0, "maximum": 100}},
            "required": ["volume"],
        },
        "tool_func": set_volume,
    }
    script: list[Reply | str] = [
        Reply(calls=[("self_audio_speaker_set_volume", '{"volume": 40}')]),
        "The volume is forty.",
    ]
    async with talking(engines_for, script, tools=(tool,)) as (client, llm):
        await client.sdk.send_text("set the volume to forty please")
        await client.until("tts", "stop")
        assert calls == [{"volume": 40}]
        (offered,) = cast(list[Json], llm.requests[0].body["tools"])
        assert cast(Json, offered["function"])["name"] == "self_audio_speaker_set_volume"
        result = llm.requests[1].messages[-1]
        assert (result["role"], result["content"]) == ("tool", '{"volume": 40}')
        assert client.of("tts", "sentence_start")[-1]["text"] == "The volume is forty."


async def test_an_abort(engines_for: EnginesFor) -> None:
    async with talking(engines_for, [LONG, "Yes?"]) as (client, llm):
        await client.sdk.send_text("tell me about the moon")
        await client.until("tts", "start")
        await asyncio.sleep(1.0)
        await client.sdk.send_abort()
        await client.until("tts", "stop", 2)
        heard = client.seconds
        await asyncio.sleep(0.5)
        assert client.seconds == heard
        await client.sdk.send_text("are you there")
        await client.until("tts", "stop", 3)
        assistant = llm.requests[1].messages[-2]
        assert assistant["role"] == "assistant"
        assert LONG.startswith(assistant["content"])
        assert len(assistant["content"]) < len(LONG) / 2


async def test_the_user_cuts_in(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, [LONG, "Fine, I will stop."]) as (client, llm):
        client.say(np.concatenate([quiet(0.3), speak("Tell me all about the moon.")]))
        await client.until("tts", "start")
        await asyncio.sleep(1.0)
        client.say(speak("Stop, that is enough for now."))
        await client.until("stt", count=2)
        states = [told["state"] for told in client.of("tts") if told["state"] != "sentence_start"]
        assert states[:4] == ["start", "stop", "start", "stop"]
        await client.until("tts", "stop", 3)
        assert "enough" in llm.requests[-1].messages[-1]["content"]
        heard = llm.requests[-1].messages[-2]["content"]
        assert LONG.startswith(heard)
        assert len(heard) < len(LONG)
