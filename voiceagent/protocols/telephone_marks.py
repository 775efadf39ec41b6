"""Marks between the pieces of audio that the other side has queued: each comes back once it has played up to there."""

from voiceagent.session.commands import ReportPlayed

MOST_PENDING = 1000
"""Marks that may be on their way: two minutes of speech. A client that returns none costs no more memory than this."""


class Marks:
    """A mark's name holds a generation, which ends when the other side's queue is cleared: it returns all the marks it
    threw away as well, and these tell nothing."""

    def __init__(self) -> None:
        self._generation = 0
        self._count = 0
        self._pending: dict[str, ReportPlayed] = {}

    def place(self, item_id: str, audio_ms: int) -> str:
        """A name for the mark behind this position of an item's audio."""
        self._count += 1
        name = f"g{self._generation}:m{self._count}:{audio_ms}"
        self._pending[name] = ReportPlayed(item_id, audio_ms)
        if len(self._pending) > MOST_PENDING:
            del self._pending[next(iter(self._pending))]
        return name

    def returned(self, name: str) -> ReportPlayed | None:
        """What this mark tells; None for one that was cleared, has been returned before, or is none of ours. Those
        before it are passed as well, whether they come or not."""
        report = self._pending.get(name)
        if report is None:
            return None
        for passed in list(self._pending):
            del self._pending[passed]
            if passed == name:
                break
        return report

    def clear(self) -> None:
        """The other side is told to throw its queue away."""
        self._generation += 1
        self._pending.clear()

    @property
    def pending(self) -> bool:
        return bool(self._pending)
