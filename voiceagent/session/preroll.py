"""The latest audio, from which an utterance gets what was said before it was known to be one."""

from collections import deque
from collections.abc import Iterator

from voiceagent.audio.pcm import Pcm


class Preroll:
    """Positions are samples since the talk began."""

    def __init__(self) -> None:
        self._pieces: deque[Pcm] = deque()
        self._samples = 0

    def keep(self, piece: Pcm, least: int) -> None:
        """Take more; at least the last so many samples stay."""
        self._pieces.append(piece)
        self._samples += len(piece)
        while self._pieces and self._samples - len(self._pieces[0]) >= least:
            self._samples -= len(self._pieces.popleft())

    def start(self, position: int) -> int:
        """Where it begins, when it ends at `position`."""
        return position - self._samples

    def after(self, skip: int) -> Iterator[Pcm]:
        """The pieces, but for the first so many samples."""
        for pcm in self._pieces:
            if skip < len(pcm):
                yield pcm[skip:]
            skip = max(0, skip - len(pcm))

    def clear(self) -> None:
        self._pieces.clear()
        self._samples = 0
