"""Phrases whose sound is ready beforehand: the apology, and fillers, said while the user would hear nothing."""

import asyncio
import logging
from collections import OrderedDict
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import EngineError
from voiceagent.session.options import SessionOptions
from voiceagent.session.settings import FillerSection
from voiceagent.tts.base import TtsEngine, TtsRequest
from voiceagent.tts.scripts import is_wide

log = logging.getLogger(__name__)

RENDER_SECONDS = 10.0
"""How long one phrase may take to be spoken."""
LEAST_SECONDS = 0.2
"""Shorter than any phrase: a voice that cannot read the script. The English one makes 0.1 s of any Chinese."""
STYLES_KEPT = 32
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


def error_code(error: EngineError | TimeoutError) -> str:
    return error.code if isinstance(error, EngineError) else "timeout"


async def render(tts: TtsEngine, request: TtsRequest) -> Phrase | None:
    """The words spoken; None where the voice has no sound for them. Raises EngineError and TimeoutError."""
    async with asyncio.timeout(RENDER_SECONDS), aclosing(tts.speak(request)) as audio:
        pieces = [piece.pcm async for piece in audio]
    pcm = np.concatenate(pieces) if pieces else silence(0)
    return Phrase(request.text, pcm, tts.sample_rate) if len(pcm) > LEAST_SECONDS * tts.sample_rate else None


class Fillers:
    """The process's fillers, each rendered once for every style in which it is wanted."""

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

    async def prepare(self, style: SpeakingStyle) -> None:
        """Have the phrases ready. A voice that cannot say them leaves them out."""
        if style in self._ready:
            return
        self._ready[style] = ()
        while len(self._ready) > STYLES_KEPT:
            self._ready.popitem(last=False)
        rendered: tuple[Phrase, ...] | None = None
        try:
            rendered = await self._render(style)
        except (EngineError, TimeoutError) as error:
            log.warning("filler cannot be spoken in %s: tts: %s", style.language, error_code(error))
        finally:
            if rendered is None:  # also when the session that wanted it is over: perhaps the next time
                self._ready.pop(style, None)
            else:
                self._ready[style] = rendered

    async def _render(self, style: SpeakingStyle) -> tuple[Phrase, ...]:
        rendered: list[Phrase] = []
        for text in self._phrases.get(style.language, ()):
            phrase = await render(self._tts, TtsRequest(text.strip(), style.voice, style.language, style.speed))
            if phrase is not None:
                spaced = phrase.text if any(map(is_wide, phrase.text)) else f"{phrase.text} "
                rendered.append(Phrase(spaced, phrase.at(style.rate), style.rate))
        return tuple(rendered)

    def after(self, style: SpeakingStyle, latest: str) -> Phrase | None:
        """The phrase that follows the latest one; None while there is no other ready. Costs nothing."""
        ready = self._ready.get(style, ())
        texts = [phrase.text for phrase in ready]
        following = ready[(texts.index(latest) + 1) % len(ready)] if latest in texts else next(iter(ready), None)
        return following if following is not None and following.text != latest else None


class FillerSpeech:
    """The fillers of one session: in its language and voice, never the same twice in a row."""

    def __init__(
        self,
        fillers: Fillers | None,
        settings: FillerSection,
        *,
        options: SessionOptions,
        language: str | None,
        has_tools: bool,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`language` is the agent's own; `has_tools`: whether the server has tools, which may be slow."""
        self._fillers = fillers
        self._settings = settings
        self._options = options
        self._language = language
        self._has_tools = has_tools
        self._tasks = tasks
        self._latest = ""
        self._preparing: asyncio.Task[None] | None = None

    @property
    def after_seconds(self) -> float | None:
        """Seconds without the model's first word after which something is said; None: never."""
        after_ms = self._settings.after_ms
        return after_ms / 1000 if after_ms and self._fillers is not None else None

    def configure(self, options: SessionOptions, words: str) -> None:
        """The options are new: have the phrases ready by the time one is wanted. `words`: the user's latest."""
        self._options = options
        self._prepare(words)

    def next(self, words: str) -> Phrase | None:
        """What to say now; None where nothing is ready. `words` are the user's latest, for the language."""
        if self._fillers is None:
            return None
        phrase = self._fillers.after(self._style(self._fillers, words), self._latest)
        if phrase is None:
            self._prepare(words)
        else:
            self._latest = phrase.text
        return phrase

    def _prepare(self, words: str) -> None:
        """Render the phrases. Those of an earlier voice are given up."""
        if self._fillers is not None and (self.after_seconds is not None or self._has_tools):
            if self._preparing is not None:
                self._preparing.cancel()
            preparing = self._fillers.prepare(self._style(self._fillers, words))
            self._preparing = self._tasks.create_task(preparing, name="fillers")

    def _style(self, fillers: Fillers, words: str) -> SpeakingStyle:
        options = self._options
        language = fillers.language(options.language, self._language, words=words)
        return SpeakingStyle(language, options.output_rate, options.voice, options.speed)
