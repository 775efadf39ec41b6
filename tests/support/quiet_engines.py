"""Engines that load nothing, named by `module:Class` in the environment of a server that is tested for something else:
any sound is a voice, whatever is said is "hello", and the agent's voice is a soft noise."""

from collections.abc import AsyncGenerator, Mapping

import numpy as np
from pydantic import BaseModel

from tests.support.session.bench import LoudnessVad, WordsAsr
from voiceagent.tts.base import TtsAudio, TtsRequest

RATE = 24_000
SECONDS = 0.3
"""Of speech for each clause."""


class QuietVad(LoudnessVad):
    class Options(BaseModel): ...

    def __init__(self, options: Options, models: object) -> None:
        super().__init__()


class QuietAsr(WordsAsr):
    class Options(BaseModel):
        words: str = "hello"

    def __init__(self, options: Options, models: object) -> None:
        super().__init__([options.words])


class QuietTts:
    class Options(BaseModel): ...

    sample_rate = RATE

    def __init__(self, options: Options, models: object) -> None: ...

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        yield TtsAudio(np.random.default_rng(1).integers(-900, 900, int(RATE * SECONDS), np.int16))

    async def close(self) -> None: ...


def environment(base_url: str) -> Mapping[str, str]:
    """What makes a server use them, with the model at this address."""
    here = __name__
    return {
        "OPENAI_BASE_URL": base_url,
        "VOICEAGENT_VAD__ENGINE": f"{here}:QuietVad",
        "VOICEAGENT_ASR__ENGINE": f"{here}:QuietAsr",
        "VOICEAGENT_TTS__ENGINE": f"{here}:QuietTts",
    }
