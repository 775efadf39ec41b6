"""The client of OpenAI's speech endpoint, against a server on loopback that sends its audio in awkward pieces."""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from voiceagent.audio.pcm import Pcm, silence, to_bytes
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsRequest
from voiceagent.tts.openai import OpenAITts
from voiceagent.tts.pcm_stream import PcmStream

STORE = ModelStore(Path("/nonexistent"))
RATE = 24_000
TONE: Pcm = (np.sin(np.arange(RATE) * 0.1) * 5000).astype(np.int16)
SPEECH: Pcm = np.concatenate([silence(RATE // 5), TONE, silence(RATE // 2)])


def wav(pcm: Pcm, rate: int = RATE, channels: int = 1, size: int | None = None, extra: bytes = b"") -> bytes:
    data = to_bytes(pcm)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    chunk = struct.pack("<4sI", b"data", len(data) if size is None else size)
    return struct.pack("<4sI4s", b"RIFF", 0xFFFFFFFF, b"WAVE") + fmt + extra + chunk + data


@dataclass
class SpeechServer:
    """Answers every POST with `status`, `kind` and `body`, in pieces of `piece` bytes with `pause` between them.

    `breaks_after`: bytes after which the connection is reset. `drops`: how many kept connections to close unanswered.
    """

    body: bytes = to_bytes(SPEECH)
    status: int = 200
    kind: str = "audio/pcm"
    piece: int = 4801
    pause: float = 0.0
    breaks_after: int | None = None
    mute: bool = False
    drops: int = 0
    url: str = ""
    asked: list[tuple[dict[str, str], dict[str, object]]] = field(default_factory=list)
    sent: int = 0
    lost: int = 0
    connections: int = 0
    connections_over: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.lost += 1
        finally:
            writer.close()
            self.connections_over += 1

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request. Returns whether the connection is kept."""
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        assert first.startswith("POST /v1/audio/speech ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if self.drops and self.asked:
            self.drops -= 1
            return False
        self.asked.append((headers, json.loads(body)))
        if self.mute:
            await reader.read()
            return False
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Type: {self.kind}\r\n".encode())
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(self.body), self.piece):
            piece = self.body[start : start + self.piece]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            self.sent += len(piece)
            if self.breaks_after is not None and self.sent > self.breaks_after:
                writer.transport.abort()
                return False
            if self.pause:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hangs_up(reader), self.pause)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _hangs_up(self, reader: asyncio.StreamReader) -> None:
        assert not await reader.read(1)
        raise ConnectionResetError


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is waited for happens in the other end of a socket
            await asyncio.sleep(0.01)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SpeechServer]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VOICEAGENT_TTS_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    state = SpeechServer()
    listening = await asyncio.start_server(state.serve, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    async with listening:
        yield state
        await until(lambda: state.connections_over == state.connections)
        await asyncio.sleep(0.02)  # httpx's nested generators close one after the other, each in a pass of the loop


@asynccontextmanager
async def opened(server: SpeechServer, **options: object) -> AsyncIterator[OpenAITts]:
    tts = OpenAITts(OpenAITts.Options.model_validate({"base_url": server.url, **options}), STORE)
    await tts.open()
    try:
        yield tts
    finally:
        await tts.close()


async def said(server: SpeechServer, text: str = "Hello.", **options: object) -> Pcm:
    async with opened(server, **options) as tts:
        return np.concatenate([silence(0), *[audio.pcm async for audio in tts.speak(TtsRequest(text))]])


def assert_trimmed(pcm: Pcm) -> None:
    assert abs(len(pcm) / RATE - (0.025 + 1.0 + 0.16)) < 0.02
    assert np.count_nonzero(pcm) == np.count_nonzero(TONE)


@pytest.mark.parametrize("piece", [1, 3, 4801, 1_000_000])
async def test_samples_arrive_whole_however_they_are_cut(server: SpeechServer, piece: int) -> None:
    server.piece, server.body = piece, server.body if piece > 3 else to_bytes(SPEECH)[: RATE // 2]
    pcm = await said(server)
    if piece > 3:
        assert_trimmed(pcm)
    else:
        assert np.count_nonzero(pcm) == np.count_nonzero(SPEECH[: RATE // 4])


@pytest.mark.parametrize(
    "body",
    [
        wav(SPEECH),
        wav(SPEECH, size=0),
        wav(SPEECH, size=0xFFFFFFFF),
        wav(SPEECH, extra=struct.pack("<4sI5sx", b"LIST", 5, b"words")),
        wav(SPEECH) + b"LIST\xff\x7f\xff\x7f",
    ],
)
async def test_a_wav_file_is_played_without_its_header(server: SpeechServer, body: bytes) -> None:
    server.body, server.kind, server.piece = body, "audio/wav", 7919
    assert_trimmed(await said(server))


@pytest.mark.parametrize(
    ("body", "says"),
    [(wav(SPEECH, rate=22_050), "sample_rate = 22050"), (wav(SPEECH, channels=2), "mono"), (b"RIFF" * 30_000, "WAV")],
)
async def test_a_wav_file_of_another_kind_is_refused(server: SpeechServer, body: bytes, says: str) -> None:
    server.body, server.kind = body, "audio/wav"
    with pytest.raises(EngineError, match=says) as caught:
        await said(server)
    assert caught.value.code == "bad_response"


async def test_what_is_asked(server: SpeechServer) -> None:
    options = {"model": "m", "api_key": "k", "extra_body": {"instructions": "slowly"}, "extra_headers": {"X-Org": "o"}}
    async with opened(server, **options) as tts:
        assert tts.sample_rate == RATE
        async for _ in tts.speak(TtsRequest("你好。", voice="nova", speed=1.5)):
            pass
    headers, body = server.asked[0]
    assert (headers["authorization"], headers["x-org"]) == ("Bearer k", "o")
    expected = {"model": "m", "voice": "nova", "input": "你好。", "response_format": "pcm"}
    assert body == {**expected, "speed": 1.5, "instructions": "slowly"}


async def test_the_environment_names_server_and_key(server: SpeechServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "general")
    assert OpenAITts.Options().api_key.get_secret_value() == "general"
    monkeypatch.setenv("VOICEAGENT_TTS_API_KEY", "own")
    options = OpenAITts.Options()
    assert (options.base_url, options.api_key.get_secret_value()) == (server.url, "own")
    assert "own" not in repr(options)


async def test_audio_is_passed_on_as_it_comes(server: SpeechServer) -> None:
    server.pause, server.piece = 0.1, 12_000
    async with opened(server) as tts, aclosing(tts.speak(TtsRequest("Hello."))) as pieces:
        await anext(pieces)
        assert server.sent < len(server.body)


async def test_closing_early_ends_the_request(server: SpeechServer) -> None:
    server.pause, server.piece = 5.0, 24_000
    async with opened(server) as tts:
        async with aclosing(tts.speak(TtsRequest("Hello."))) as pieces:
            await anext(pieces)
        await until(lambda: server.lost > 0)


@pytest.mark.parametrize("text", ["", "...", "😀"])
async def test_nothing_to_say_asks_nothing(server: SpeechServer, text: str) -> None:
    assert len(await said(server, text)) == 0
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (403, "unauthorized"),
        (408, "timeout"),
        (429, "rate_limited"),
        (400, "bad_request"),
        (404, "bad_request"),
        (500, "unavailable"),
        (503, "unavailable"),
        (504, "timeout"),
        (302, "bad_response"),
    ],
)
async def test_refusals_are_typed(server: SpeechServer, status: int, code: str) -> None:
    server.status, server.body = status, b'{"error": {"message": "secret words"}}'
    with pytest.raises(EngineError, match=str(status)) as caught:
        await said(server, "secret words")
    assert (caught.value.stage, caught.value.code) == ("tts", code)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["application/json", "text/html; charset=utf-8", "audio/mpeg"])
async def test_what_is_not_samples_is_not_played(server: SpeechServer, kind: str) -> None:
    server.kind = kind
    with pytest.raises(EngineError) as caught:
        await said(server)
    assert caught.value.code == "bad_response"


@pytest.mark.parametrize("body", [b"", b"\x00" * 48_000, b"R", b"\x01"])
async def test_an_answer_without_sound_is_an_error(server: SpeechServer, body: bytes) -> None:
    server.body = body
    with pytest.raises(EngineError, match="no sound") as caught:
        await said(server)
    assert caught.value.code == "no_sound"


async def test_a_reset_in_the_middle(server: SpeechServer) -> None:
    server.breaks_after = 20_000
    with pytest.raises(EngineError) as caught:
        await said(server)
    assert caught.value.code == "unavailable"


async def test_a_kept_connection_that_was_closed_costs_nothing(server: SpeechServer) -> None:
    server.drops = 1
    async with opened(server) as tts:
        for _ in range(2):
            assert [audio async for audio in tts.speak(TtsRequest("Hello."))]
    assert (len(server.asked), server.connections) == (2, 2)


async def test_a_silent_server_is_given_up(server: SpeechServer) -> None:
    server.mute = True
    with pytest.raises(EngineError) as caught:
        await said(server, read_seconds=0.2)
    assert caught.value.code == "timeout"


async def test_nobody_there(server: SpeechServer) -> None:
    start = time.monotonic()
    with pytest.raises(EngineError) as caught:
        await said(server, base_url="http://127.0.0.1:1/v1")
    assert caught.value.code == "unavailable"
    assert time.monotonic() - start < 5


async def test_what_cannot_work_is_said_at_the_start(server: SpeechServer) -> None:
    with pytest.raises(ConfigError, match="api_key"):
        await OpenAITts(OpenAITts.Options(), STORE).open()
    for wrong in ({"base_url": "ftp://x"}, {"api_key": "a\nb"}, {"nonsense": 1}):
        with pytest.raises(ValidationError):
            OpenAITts.Options.model_validate(wrong)
    with pytest.raises(EngineError, match="not open"):
        await anext(OpenAITts(OpenAITts.Options(base_url=server.url), STORE).speak(TtsRequest("Hello.")))


@given(st.lists(st.integers(0, 200), max_size=10), st.booleans())
def test_bytes_may_be_cut_anywhere(places: list[int], header: bool) -> None:
    pcm = np.arange(-40, 40, dtype=np.int16)
    data = wav(pcm) if header else to_bytes(pcm)
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    stream = PcmStream(RATE)
    parts = [stream.push(data[start:end]) for start, end in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), pcm)


@given(st.binary(max_size=200))
def test_any_header_is_read_or_refused(data: bytes) -> None:
    stream = PcmStream(RATE)
    with suppress(ValueError):
        stream.push(b"RIFF\x00\x00\x00\x00WAVE" + data)
        stream.push(data)
