"""Voice activity detection, the interface: for each short window of audio, how likely it holds speech."""

from typing import Protocol

from voiceagent.audio.pcm import Pcm
from voiceagent.plugins import PluginKind

WINDOW = 512
"""Samples a window at 16 kHz: 32 ms, what Silero takes."""


class VadStream(Protocol):
    """The detector's state for one session."""

    async def push(self, pcm: Pcm) -> list[float]:
        """Take any number of 16 kHz samples; return one speech probability for each window they complete, in order."""
        ...

    def reset(self) -> None:
        """Forget what was heard, as at the start of a session."""
        ...


class VadEngine(Protocol):
    """One loaded model a process, shared by all sessions."""

    async def open(self) -> None:
        """Load and warm up. Raises ConfigError when a model file is missing, naming the command that fetches it."""
        ...

    def stream(self) -> VadStream: ...

    async def close(self) -> None: ...


VAD_ENGINES = PluginKind("vad", VadEngine)
"""The VAD engines that a configuration may name."""
