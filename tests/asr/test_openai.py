"""The client of OpenAI's transcription endpoint, against a server on loopback that reads what it is sent."""

import asyncio
import email
import email.policy
import io
import socket
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from voiceagent.asr.base import AsrHint, Transcript
from voiceagent.asr.openai import OpenAIAsr, OpenAIAsrOptions
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore

Mood = Literal["well", "slow", "500", "429", "401", "404", "302", "garbage", "other json", "latin", "cut"]


def speech(ms: int) -> Pcm:
    return (np.random.default_rng(0).standard_normal(ms * EAR_RATE // 1000) * 2000).astype(np.int16)


@dataclass
class Seen:
    """One request as the server understood it."""

    headers: dict[str, str]
    form: dict[str, str]
    pcm: Pcm
    client_port: int


@dataclass
class Transcriber:
    """Answers with the length of the audio in ms. `moods` are used up, one a request; then all is well."""

    url: str = ""
    moods: list[Mood] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    patience: asyncio.Event = field(default_factory=asyncio.Event)

    async def transcribe(self, request: Request) -> Response:
        form = await multipart(request)
        upload = form.pop("file")
        assert upload.get_filename() == "speech.wav"
        with wave.open(io.BytesIO(content(upload))) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, EAR_RATE)
            pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        fields = {name: content(part).decode() for name, part in form.items()}
        assert request.client
        self.seen.append(Seen(dict(request.headers), fields, pcm, request.client.port))
        self.came.set()
        return await self.answer(self.moods.pop(0) if self.moods else "well", pcm)

    async def answer(self, mood: Mood, pcm: Pcm) -> Response:
        match mood:
            case "slow":
                await self.patience.wait()
            case "500" | "429" | "401" | "404":
                return JSONResponse({"error": {"message": "your words"}}, int(mood))
            case "302":
                return Response(status_code=302, headers={"location": "http://127.0.0.1:1/"})
            case "garbage":
                return Response("<html>", media_type="application/json")
            case "latin":
                return Response('{"text": "é"}'.encode("latin-1"), media_type="application/json")
            case "other json":
                return JSONResponse({"text": None})
            case "cut":
                return Cut()
            case "well":
                pass
        return JSONResponse({"text": f" {len(pcm) * 1000 // EAR_RATE} ms，你好 "})


async def multipart(request: Request) -> dict[str, Message]:
    """The parts of a form by name."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    form = email.message_from_bytes(head + await request.body(), policy=email.policy.HTTP)
    assert form.get_content_type() == "multipart/form-data"
    assert not form.defects
    return {str(part.get_param("name", header="content-disposition")): part for part in form.iter_parts()}


def content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


class Cut(Response):
    """An answer whose connection breaks before its body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise ConnectionResetError("by the test")


class Server(uvicorn.Server):
    """Leaves the process's signal handlers alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def server() -> AsyncIterator[Transcriber]:
    transcriber = Transcriber()
    app = Starlette(routes=[Route("/v1/audio/transcriptions", transcriber.transcribe, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transcriber.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        running = Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", ws="none"))
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        yield transcriber
        transcriber.patience.set()
        running.should_exit = True
        await serving


@asynccontextmanager
async def engine_for(url: str, tmp_path: Path, **options: object) -> AsyncIterator[OpenAIAsr]:
    given = {"base_url": url, "api_key": "sk-test", **options}
    engine = OpenAIAsr(OpenAIAsrOptions.model_validate(given), ModelStore(tmp_path))
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
async def asr(server: Transcriber, tmp_path: Path) -> AsyncIterator[OpenAIAsr]:
    async with engine_for(server.url, tmp_path) as engine:
        yield engine


async def test_the_utterance_arrives_whole_and_in_order(asr: OpenAIAsr, server: Transcriber) -> None:
    stream = asr.stream(AsrHint(language="zh-CN", prompt="小智"))
    pcm = speech(1000)
    for start in range(0, len(pcm), 320):
        stream.push(pcm[start : start + 320])
        assert await stream.partial() == ""
    assert await stream.finish() == Transcript("1000 ms，你好")
    (request,) = server.seen
    assert np.array_equal(request.pcm, pcm)
    assert request.form == {"model": "whisper-1", "response_format": "json", "language": "zh", "prompt": "小智"}
    assert request.headers["authorization"] == "Bearer sk-test"


async def test_the_same_speech_is_not_sent_twice(asr: OpenAIAsr, server: Transcriber) -> None:
    stream = asr.stream(AsrHint())
    stream.push(speech(1000))
    stream.push(silence(EAR_RATE // 5))
    first = await stream.finish()
    stream.push(silence(EAR_RATE // 2))
    assert await stream.finish() is first
    assert len(server.seen) == 1
    stream.push(speech(500))
    assert await stream.finish() == Transcript("2200 ms，你好")
    stream.close()


async def test_silence_is_not_sent(asr: OpenAIAsr, server: Transcriber) -> None:
    for pcm in (silence(0), silence(EAR_RATE), speech(50)):
        stream = asr.stream(AsrHint())
        stream.push(pcm)
        assert await stream.finish() == Transcript("")
    assert server.seen == []


async def test_one_connection_serves_many_utterances(asr: OpenAIAsr, server: Transcriber) -> None:
    for _ in range(3):
        stream = asr.stream(AsrHint())
        stream.push(speech(200))
        await stream.finish()
    assert len({request.client_port for request in server.seen}) == 1


async def test_options_are_sent(server: Transcriber, tmp_path: Path) -> None:
    options = {"model": "sense-voice", "language": "de", "headers": {"X-Team": "voice"}, "api_key": ""}
    async with engine_for(server.url + "/", tmp_path, **options) as engine:
        stream = engine.stream(AsrHint())
        stream.push(speech(200))
        await stream.finish()
    (request,) = server.seen
    assert request.form == {"model": "sense-voice", "response_format": "json", "language": "de"}
    assert request.headers["x-team"] == "voice"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("mood", ["500", "cut"])
async def test_a_passing_fault_is_tried_again(asr: OpenAIAsr, server: Transcriber, mood: Mood) -> None:
    server.moods = [mood]
    stream = asr.stream(AsrHint())
    stream.push(speech(300))
    assert await stream.finish() == Transcript("300 ms，你好")
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("moods", "code", "requests"),
    [
        (["500", "500"], "unavailable", 2),
        (["cut", "cut"], "unavailable", 2),
        (["500", "429"], "rate_limited", 2),
        (["429"], "rate_limited", 1),
        (["401"], "unauthorized", 1),
        (["404"], "bad_request", 1),
        (["302"], "bad_response", 1),
        (["garbage"], "bad_response", 1),
        (["latin"], "bad_response", 1),
        (["other json"], "bad_response", 1),
        (["slow"], "timeout", 1),
    ],
)
async def test_faults_have_codes_and_keep_the_words_and_keys_to_themselves(
    server: Transcriber, tmp_path: Path, moods: list[Mood], code: str, requests: int
) -> None:
    server.moods = moods
    async with engine_for(server.url, tmp_path, timeout_seconds=0.3 if "slow" in moods else 10) as engine:
        stream = engine.stream(AsrHint())
        stream.push(speech(300))
        with pytest.raises(EngineError) as caught:
            await stream.finish()
        assert (caught.value.stage, caught.value.code) == ("asr", code)
        assert "your words" not in caught.value.message
        assert "sk-test" not in caught.value.message
        assert len(server.seen) == requests
        assert await stream.finish() == Transcript("300 ms，你好")  # nothing was lost


async def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with engine_for(f"http://127.0.0.1:{port}/v1", tmp_path) as engine:
        stream = engine.stream(AsrHint())
        stream.push(speech(300))
        with pytest.raises(EngineError, match="no connection") as caught:
            await stream.finish()
        assert caught.value.code == "unavailable"


async def test_a_cancelled_request_does_no_harm(asr: OpenAIAsr, server: Transcriber) -> None:
    server.moods = ["slow"]
    stream = asr.stream(AsrHint())
    stream.push(speech(300))
    call = asyncio.create_task(stream.finish())
    async with asyncio.timeout(10):
        await server.came.wait()
    call.cancel()
    stream.push(speech(300))
    assert await stream.finish() == Transcript("600 ms，你好")


async def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "VOICEAGENT_ASR_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    store = ModelStore(tmp_path)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        OpenAIAsr(OpenAIAsrOptions(), store)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-general")
    assert OpenAIAsrOptions().base_url == "https://api.openai.com/v1"
    OpenAIAsr(OpenAIAsrOptions(), store)
    monkeypatch.setenv("VOICEAGENT_ASR_API_KEY", "sk-asr")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    options = OpenAIAsrOptions()
    assert options.api_key.get_secret_value() == "sk-asr"
    assert options.base_url == "http://localhost:9/v1"
    assert "sk-asr" not in repr(options)
    with pytest.raises(ConfigError, match="base_url"):
        OpenAIAsr(OpenAIAsrOptions(base_url="localhost:9"), store)
    with pytest.raises(EngineError, match="not open"):
        OpenAIAsr(options, store).stream(AsrHint())
