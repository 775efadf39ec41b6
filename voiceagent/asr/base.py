"""What every speech recogniser offers. One engine a process; one stream an utterance."""

from dataclasses import dataclass
from typing import Protocol

from voiceagent.audio.pcm import Pcm
from voiceagent.plugins import PluginKind


@dataclass(frozen=True, slots=True)
class AsrHint:
    """What is known before the user speaks. `language` is ISO 639-1 or BCP 47; `prompt` names words to expect."""

    language: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str
    language: str | None = None


class AsrStream(Protocol):
    """One utterance being heard."""

    def push(self, pcm: Pcm) -> None:
        """Take more 16 kHz audio. Only stores it: never blocks, never fails."""
        ...

    async def partial(self) -> str:
        """The best guess so far; may change as more is heard. Empty while nothing is understood.
        Cheap enough to call a few times a second; an engine that cannot guess early returns ''."""
        ...

    async def finish(self) -> Transcript:
        """The text of all that was pushed so far. The user may go on: pushing more and finishing again is allowed,
        and then covers the whole utterance. Raises EngineError (stage "asr")."""
        ...

    def close(self) -> None:
        """Let go of everything held for this utterance. Any call still waiting is cancelled by its owner first."""
        ...


class AsrEngine(Protocol):
    async def open(self) -> None:
        """Load and warm up. Raises ConfigError when a model file is missing, naming the command that fetches it."""
        ...

    def stream(self, hint: AsrHint) -> AsrStream: ...

    async def close(self) -> None: ...


ASR_ENGINES = PluginKind("asr", AsrEngine)
"""The ASR engines that a configuration may name."""
