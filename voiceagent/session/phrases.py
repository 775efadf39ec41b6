"""Words whose sound is ready beforehand: the apology, and what is said while the user would hear nothing."""

import asyncio
import logging
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import EngineError
from voiceagent.settings import FillerSection
from voiceagent.tts.base import TtsEngine, TtsRequest
from voiceagent.tts.scripts import is_wide

log = logging.getLogger(__name__)

RENDER_SECONDS = 10.0
"""How long one phrase may take to be spoken."""
LEAST_SECONDS = 0.2
"""Shorter than any phrase: a voice that cannot read the script. The English one makes 0.1 s of any Chinese."""
MANNERS_KEPT = 32
"""Of so many languages, voices and speeds the phrases are kept: 2 MB."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """`rate` of the audio in Hz."""

    text: str
    pcm: Pcm
    rate: int

    def at(self, rate: int) -> Pcm:
        """The audio at another rate."""
        resampler = Resampler(self.rate, rate, latency="quality")
        return np.concatenate((resampler.push(self.pcm), resampler.flush()))


@dataclass(frozen=True, slots=True)
class SpeakingStyle:
    """How a phrase is said. `language` is a tag such as "en"; a `rate` in Hz."""

    language: str
    rate: int
    voice: str | None = None
    speed: float = 1.0


async def render(tts: TtsEngine, request: TtsRequest) -> Phrase | None:
    """The words spoken; None where the voice has no sound for them. Raises EngineError and TimeoutError."""
    async with asyncio.timeout(RENDER_SECONDS), aclosing(tts.speak(request)) as audio:
        pieces = [piece.pcm async for piece in audio]
    pcm = np.concatenate(pieces) if pieces else silence(0)
    return Phrase(request.text, pcm, tts.sample_rate) if len(pcm) > LEAST_SECONDS * tts.sample_rate else None


class Fillers:
    """The process's fillers, each rendered once for every manner in which it is wanted."""

    def __init__(self, tts: TtsEngine, settings: FillerSection) -> None:
        self._tts = tts
        self._phrases = settings.phrases
        self._ready: OrderedDict[SpeakingStyle, tuple[Phrase, ...]] = OrderedDict()

    def language(self, *wanted: str | None, words: str = "") -> str:
        """The first of these languages that has phrases, else the one the words are written in, else English."""
        for tag in wanted:
            base = (tag or "").lower().replace("_", "-").partition("-")[0]
            if base in self._phrases:
                return base
        return "zh" if any(map(is_wide, words)) and "zh" in self._phrases else "en"

    async def prepare(self, manner: SpeakingStyle) -> None:
        """Have the phrases ready. A voice that cannot say them leaves them out."""
        if manner in self._ready:
            return
        self._ready[manner] = ()
        while len(self._ready) > MANNERS_KEPT:
            self._ready.popitem(last=False)
        said: tuple[Phrase, ...] | None = None
        try:
            said = await self._render(manner)
        except (EngineError, TimeoutError) as error:
            log.warning("a filler cannot be spoken (%s): %s", manner.language, type(error).__name__)
        finally:
            if said is None:  # also when the talk that wanted it is over: perhaps the next time
                self._ready.pop(manner, None)
            else:
                self._ready[manner] = said

    async def _render(self, manner: SpeakingStyle) -> tuple[Phrase, ...]:
        said: list[Phrase] = []
        for text in self._phrases.get(manner.language, ()):
            phrase = await render(self._tts, TtsRequest(text.strip(), manner.voice, manner.language, manner.speed))
            if phrase is not None:
                spaced = phrase.text if any(map(is_wide, phrase.text)) else f"{phrase.text} "
                said.append(Phrase(spaced, phrase.at(manner.rate), manner.rate))
        return tuple(said)

    def after(self, manner: SpeakingStyle, latest: str) -> Phrase | None:
        """The phrase that follows the latest one; None while there is no other ready. Costs nothing."""
        ready = self._ready.get(manner, ())
        texts = [phrase.text for phrase in ready]
        following = ready[(texts.index(latest) + 1) % len(ready)] if latest in texts else next(iter(ready), None)
        return following if following is not None and following.text != latest else None
