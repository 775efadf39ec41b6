"""What the client is playing at this moment, as far as the server knows: what an echo in its microphone looks like."""

from collections import deque

import numpy as np

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.audio.resample import Resampler

KEPT_SECONDS = 6.0
"""More than any lead the client may be given: what was sent and not yet played must still be here."""


class PlaybackReference:
    """The latest audio that was sent, by its position in the talk (seconds of audio sent before it)."""

    def __init__(self) -> None:
        self._sent: deque[tuple[float, Pcm, int]] = deque()
        """What was sent since the last question, as it was: most is never asked for."""
        self._pieces: deque[tuple[float, Pcm]] = deque()
        """What was sent before that, at 16 kHz."""
        self._resampler: Resampler | None = None
        self._rate = 0

    def sent(self, pcm: Pcm, rate: int, position: float) -> None:
        """This was sent, and begins at this position."""
        self._sent.append((position, pcm.copy(), rate))  # a piece of a long clause must not keep all of it
        while self._sent[0][0] < position - KEPT_SECONDS:
            self._sent.popleft()

    def played(self, position: float, samples: int) -> Pcm | None:
        """The last so many 16 kHz samples before this position; None when they are not all known."""
        self._convert()
        start = position - samples / EAR_RATE
        found: list[Pcm] = []
        for begin, pcm in reversed(self._pieces):
            first = round((start - begin) * EAR_RATE)
            if first >= len(pcm):  # it was over by then, and so were all before it
                break
            if first + samples > 0:
                found.insert(0, pcm[max(0, first) : first + samples])
        length = sum(map(len, found))
        if length < max(1, samples // 2):
            return None
        return np.concatenate((*found, silence(max(0, samples - length))))[:samples]

    def clear(self) -> None:
        """The client threw away what it had not played."""
        self._sent.clear()
        self._pieces.clear()

    def _convert(self) -> None:
        while self._sent:
            position, pcm, rate = self._sent.popleft()
            if self._resampler is None or rate != self._rate:
                self._resampler, self._rate = Resampler(rate, EAR_RATE, "low"), rate
            self._pieces.append((position, self._resampler.push(pcm)))
        while self._pieces and self._pieces[0][0] < self._pieces[-1][0] - KEPT_SECONDS:
            self._pieces.popleft()
