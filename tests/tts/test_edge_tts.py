"""The client of Microsoft's read-aloud service, against a server on loopback that speaks its protocol."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from edge_tts.drm import DRM
from hypothesis import given
from hypothesis import strategies as st

from tests.support.edge_tts_server import RATE, TONE, EdgeServer, Mood, mp3, running
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.edge_tts import wire as edge_wire
from voiceagent.tts.edge_tts.engine import EdgeTts
from voiceagent.tts.mp3 import Mp3Decoder
from voiceagent.tts.trim import LEAD_SECONDS

STORE = ModelStore(Path("/nonexistent"))


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EdgeServer]:
    monkeypatch.setattr(DRM, "clock_skew_seconds", 0.0)  # edge_tts keeps it for the process
    async with running() as server:
        yield server


def engine(server: EdgeServer, **options: object) -> EdgeTts:
    return EdgeTts(EdgeTts.Options.model_validate({"base_url": server.url, **options}), STORE)


async def said(tts: EdgeTts, text: str = "Hello, my friend.", voice: str | None = None) -> list[TtsAudio]:
    return [audio async for audio in tts.speak(TtsRequest(text, voice=voice))]


async def test_speech_streams_in_trimmed_with_its_words(server: EdgeServer) -> None:
    pieces = await said(engine(server))
    assert len(pieces) > 3
    pcm = np.concatenate([piece.pcm for piece in pieces])
    assert abs(len(pcm) / RATE - (LEAD_SECONDS + TONE + 0.16)) < 0.06
    words = [word for piece in pieces for word in piece.words]
    assert [word.word for word in words] == ["Hello", "my", "friend"]
    assert abs(words[0].start - LEAD_SECONDS) < 0.06  # 0.2 s of quiet before it were cut, MP3 adds a little
    assert abs(words[2].end - words[1].start - 0.2) < 1e-6
    (asked,) = server.asked
    assert asked.origin is not None
    assert asked.origin.startswith("chrome-extension://")
    assert asked.token


async def test_audio_comes_before_the_answer_is_whole(server: EdgeServer) -> None:
    server.pause = 0.05
    start = time.monotonic()
    arrived = [time.monotonic() - start async for _ in engine(server).speak(TtsRequest("Hello."))]
    assert arrived[-1] - arrived[0] > 0.2


@pytest.mark.parametrize(
    ("text", "options", "language", "voice", "expected"),
    [
        ("Hello.", {}, None, None, "(en-US, EmmaMultilingualNeural)"),
        ("你好。", {}, None, None, "(zh-CN, XiaoxiaoNeural)"),
        ("你好。", {}, "en", None, "(zh-CN, XiaoxiaoNeural)"),
        ("你好。", {}, "zh-TW", None, "(zh-TW, HsiaoChenNeural)"),
        ("こんにちは。", {}, None, None, "(ja-JP, NanamiNeural)"),
        ("Hallo.", {"language": "de_AT"}, None, None, "(de-DE, KatjaNeural)"),
        ("Hallo.", {"language": "de"}, "fr", None, "(fr-FR, DeniseNeural)"),
        ("你好。", {"voices": {"zh": "zh-CN-YunxiNeural"}}, None, None, "(zh-CN, YunxiNeural)"),
        ("你好。", {"voice": "en-US-AriaNeural"}, None, None, "(en-US, AriaNeural)"),
        ("Hello.", {}, None, "en-GB-RyanNeural", "(en-GB, RyanNeural)"),
        ("Hello.", {}, None, "alloy", "(en-US, EmmaMultilingualNeural)"),
        ("Hello.", {}, "tlh", None, "(en-US, EmmaMultilingualNeural)"),
    ],
)
async def test_the_voice_fits_the_language(
    server: EdgeServer, text: str, options: dict[str, object], language: str | None, voice: str | None, expected: str
) -> None:
    request = TtsRequest(text, voice=voice, language=language, speed=1.25)
    assert [audio async for audio in engine(server, **options).speak(request)]
    assert server.asked[0].voice.endswith(expected)
    assert server.asked[0].rate == "+25%"
    assert server.asked[0].text == text


async def test_markup_in_the_text_is_text(server: EdgeServer) -> None:
    text = "1 < 2 & <break time='9s'/>"
    await said(engine(server), text + "\x0b")
    assert server.asked[0].text == text + " "


@pytest.mark.parametrize("text", ["", "...", "😀"])
async def test_nothing_to_say_asks_nothing(server: EdgeServer, text: str) -> None:
    assert await said(engine(server), text) == []
    assert server.asked == []


@pytest.mark.parametrize(
    ("mood", "code"),
    [
        ("403", "unauthorized"),
        ("429", "rate_limited"),
        ("500", "unavailable"),
        ("cut", "unavailable"),
        ("1007", "bad_request"),
        ("garbage", "bad_response"),
        ("bad frame", "bad_response"),
        ("no audio", "no_sound"),
        ("quiet", "no_sound"),
    ],
)
async def test_failures_are_typed(server: EdgeServer, mood: Mood, code: str) -> None:
    server.moods = [mood]
    with pytest.raises(EngineError) as caught:
        await said(engine(server), "my secret words")
    assert (caught.value.stage, caught.value.code) == ("tts", code)
    assert "secret" not in str(caught.value)
    assert await said(engine(server))  # the next clause is none the worse


async def test_a_clock_that_is_wrong_is_mended_by_the_service(server: EdgeServer) -> None:
    server.moods = ["skewed"]
    assert await said(engine(server))
    assert abs(DRM.get_unix_timestamp() - 4_000_000_000) < 60


@pytest.mark.parametrize("moods", [["skewed", "403"], ["skewed", "skewed"]])
async def test_a_second_refusal_is_final(server: EdgeServer, moods: list[Mood]) -> None:
    server.moods = moods
    with pytest.raises(EngineError) as caught:
        await said(engine(server))
    assert caught.value.code == "unauthorized"


async def test_a_stalled_answer_can_be_cancelled(server: EdgeServer) -> None:
    server.moods = ["stall"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await said(engine(server))
    await ended(server)


async def test_closing_early_ends_the_connection(server: EdgeServer) -> None:
    server.pause = 0.2
    async with aclosing(engine(server).speak(TtsRequest("Hello."))) as pieces:
        await anext(pieces)
    await ended(server)


async def ended(server: EdgeServer) -> None:
    async with asyncio.timeout(5):
        while not server.closed:  # noqa: ASYNC110 - it happens in the other end of a socket
            await asyncio.sleep(0.01)


async def test_nobody_there(server: EdgeServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/edge/v1"
        with pytest.raises(EngineError) as caught:
            await said(engine(server, base_url=url))
    assert caught.value.code == "unavailable"


async def test_a_server_that_does_not_shake_hands_is_given_up(server: EdgeServer) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"ws://127.0.0.1:{mute.getsockname()[1]}/edge/v1"
        with pytest.raises(EngineError) as caught:
            await said(engine(server, base_url=url, connect_seconds=0.2))
    assert caught.value.code == "timeout"


@pytest.mark.parametrize("voice", ["Emma", "en-US-Aria'/><x>Neural", "Microsoft Server (a,b'>)"])
async def test_a_voice_that_cannot_be_one(server: EdgeServer, voice: str) -> None:
    with pytest.raises(EngineError) as caught:
        await said(engine(server), voice=voice)
    assert caught.value.code == "bad_request"
    with pytest.raises(ConfigError, match="voice"):
        await engine(server, voice=voice).open()


async def test_too_long_a_text_is_refused(server: EdgeServer) -> None:
    with pytest.raises(EngineError) as caught:
        await said(engine(server), "你" * 2000)
    assert caught.value.code == "bad_request"


async def test_a_wrong_address_is_a_matter_of_configuration(server: EdgeServer) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        await engine(server, base_url="https://example.com").open()
    await engine(server).open()


@given(st.lists(st.integers(0, 13_000), max_size=12))
def test_mp3_may_be_cut_anywhere(places: list[int]) -> None:
    data = mp3()
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    decoder, whole = Mp3Decoder(RATE), Mp3Decoder(RATE)
    parts = [decoder.push(data[start:end]) for start, end in pairwise(edges) if start < end]
    once = np.concatenate([whole.push(data), whole.finish()])
    assert np.array_equal(np.concatenate([*parts, decoder.finish()]), once)
    assert abs(len(once) / RATE - 1.7) < 0.1


@given(st.binary(max_size=300) | st.text(max_size=200))
def test_any_message_is_read_or_refused(message: bytes | str) -> None:
    with suppress(ValueError):
        edge_wire.read(message)


@pytest.mark.parametrize("body", ["", "{}", '{"Metadata": 1}', '{"Metadata": [{"Type": "WordBoundary", "Data": 1}]}'])
def test_unknown_metadata_are_refused(body: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        edge_wire.read(f"Path:audio.metadata\r\n\r\n{body}")
