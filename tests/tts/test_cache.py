"""Kept speech: the same samples and timings, bounded, and only what was whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from tests.support.speech import EnginesFor
from voiceagent.errors import EngineError
from voiceagent.tts.base import TtsAudio, TtsRequest, WordTiming
from voiceagent.tts.cache import CachedTts

SECOND = 24_000


class Voice:
    """A second of audio in two pieces for each request; "broken" breaks off after the first."""

    sample_rate = SECOND

    def __init__(self) -> None:
        self.asked: list[TtsRequest] = []
        self.closed = False

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        self.asked.append(request)
        half = np.full(SECOND // 2, len(self.asked), np.int16)
        yield TtsAudio(half, (WordTiming(request.text, 0.0, 0.4),))
        if request.text == "broken":
            raise EngineError("tts", "unavailable", "gone")
        yield TtsAudio(half)

    async def close(self) -> None:
        self.closed = True


async def said(voice: CachedTts, text: str) -> list[TtsAudio]:
    return [piece async for piece in voice.speak(TtsRequest(text))]


async def test_the_second_time_it_is_there_with_its_words() -> None:
    engine = Voice()
    voice = CachedTts(engine)
    first, again = await said(voice, "Hello."), await said(voice, "Hello.")
    assert len(engine.asked) == 1
    assert [piece.words for piece in again] == [piece.words for piece in first]
    assert all(np.array_equal(one.pcm, other.pcm) for one, other in zip(first, again, strict=True))
    assert (voice.hits, voice.misses) == (1, 1)


async def test_nobody_can_change_what_is_kept() -> None:
    voice = CachedTts(Voice())
    (piece, _) = await said(voice, "Hello.")
    piece.pcm[:] = 99  # the one who was given it first owns it
    (kept, _) = await said(voice, "Hello.")
    assert kept.pcm[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        kept.pcm[:] = 99


async def test_voice_language_and_pace_are_part_of_it() -> None:
    engine = Voice()
    voice = CachedTts(engine)
    hello = TtsRequest("Hello.")
    for request in (hello, replace(hello, voice="x"), replace(hello, language="zh"), replace(hello, speed=1.5)) * 2:
        assert [piece async for piece in voice.speak(request)]
    assert len(engine.asked) == 4


async def test_only_whole_utterances_are_kept() -> None:
    engine = Voice()
    voice = CachedTts(engine)
    async with aclosing(voice.speak(TtsRequest("Hello."))) as pieces:
        await anext(pieces)
    for _ in range(2):
        with pytest.raises(EngineError):
            await said(voice, "broken")
    await said(voice, "Hello.")
    assert len(engine.asked) == 4
    assert voice.size > 0


async def test_it_holds_no_more_than_allowed_and_keeps_what_is_said_often() -> None:
    engine = Voice()
    voice = CachedTts(engine, megabytes=0.6)  # each utterance takes 48 kB
    for _ in range(2):
        await said(voice, "often")
    for number in range(40):
        await said(voice, f"once {number}")
        assert voice.size <= 600_000
    before = len(engine.asked)
    await said(voice, "often")
    await said(voice, "once 39")
    assert len(engine.asked) == before
    await said(voice, "once 0")
    assert len(engine.asked) == before + 1


async def test_long_utterances_are_not_kept() -> None:
    engine = Voice()
    voice = CachedTts(engine, megabytes=0.3)
    for _ in range(2):
        await said(voice, "long for this cache")
    assert len(engine.asked) == 2
    assert voice.size == 0


async def test_closing_forgets() -> None:
    engine = Voice()
    voice = CachedTts(engine)
    await said(voice, "Hello.")
    await voice.close()
    assert engine.closed
    assert voice.size == 0


@pytest.mark.real
async def test_with_a_real_voice(engines_for: EnginesFor) -> None:
    voice = CachedTts(engines_for("http://127.0.0.1:9/v1").tts)
    text = "It is sunny. Will you come?"
    first, again = await said(voice, text), await said(voice, text)
    assert len(again) == 2
    assert all(np.array_equal(one.pcm, other.pcm) for one, other in zip(first, again, strict=True))
