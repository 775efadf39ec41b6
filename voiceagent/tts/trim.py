"""Quiet before and after speech: voices make more of it than a conversation can bear.

Before the first sound it is plain latency; after the last one it is a pause longer than people make.
"""

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.tts.scripts import CLOSERS, Break, break_of

LEAD_SECONDS = 0.010
"""Quiet kept before the first sound, so that a soft consonant's beginning is not cut."""

PAUSES = {Break.SENTENCE: 0.160, Break.PAUSE: 0.070, Break.NONE: 0.030}
"""Seconds of quiet kept after the last sound, by what the text ends in."""

QUIET = 65.0
"""Root mean square of 16-bit samples up to which a block counts as quiet: -54 dB of full scale, below the softest
consonants of the voices measured (hibari: speech peaks near -19 dB, its quiet is below -100 dB)."""

_BLOCK_SECONDS = 0.005
_HELD_SECONDS = 2.0


def pause_after(text: str) -> float:
    """Seconds of quiet that sound natural after this text."""
    end = text.rstrip().rstrip("".join(CLOSERS))
    return PAUSES[break_of(end[-1])] if end else 0.0


class Trimmer:
    """Trims one stretch of speech as it streams: the quiet before the first sound at once, the quiet after the last one
    at the end. Quiet in between is held back until more sound comes, two seconds of it at most, and never cut.

    `tail` and `lead` are the seconds of quiet to keep. `cut` counts the samples of lead taken away so far.
    """

    def __init__(self, sample_rate: int, tail: float, lead: float = LEAD_SECONDS) -> None:
        self._block = max(1, int(sample_rate * _BLOCK_SECONDS))
        self._lead = int(sample_rate * lead)
        self._tail = int(sample_rate * tail)
        self._most_held = int(sample_rate * _HELD_SECONDS)
        self._held: Pcm = silence(0)
        self._heard = False
        self.cut = 0

    def push(self, pcm: Pcm) -> Pcm:
        """More speech; returns what is now sure to be kept."""
        self._held = np.concatenate([self._held, pcm])
        loud = self._loud_blocks()
        if len(loud):
            return self._sound(int(loud[0]) * self._block, (int(loud[-1]) + 1) * self._block)
        surplus = max(0, len(self._held) - (self._most_held if self._heard else self._lead + self._block))
        out, self._held = self._held[:surplus], self._held[surplus:]
        if self._heard:
            return out
        self.cut += surplus
        return silence(0)

    def finish(self) -> Pcm:
        """The stretch is over: returns the quiet to keep after it, none when there was no sound at all."""
        return self._held[: self._tail] if self._heard else silence(0)

    def _sound(self, first: int, end: int) -> Pcm:
        start = 0 if self._heard else max(0, first - self._lead)
        self._heard = True
        self.cut += start
        out, self._held = self._held[start:end], self._held[end:]
        return out

    def _loud_blocks(self) -> npt.NDArray[np.intp]:
        whole = len(self._held) // self._block * self._block
        blocks = self._held[:whole].reshape(-1, self._block).astype(np.float32)
        return np.flatnonzero(np.sqrt(np.mean(blocks**2, axis=1)) > QUIET)


def trim(pcm: Pcm, sample_rate: int, tail: float) -> Pcm:
    """A whole stretch of speech with `tail` seconds of quiet after it; empty when it has no sound."""
    trimmer = Trimmer(sample_rate, tail)
    return np.concatenate([trimmer.push(pcm), trimmer.finish()])
