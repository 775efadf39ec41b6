"""Speech that is kept: what was said once is there at once when it is to be said again."""

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest
from voiceagent.tts.wrapper import TtsWrapper

MEGABYTES = 64.0
"""Of audio, at 24 kHz 23 minutes: about four hundred sentences."""
FRESH = 0.25
"""Share of it for what was said only once, so that a long talk does not push out the sentences everyone hears."""
LONGEST_SHARE = 0.1
"""Of all the bytes; longer utterances are not kept."""
WORD_BYTES = 64
"""About what the timing of a word takes."""

_Key = tuple[str, str | None, str | None, float, int]


@dataclass(slots=True)
class _Shelf:
    """Utterances in the order of their use."""

    most: int
    kept: OrderedDict[_Key, tuple[TtsAudio, ...]] = field(default_factory=OrderedDict)
    size: int = 0

    def put(self, key: _Key, pieces: tuple[TtsAudio, ...]) -> None:
        self.take(key)
        self.kept[key] = pieces
        self.size += _bytes(pieces)
        while self.size > self.most:
            _, gone = self.kept.popitem(last=False)
            self.size -= _bytes(gone)

    def take(self, key: _Key) -> tuple[TtsAudio, ...] | None:
        pieces = self.kept.pop(key, None)
        if pieces is not None:
            self.size -= _bytes(pieces)
        return pieces


class CachedTts(TtsWrapper):
    """A voice that remembers what it said, to the last sample, in memory. Only utterances that came to their end are
    kept. The pieces come as the engine gave them, with the timings of their words."""

    def __init__(self, engine: TtsEngine, megabytes: float = MEGABYTES) -> None:
        most = int(megabytes * 1_000_000)
        super().__init__(engine)
        self._longest = int(most * LONGEST_SHARE)
        self._once, self._often = _Shelf(int(most * FRESH)), _Shelf(most - int(most * FRESH))
        self.hits = self.misses = 0
        """Utterances since the start."""

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._once.size + self._often.size

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        key = (request.text, request.voice, request.language, request.speed, self.sample_rate)
        kept = self._once.take(key) or self._often.take(key)
        if kept is not None:
            self.hits += 1
            self._often.put(key, kept)
            for piece in kept:
                yield piece
            return
        self.misses += 1
        said: list[TtsAudio] = []
        size = 0
        async with aclosing(self.engine.speak(request)) as pieces:
            async for piece in pieces:
                size += _bytes((piece,))
                if size <= self._longest:
                    said.append(_own(piece))
                else:
                    said.clear()
                yield piece
        if said and size <= self._longest:
            self._once.put(key, tuple(said))

    async def close(self) -> None:
        """What it remembers is gone."""
        for shelf in (self._once, self._often):
            shelf.kept.clear()
            shelf.size = 0
        await self.engine.close()


def _bytes(pieces: tuple[TtsAudio, ...]) -> int:
    return sum(piece.pcm.nbytes + WORD_BYTES * len(piece.words) for piece in pieces)


def _own(piece: TtsAudio) -> TtsAudio:
    """A copy that nobody can change, and that holds no larger buffer alive."""
    pcm = piece.pcm.copy()
    pcm.setflags(write=False)
    return TtsAudio(pcm, piece.words)
