"""Stereo track of a session: both sides as they were heard. Without I/O and without a clock of its own."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.recordings.axis import Axis

KEPT_SECONDS = 1.5
"""What was played is given out only so much later: clients tell after an interruption how much of it they played."""
BLOCK_SECONDS = 1.0
"""Most that is given out at a time."""
WORTH_SECONDS = 0.5
"""Least that is worth giving out."""
TOLERANCE = 0.005
"""Seconds within which two times are the same."""
LAG_SECONDS = 0.04
"""A client that is so much behind the playout clock plays later than that thinks."""
MOST_LAG = 2.0
"""Beyond it a client is taken to be stuck; as in `session.sending`."""
LIMITS_KEPT = 8


@dataclass(slots=True)
class TrackPiece:
    """Samples at a position. Of a response's, those up to `kept` are heard; `offset` are the item's samples before
    it."""

    at: int
    pcm: Pcm
    kept: int
    response_id: str = ""
    item_id: str = ""
    offset: int = 0

    @property
    def end(self) -> int:
        return self.at + self.kept


class RecordedTrack:
    """The agent's samples are placed where a client that plays at once plays them (as `audio.playout` has it), moved by
    what the client reports, and cut where it was told to flush or says that it stopped."""

    def __init__(self, axis: Axis) -> None:
        self._axis = axis
        self._rate = axis.rate
        self._user: deque[TrackPiece] = deque()
        self._agent: deque[TrackPiece] = deque()
        self._given = 0
        self._end = 0
        """Where the agent's samples end."""
        self._empty_at = 0.0
        """When the client will have played them."""
        self._item = ("", 0)
        self._limits: dict[str, int] = {}
        """Samples after which the client stopped playing an item."""

    # -- what comes -------------------------------------------------------------------------------------------------

    def user(self, now: float, pcm: Pcm) -> None:
        """More of the user's microphone."""
        at = self._axis.user(now, len(pcm))
        self._user.append(TrackPiece(at, pcm, len(pcm)))

    def agent(self, now: float, response_id: str, item_id: str, pcm: Pcm) -> None:
        """The client is sent more of a response."""
        start = self._end
        if now > self._empty_at or start < self._given:
            start = max(start, self._axis.position(now))
            self._empty_at = now
        item, offset = self._item
        offset = offset if item == item_id else 0
        kept = min(len(pcm), max(0, self._limits.get(item_id, offset + len(pcm)) - offset))
        self._agent.append(TrackPiece(start, pcm, kept, response_id, item_id, offset))
        self._item = (item_id, offset + len(pcm))
        self._end = start + kept
        self._empty_at += kept / self._rate

    def cut(self, now: float, response_id: str | None = None) -> None:
        """The client throws away what it has not played of this response, or of all."""
        if self._empty_at - now <= TOLERANCE:
            return
        played = self._played(now)
        for piece in self._agent:
            if response_id in (None, piece.response_id):
                piece.kept = max(0, min(piece.kept, played - piece.at))
        self._end = max(played, self._last())
        self._empty_at = now + (self._end - played) / self._rate

    def stopped(self, item_id: str, seconds: float) -> None:
        """The client says that it played so much of an item, and no more."""
        limit = self._limits[item_id] = round(seconds * self._rate)
        if len(self._limits) > LIMITS_KEPT:
            del self._limits[next(iter(self._limits))]
        for piece in self._agent:
            if piece.item_id == item_id:
                piece.kept = max(0, min(len(piece.pcm), limit - piece.offset))
        before, self._end = self._end, max(self._last(), self._given)
        self._empty_at += (self._end - before) / self._rate

    def reported(self, now: float, item_id: str, seconds: float) -> None:
        """The client says that it has played so much of an item by now, and goes on: if that is less than thought, it
        began later."""
        played = self._played(now)
        mine = [piece for piece in self._agent if piece.item_id == item_id and piece.at < played]
        if not mine:
            return
        lag = (mine[-1].offset + min(mine[-1].kept, played - mine[-1].at)) / self._rate - seconds
        if lag <= LAG_SECONDS:
            return
        shift = round(min(lag, MOST_LAG) * self._rate)
        for piece in self._agent:
            if piece.at >= self._given and (piece.item_id == item_id or piece.at > mine[0].at):
                piece.at += shift
        self._end += shift
        self._empty_at += shift / self._rate

    def _played(self, now: float) -> int:
        """The position that the client has played up to."""
        return self._end - round(max(0.0, self._empty_at - now) * self._rate)

    def _last(self) -> int:
        return max((piece.end for piece in self._agent), default=0)

    # -- what is certain --------------------------------------------------------------------------------------------

    def ready(self, now: float) -> Iterator[tuple[Pcm, Pcm]]:
        """The next samples of both sides that will not change any more."""
        self._axis.advance(now)
        sure = self._axis.position(now) - round(KEPT_SECONDS * self._rate)
        end = min(self._axis.known, sure)
        if end - self._given >= WORTH_SECONDS * self._rate:
            yield from self._give(end)

    def finish(self, now: float) -> Iterator[tuple[Pcm, Pcm]]:
        """The session is over, and the client plays no more: all the rest."""
        self._axis.advance(now)
        self.cut(now)
        yield from self._give(max(self._axis.known, self._last()))

    def _give(self, end: int) -> Iterator[tuple[Pcm, Pcm]]:
        block = round(BLOCK_SECONDS * self._rate)
        while self._given < end:
            start, stop = self._given, min(end, self._given + block)
            yield render(self._user, start, stop), render(self._agent, start, stop)
            self._given = stop
            for side in (self._user, self._agent):
                while side and side[0].at + len(side[0].pcm) <= stop:
                    side.popleft()


def render(pieces: Iterable[TrackPiece], start: int, stop: int) -> Pcm:
    """What is heard of these between two positions."""
    side = silence(stop - start)
    for piece in pieces:
        first, last = max(start, piece.at), min(stop, piece.end)
        if first < last:
            side[first - start : last - start] = piece.pcm[first - piece.at : last - piece.at]
        elif piece.at >= stop:
            break
    return side
