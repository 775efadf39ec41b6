"""What every voice offers: a clause of text in, audio out as soon as there is any."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from voiceagent.audio.pcm import Pcm
from voiceagent.plugins import PluginKind


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """One clause to speak. `voice` and `language` None mean the engine's own; `speed` 1.0 is the natural pace. `before`
    is what was said just before it, which helps to read it right."""

    text: str
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    before: str = ""


@dataclass(frozen=True, slots=True)
class WordTiming:
    """A word as spoken: `start` and `end` in seconds from the start of the request's audio."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class TtsAudio:
    """A piece of the request's audio, at the engine's `sample_rate`; `words` lists those whose timing is now known."""

    pcm: Pcm
    words: tuple[WordTiming, ...] = ()


ABOUT_THE_TEXT = frozenset(["bad_request", "no_sound"])
"""Codes of failures after which another text may well be spoken: what the voice cannot say is in this one."""


class TtsEngine(Protocol):
    @property
    def sample_rate(self) -> int:
        """Hz of the audio it makes; fixed once open."""
        ...

    async def open(self) -> None:
        """Load or connect, and warm up. Raises ConfigError when something is missing, naming the mend."""
        ...

    def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        """Stream the audio of one clause. Closing the generator early cancels the work. Text without anything
        speakable (say, only punctuation) yields nothing. Raises EngineError (stage "tts")."""
        ...

    async def close(self) -> None: ...


TTS_ENGINES = PluginKind("tts", TtsEngine)
"""The TTS engines that a configuration may name."""
