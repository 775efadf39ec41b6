"""The official openai package's realtime client against the running server, with real engines."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

from tests.support.llm.server import Reply, Script, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak, quiet
from voiceagent.audio.g711 import encode_ulaw
from voiceagent.audio.pcm import Pcm, to_bytes
from voiceagent.audio.resample import Resampler
from voiceagent.settings import Settings

pytestmark = pytest.mark.real

LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far. "
    "Its gravity makes the tides of the sea. It always shows us the same face."
)
OFFICIAL: TypeAdapter[BaseModel] = TypeAdapter(RealtimeServerEvent)


class Client:
    """The openai package's connection, which keeps and strictly validates all it gets."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[BaseModel] = []

    async def until(self, kind: str, count: int = 1) -> BaseModel:
        """Read on until this kind of event has come so often."""
        async with asyncio.timeout(30):
            while sum(event.type == kind for event in self.events) < count:  # type: ignore[attr-defined]
                raw = await self.connection.recv_bytes()
                self.events.append(OFFICIAL.validate_json(raw, strict=True))
        return next(event for event in reversed(self.events) if event.type == kind)  # type: ignore[attr-defined]

    def kinds(self) -> list[str]:
        return [event.type for event in self.events]  # type: ignore[attr-defined]

    def audio(self) -> bytes:
        deltas = [event for event in self.events if event.type == "response.output_audio.delta"]  # type: ignore[attr-defined]
        return b"".join(base64.b64decode(event.delta) for event in deltas)  # type: ignore[attr-defined]

    async def say(self, pcm: Pcm, *, realtime: bool = False) -> None:
        for start in range(0, len(pcm), 2400):
            await self.send_audio(to_bytes(pcm[start : start + 2400]))
            if realtime:
                await asyncio.sleep(0.1)

    async def send_audio(self, data: bytes) -> None:
        await self.connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())


@asynccontextmanager
async def talking(
    engines_for: EnginesFor, script: Script, settings: Settings | None = None
) -> AsyncIterator[tuple[Client, ScriptedLlm]]:
    async with ScriptedLlm(script) as llm, running(settings or Settings(), engines_for(llm.base_url)) as (_, url):
        openai = AsyncOpenAI(api_key="none", websocket_base_url=f"{url}/v1", base_url="http://unused")
        async with openai, openai.realtime.connect(model="gpt-realtime") as connection:
            client = Client(connection)
            await client.until("session.created")
            yield client, llm


async def configure(client: Client, **audio: object) -> None:
    update = {"type": "session.update", "session": {"type": "realtime", "audio": audio}}
    await client.connection.send_raw(json.dumps(update))
    await client.until("session.updated")


async def test_a_voice_turn_in_pcm(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, ["Paris is the capital. It is lovely."]) as (client, llm):
        await configure(client, input={"transcription": {"model": "whisper-1"}})
        await client.say(np.concatenate([quiet(0.3), speak("What is the capital of France?"), quiet(1.5)]))
        done = await client.until("response.done")
        assert done.response.status == "completed"  # type: ignore[attr-defined]
        order = [kind for kind in dict.fromkeys(client.kinds()) if "transcription" not in kind]
        assert order == [
            "session.created",
            "session.updated",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        assert "France" in llm.requests[0].messages[-1]["content"]
        transcript = await client.until("conversation.item.input_audio_transcription.completed")
        assert "capital of France" in transcript.transcript  # type: ignore[attr-defined]
        said = await client.until("response.output_audio_transcript.done")
        assert said.transcript == "Paris is the capital. It is lovely."  # type: ignore[attr-defined]
        assert len(client.audio()) > 24_000 * 2  # more than a second of sound


async def test_a_voice_turn_in_mu_law(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, ["Paris."]) as (client, llm):
        await configure(client, input={"format": {"type": "audio/pcmu"}}, output={"format": {"type": "audio/pcmu"}})
        narrow = Resampler(24_000, 8_000, "quality")
        spoken = np.concatenate([quiet(0.3), speak("What is the capital of France?"), quiet(1.5)])
        await client.send_audio(encode_ulaw(np.concatenate([narrow.push(spoken), narrow.flush()])))
        await client.until("response.done")
        assert "France" in llm.requests[0].messages[-1]["content"]
        assert 1_500 < len(client.audio()) < 16_000


async def test_the_user_cuts_in_and_only_what_was_heard_is_remembered(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, [Reply(LONG), "Fine, I will stop."]) as (client, llm):
        await client.say(np.concatenate([speak("Tell me all about the moon."), quiet(1.0)]))
        await client.until("response.output_audio.delta", 40)
        cutting_in = np.concatenate([speak("Stop, that is enough for now."), quiet(1.0)])
        saying = asyncio.create_task(client.say(cutting_in, realtime=True))
        done = await client.until("response.done")
        assert done.response.status == "cancelled"  # type: ignore[attr-defined]
        assert done.response.status_details.reason == "turn_detected"  # type: ignore[attr-defined]
        kinds = client.kinds()
        started = [index for index, kind in enumerate(kinds) if kind == "input_audio_buffer.speech_started"]
        assert started[1] < kinds.index("response.output_audio.done")
        item = done.response.output[0]  # type: ignore[attr-defined]
        assert item.status == "incomplete"
        heard_by_clock = item.content[0].transcript
        assert LONG.startswith(heard_by_clock)
        await client.connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=1500)
        await client.until("conversation.item.truncated")
        await saying
        await client.until("response.done", 2)
        told = llm.requests[1].messages
        heard = told[-2]["content"]
        assert told[-2]["role"] == "assistant"
        assert LONG.startswith(heard)
        assert 3 <= len(heard.split()) <= 8
        assert "enough" in told[-1]["content"]


async def test_a_typed_turn(engines_for: EnginesFor) -> None:
    async with talking(engines_for, ["Hello there."]) as (client, llm):
        await client.connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "你好"}]}
        )
        await client.connection.response.create(response={"output_modalities": ["text"], "metadata": {"a": "b"}})
        done = await client.until("response.done")
        assert client.kinds() == [
            "session.created",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * client.kinds().count("response.output_text.delta"),
            "response.output_text.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        assert done.response.metadata == {"a": "b"}  # type: ignore[attr-defined]
        assert done.response.output[0].content[0].text == "Hello there."  # type: ignore[attr-defined]
        assert llm.requests[0].messages[-1] == {"role": "user", "content": "你好"}
