"""What was really heard of a reply that was stopped: the recogniser listens to the audio that was played."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from voiceagent_client.pcm import RATE, Pcm

from voiceagent.asr.base import ASR_ENGINES, AsrEngine, AsrHint
from voiceagent.audio.pcm import EAR_RATE
from voiceagent.audio.resample import Resampler
from voiceagent.evaluation.measure import TurnResult
from voiceagent.evaluation.words import words_off
from voiceagent.models.store import ModelStore

SHORTEST = RATE // 2
"""A recogniser makes nothing, or anything, of less audio."""

Recognise = Callable[[Pcm], Awaitable[str]]
"""The words in 24 kHz audio."""


@asynccontextmanager
async def recogniser(engine: AsrEngine | None = None) -> AsyncIterator[Recognise]:
    """The default recogniser, or this one, already open. Raises ConfigError when its model is not there."""
    made = engine is None
    listener = ASR_ENGINES.make("[asr]", {"engine": "sherpa"}, ModelStore()) if engine is None else engine
    if made:
        await listener.open()
    try:

        async def recognise(pcm: Pcm) -> str:
            stream, narrow = listener.stream(AsrHint()), Resampler(RATE, EAR_RATE, "quality")
            try:
                stream.push(narrow.push(pcm))
                stream.push(narrow.flush())
                return (await stream.finish()).text
            finally:
                stream.close()

        yield recognise
    finally:
        if made:
            await listener.close()


async def compare_heard(results: list[TurnResult], recognise: Recognise) -> None:
    """Fill in by how many words the server is off in what it says was heard."""
    for result in results:
        for text, claimed, played in result.heard:
            if len(played) >= SHORTEST:
                off = words_off(text, claimed, await recognise(played))
                result.heard_words_off += [] if off is None else [off]
