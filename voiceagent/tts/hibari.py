"""English speech made on this machine by hibari: 7.9 MB, 24 kHz, 10 to 25 ms a sentence on one core."""

import asyncio
import re
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from hibari import SAMPLE_RATE, Hibari
from hibari.voices import DEFAULT, VOICES, voice_path
from pydantic import BaseModel, ConfigDict, Field

from voiceagent.audio.pcm import Pcm, from_float
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.scripts import has_speech
from voiceagent.tts.threads import start_pool
from voiceagent.tts.trim import pause_after, trim
from voiceagent.tts.voices import requested

_LATIN = re.compile(r"[^\W_\u0370-\U0010ffff]")
"""A letter or figure that it may know; of any other script it makes a short noise."""
_WARM_UP = "Hello there, the 3rd of 4 zxqv words."  # a number and an unknown word load every part of the reading rules


class HibariTts:
    """Speaks English with one voice, sentence by sentence, on threads of its own; any event loop may call it."""

    class Options(BaseModel):
        """A small English voice on this machine."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        voice: str = DEFAULT
        """`heart` is in the package; the others must lie in hibari's own cache."""
        threads: Annotated[int, Field(ge=1, le=16)] = 2
        """Sentences spoken at the same time, one core each."""
        speed: Annotated[float, Field(ge=0.5, le=2.0)] = 1.0
        """Multiplies the request's."""

    def __init__(self, options: Options, models: ModelStore) -> None:
        self._options = options
        self._engine: Hibari | None = None
        self._threads: ThreadPoolExecutor | None = None

    languages = frozenset(["en"])

    @property
    def sample_rate(self) -> int:
        return int(SAMPLE_RATE)

    @property
    def voices(self) -> frozenset[str]:
        return frozenset([self._options.voice])

    def has_voice(self, voice: str) -> bool:
        return requested(voice) in (None, self._options.voice)

    async def open(self) -> None:
        model = _model_of(self._options.voice)
        self._threads = await start_pool(self._options.threads, "hibari")
        try:
            self._engine = await asyncio.get_running_loop().run_in_executor(self._threads, self._load, model)
        except BaseException:
            await self.close()
            raise

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        engine, threads = self._engine, self._threads
        if engine is None or threads is None:
            raise EngineError("tts", "failed", "the hibari voice is not open")
        voice = requested(request.voice)
        if voice not in (None, self._options.voice):
            raise EngineError("tts", "bad_request", f"this server speaks with the voice {self._options.voice!r} only")
        speed = min(2.0, max(0.5, request.speed * self._options.speed))
        loop = asyncio.get_running_loop()
        said = False
        unspoken: EngineError | None = None
        for sentence in filter(has_speech, engine.split_sentences(request.text)):
            try:
                pcm = await loop.run_in_executor(threads, _say, engine, sentence, speed)
            except EngineError as error:
                if error.code != "bad_request":
                    raise
                unspoken = unspoken or error
            else:
                yield TtsAudio(pcm)
                said = True
        if unspoken is not None and not said:
            raise unspoken

    async def close(self) -> None:
        self._engine = None
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _load(self, model: Path) -> Hibari:
        engine = Hibari(self._options.voice, model=str(model))
        _say(engine, _WARM_UP, 1.0)
        return engine


def _model_of(voice: str) -> Path:
    if voice not in VOICES:
        raise ConfigError(f"[tts] voice = {voice!r} is not one of hibari's: {', '.join(VOICES)}")
    try:
        return Path(voice_path(voice, download_missing=False))
    except FileNotFoundError as error:
        raise ConfigError(
            f"[tts] voice = {voice!r} is not on this machine: `hibari --voice {voice} Hello` fetches it to {error}; "
            f"the voice {DEFAULT!r} needs no fetching"
        ) from None


def _say(engine: Hibari, sentence: str, speed: float) -> Pcm:
    if not _LATIN.search(sentence):
        raise _foreign()
    try:
        samples = np.asarray(engine(sentence, speed=speed), dtype=np.float32)
    except Exception as error:
        raise EngineError("tts", "failed", f"hibari failed: {type(error).__name__}") from error
    pcm = trim(from_float(samples), SAMPLE_RATE, pause_after(sentence) / speed)
    if not len(pcm):
        raise _foreign()
    return pcm


def _foreign() -> EngineError:
    return EngineError("tts", "bad_request", "hibari speaks English only and found nothing to say in the text")
