"""The built-in English voice, for real."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.hibari import HibariTts

pytestmark = pytest.mark.real
STORE = ModelStore(Path("/nonexistent"))


@pytest.fixture(scope="module")
def voice() -> Iterator[HibariTts]:
    """Opened on a loop of its own, used on others."""
    engine = HibariTts(HibariTts.Options(), STORE)
    asyncio.run(engine.open())
    yield engine
    asyncio.run(engine.close())


async def said(engine: HibariTts, text: str, voice: str | None = None, speed: float = 1.0) -> list[TtsAudio]:
    return [audio async for audio in engine.speak(TtsRequest(text, voice=voice, speed=speed))]


def loud_blocks(audio: TtsAudio) -> tuple[int, int]:
    """Milliseconds of quiet before and after the sound."""
    block = 24_000 // 200
    whole = len(audio.pcm) // block * block
    levels = np.sqrt(np.mean(audio.pcm[:whole].reshape(-1, block).astype(float) ** 2, axis=1))
    loud = np.flatnonzero(levels > 65)
    return int(loud[0]) * 5, int(len(levels) - 1 - loud[-1]) * 5


async def test_speech_begins_at_once_and_pauses_naturally(voice: HibariTts) -> None:
    for text, pause in (("Hello there, how are you?", 160), ("Of course,", 70), ("and then we", 30)):
        (audio,) = await said(voice, text)
        lead, tail = loud_blocks(audio)
        assert lead <= 30
        assert abs(tail - pause) <= 10
        assert 0.3 < len(audio.pcm) / voice.sample_rate < 3


async def test_each_sentence_is_a_piece_of_its_own(voice: HibariTts) -> None:
    assert len(await said(voice, "It is sunny. Dr. Smith goes out. Will you come?")) == 3


async def test_the_pace_follows_the_request(voice: HibariTts) -> None:
    text = "It is a sunny day and we are all going out for a walk."
    lengths = [sum(len(audio.pcm) for audio in await said(voice, text, speed=speed)) for speed in (0.7, 1.0, 1.6)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 1.5 * lengths[2]


@pytest.mark.parametrize("text", ["", "...", "?!", "😀", " \n"])
async def test_nothing_to_say_is_nothing_said(voice: HibariTts, text: str) -> None:
    assert await said(voice, text) == []


@pytest.mark.parametrize("text", ["你好，世界。", "こんにちは"])
async def test_what_it_cannot_say_is_an_error_not_silence(voice: HibariTts, text: str) -> None:
    with pytest.raises(EngineError) as caught:
        await said(voice, text)
    assert (caught.value.stage, caught.value.code) == ("tts", "bad_request")
    assert text not in str(caught.value)


async def test_voices(voice: HibariTts) -> None:
    assert await said(voice, "Hello.", voice="heart")
    assert await said(voice, "Hello.", voice="alloy")  # what OpenAI's clients ask for by default
    with pytest.raises(EngineError, match="heart") as caught:
        await said(voice, "Hello.", voice="emma")
    assert caught.value.code == "bad_request"


async def test_closing_early_stops_the_work(voice: HibariTts) -> None:
    start = time.monotonic()
    async with aclosing(voice.speak(TtsRequest("This is a sentence. " * 500))) as pieces:
        await anext(pieces)
    assert time.monotonic() - start < 5
    assert await said(voice, "And on it goes.")


async def test_many_at_once(voice: HibariTts) -> None:
    texts = [f"This is sentence number {number}, and it is said." for number in range(12)]
    alone = len((await said(voice, texts[0]))[0].pcm)
    together = await asyncio.gather(*(said(voice, text) for text in texts))
    assert all(len(pieces) == 1 for pieces in together)
    assert abs(len(together[0][0].pcm) - alone) < 2400


@pytest.mark.parametrize(("name", "says"), [("nobody", "emma"), ("emma", "hibari --voice emma")])
async def test_a_voice_that_is_not_there(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=says):
        await HibariTts(HibariTts.Options(voice=name), STORE).open()


async def test_before_open_and_after_close() -> None:
    engine = HibariTts(HibariTts.Options(), STORE)
    await engine.close()
    with pytest.raises(EngineError, match="not open"):
        await said(engine, "Hello.")
