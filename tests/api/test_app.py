"""The application of an agent: by itself, and mounted in another one, over real sockets."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from tests.support.llm.server import ScriptedLlm
from tests.support.session.bench import LoudnessVad, WordsAsr
from voiceagent import Agent, ConfigError, TtsAudio, TtsRequest, create_app, tool
from voiceagent.audio.pcm import silence
from voiceagent.channels.telephone.vendors.twilio import twilio_signature


class QuietTts:
    """A voice of one's own: a tenth of a second of silence for each clause."""

    sample_rate = 24_000

    def __init__(self) -> None:
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def speak(self, request: TtsRequest) -> AsyncIterator[TtsAudio]:
        yield TtsAudio(silence(2400))

    async def close(self) -> None:
        self.closed += 1


@tool
def nothing() -> str:
    """Does nothing."""
    return "done"


def agent_of(base_url: str, tts: object = None, settings: dict[str, object] | None = None) -> Agent:
    return Agent(
        "Be brief.",
        tools=[nothing],
        vad=LoudnessVad(),
        asr=WordsAsr(["hello"]),
        tts=tts or QuietTts(),  # type: ignore[arg-type]
        llm={"engine": "openai", "base_url": base_url, "model": "scripted"},
        settings=settings,
    )


@asynccontextmanager
async def listening(app: ASGIApp, lifespan: str = "auto") -> AsyncIterator[str]:
    """A server of uvicorn's own with this application; yields its authority."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan=lifespan))  # type: ignore[arg-type]
    serving = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(30):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        await asyncio.get_running_loop().shutdown_default_executor()  # it read the bundled apology


async def ask(url: str, text: str) -> str:
    """What is answered to a text at a Realtime address."""
    async with websockets.connect(url, proxy=None) as socket_:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await socket_.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await socket_.send(json.dumps({"type": "response.create", "response": {"output_modalities": ["text"]}}))
        async with asyncio.timeout(20):
            async for message in socket_:
                event = json.loads(message)
                if event["type"] == "response.output_text.done":
                    return str(event["text"])
                assert event["type"] != "error", event
    raise AssertionError("the connection ended")


async def test_app_by_itself_serves_and_closes_its_engines() -> None:
    voice = QuietTts()
    async with (
        ScriptedLlm(["By itself."]) as llm,
        listening(create_app(agent_of(llm.base_url, voice)), "on") as place,
        httpx.AsyncClient(base_url=f"http://{place}") as http,
    ):
        assert (await http.get("/healthz")).json()["status"] == "ok"
        assert await ask(f"ws://{place}/v1/realtime", "Hello") == "By itself."
        assert llm.requests[0].body["tools"][0]["function"]["name"] == "nothing"  # type: ignore[index]
    assert (voice.opened, voice.closed) == (1, 1)


async def test_app_mounted_with_the_lifespan_serves_below_its_path() -> None:
    voice = QuietTts()
    async with ScriptedLlm(["Mounted."]) as llm:
        agent = agent_of(llm.base_url, voice)
        outer = Starlette(routes=[Mount("/voice", agent.app)], lifespan=agent.lifespan)
        async with listening(outer, "on") as place:
            assert voice.opened == 1
            async with httpx.AsyncClient(base_url=f"http://{place}", follow_redirects=True) as http:
                assert (await http.get("/voice/healthz")).json()["status"] == "ok"
                page = await http.get("/voice")
                assert page.url.path == "/voice/"
                for link in ("web/app.js", "web/page.css", "web/config.json"):
                    assert (await http.get(page.url.join(link))).status_code == 200
                device = {"device-id": "11:22:33:44:55:66", "client-id": "c"}
                told = (await http.post("/voice/xiaozhi/ota/", json={}, headers=device)).json()
            assert told["websocket"]["url"] == f"ws://{place}/voice/xiaozhi/v1/"
            assert await ask(f"ws://{place}/voice/v1/realtime", "Hello") == "Mounted."
    assert (voice.opened, voice.closed) == (1, 1)


async def test_app_mounted_answers_a_telephone_vendor_with_its_own_path() -> None:
    twilio = {"account_sid": "AC1", "auth_token": "0123456789abcdef"}
    public = "https://voice.example.com/voice"
    async with ScriptedLlm() as llm:
        agent = agent_of(llm.base_url, settings={"telephone": {"public_url": public, "twilio": twilio}})
        outer = Starlette(routes=[Mount("/voice", agent.app)], lifespan=agent.lifespan)
        async with listening(outer, "on") as place, httpx.AsyncClient(base_url=f"http://{place}") as http:
            form = {"CallSid": "CA1"}
            signature = twilio_signature("0123456789abcdef", f"{public}/twilio/voice", tuple(form.items()))
            headers = {"x-twilio-signature": signature}
            answer = await http.post("/voice/twilio/voice", data=form, headers=headers)
            assert answer.status_code == 200
            assert 'url="wss://voice.example.com/voice/twilio"' in answer.text


async def test_app_mounted_without_a_lifespan_loads_at_the_first_request() -> None:
    voice = QuietTts()
    async with ScriptedLlm(["Mounted."]) as llm:
        outer = Starlette(routes=[Mount("/voice", agent_of(llm.base_url, voice).app)])
        async with listening(outer, "on") as place:
            assert voice.opened == 0
            assert await ask(f"ws://{place}/voice/v1/realtime", "Hello") == "Mounted."
            [keeper] = [task for task in asyncio.all_tasks() if task.get_name() == "agent"]
            keeper.cancel()  # as the end of the loop does
            await asyncio.wait((keeper,))
    assert (voice.opened, voice.closed) == (1, 1)


async def test_lifespan_that_cannot_load_the_engines_raises() -> None:
    class Broken(QuietTts):
        async def open(self) -> None:
            raise ConfigError("no such voice")

    agent = agent_of("http://127.0.0.1:9/v1", Broken())
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - a group of errors
        async with agent.lifespan():
            pass
    assert "no such voice" in repr(raised.value.exceptions if hasattr(raised.value, "exceptions") else raised.value)


def test_app_with_a_wrong_configuration_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigError, match="not installed"):
        _ = Agent(tts="nosuch").app


def test_import_is_quick_and_needs_no_extra() -> None:
    code = (
        "import sys, voiceagent\n"
        "for name in ('onnxruntime', 'sherpa_onnx', 'xllamacpp', 'hibari', 'av', 'mcp', 'jwt', 'redis', 'yaml', "
        "'opentelemetry', 'sounddevice'):\n    sys.modules[name] = None  # importing it fails\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] in "
        "('numpy', 'pydantic', 'starlette', 'uvicorn', 'httpx', 'rich', 'typer')]\n"
        "assert not loaded, loaded\n"
        "for name in voiceagent.__all__:\n    getattr(voiceagent, name)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_everything_exported_is_there() -> None:
    import voiceagent

    assert sorted(voiceagent.__all__) == voiceagent.__all__
    assert set(voiceagent.__all__) <= set(dir(voiceagent))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        voiceagent.nothing  # noqa: B018
    assert Path(voiceagent.__file__).name == "__init__.py"
