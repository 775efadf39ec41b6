"""Spoken words and loaded engines for end-to-end tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import cache

import numpy as np
import pytest
import soxr

from tests.support.fixtures import models  # noqa: F401
from voiceagent.asr.base import AsrEngine, AsrHint, AsrStream
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE, Pcm, from_float, silence
from voiceagent.engines import Engines
from voiceagent.llm.dialects.openai import OpenAILlm
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest
from voiceagent.tts.hibari import HibariTts
from voiceagent.vad.base import VadEngine, VadStream
from voiceagent.vad.silero import SileroVad

RATE = 24_000

Speak = Callable[[str], Pcm]
"""Words as 24 kHz audio."""


class KeptVad:
    """A loaded engine that many servers use one after the other: opening and closing it is the test run's business."""

    def __init__(self, engine: VadEngine) -> None:
        self._engine = engine

    async def open(self) -> None: ...

    def stream(self) -> VadStream:
        return self._engine.stream()

    async def close(self) -> None: ...


class KeptAsr:
    def __init__(self, engine: AsrEngine) -> None:
        self._engine = engine

    async def open(self) -> None: ...

    def stream(self, hint: AsrHint) -> AsrStream:
        return self._engine.stream(hint)

    async def close(self) -> None: ...


class KeptTts:
    def __init__(self, engine: TtsEngine) -> None:
        self._engine = engine

    @property
    def sample_rate(self) -> int:
        return self._engine.sample_rate

    async def open(self) -> None: ...

    def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        return self._engine.speak(request)

    async def close(self) -> None: ...


EnginesFor = Callable[[str], Engines]
"""The loaded engines, with a language model at this base URL."""


@pytest.fixture(scope="session")
def engines_for(models: ModelStore) -> Iterator[EnginesFor]:  # noqa: F811
    """The real detector, recogniser and voice, loaded once a run."""
    vad = SileroVad(SileroVad.Options(), models)
    asr = SherpaAsr(SherpaAsr.Options(), models)
    tts = HibariTts(HibariTts.Options(), models)
    asyncio.run(load(vad, asr, tts))

    def engines(base_url: str) -> Engines:
        llm = OpenAILlm(OpenAILlm.Options(base_url=base_url), models)
        return Engines(vad=KeptVad(vad), asr=KeptAsr(asr), llm=llm, tts=KeptTts(tts))

    yield engines
    for engine in (vad, asr, tts):
        asyncio.run(engine.close())


async def load(vad: SileroVad, asr: SherpaAsr, tts: HibariTts) -> None:
    """Open them and make their thread pools grow to full size, so that no test is blamed for a thread of theirs."""
    for engine in (vad, asr, tts):
        await engine.open()
    streams = [asr.stream(AsrHint()) for _ in range(4)]
    for stream in streams:
        stream.push(np.full(EAR_RATE, 99, np.int16))
    await asyncio.gather(*(stream.finish() for stream in streams), *(drain(tts) for _ in range(4)))


async def drain(tts: HibariTts) -> None:
    async for _ in tts.speak(TtsRequest("Warm up.")):
        pass


@pytest.fixture(scope="session")
def speak() -> Speak:
    """Says words with a real voice, other than the agent's: lower by a sixth."""
    from hibari import Hibari

    voice = Hibari()

    @cache
    def say(text: str) -> Pcm:
        samples = voice(text, speed=1.1, seed=1)
        slower = soxr.resample(samples, RATE / 1.15, RATE)
        return from_float(slower)

    return say


def quiet(seconds: float, rate: int = RATE) -> Pcm:
    return silence(int(seconds * rate))
