"""Which of a local server's slots answers a request: the one whose cache already holds most of its talk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from voiceagent.llm.base import Message


class Slots:
    """A slot keeps the state of the last prompt it has read. Left to itself the server goes by the likeness of whole
    prompts, and as all talks begin with the same instructions, they would all crowd into one slot."""

    def __init__(self, count: int) -> None:
        self._read: dict[int, Sequence[Message]] = dict.fromkeys(range(count), ())
        """By slot, least recently used first."""
        self._busy: set[int] = set()

    @contextmanager
    def taken(self, messages: Sequence[Message]) -> Iterator[int | None]:
        """The slot for a request, until it is done; None when all are busy and the server has to let it wait."""
        slot = self._best(messages)
        if slot is None:
            yield None
            return
        del self._read[slot]
        self._read[slot] = messages  # now the most recently used
        self._busy.add(slot)
        try:
            yield slot
        finally:
            self._busy.discard(slot)

    def _best(self, messages: Sequence[Message]) -> int | None:
        """The free slot that shares most of what was said before the newest message; of equals the least recently
        used one. The system message does not count: talks have it in common."""
        history = {message for message in messages[:-1] if message.role != "system"}
        free = [slot for slot in self._read if slot not in self._busy]
        return max(free, key=lambda slot: len(history.intersection(self._read[slot])), default=None)
