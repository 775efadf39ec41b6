"""Queue of the requests that wait for an endpoint: by priority, and within one fairly between tenants."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from voiceagent.llm.base import Caller


class Priority(IntEnum):
    """The lower goes first."""

    LIVE = 0
    SPECULATIVE = 1
    BACKGROUND = 2


def priority_of(caller: Caller) -> Priority:
    """A request of no session has nobody who waits for its voice."""
    if caller.speculative:
        return Priority.SPECULATIVE
    return Priority.LIVE if caller.session else Priority.BACKGROUND


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the queue. `share` is what it costs, in any unit that is the same for all."""

    priority: Priority
    tenant: str
    share: float
    start: float = 0.0


class FairQueue:
    """Start-time fair queueing: a request's start is where its tenant's last one ended on a clock that goes on by
    `share / weight`; the least start is next. So tenants that want more than there is get shares by weight, and one
    that comes after a pause neither waits for the others nor catches up. Each priority has a clock of its own.

    Only tenants that wait or are ahead of the clock are held. When all `places` are taken, the newest of the tenant
    that has the most waiting, in the last priority, makes room for one that is worth more.
    """

    def __init__(self, places: int, weights: Mapping[str, float]) -> None:
        self._places = places
        self._weights = weights
        self._classes = {priority: _Class() for priority in Priority}

    def __len__(self) -> int:
        return sum(one.waiting for one in self._classes.values())

    @property
    def head(self) -> Ticket | None:
        return next((head for one in self._classes.values() if (head := one.head) is not None), None)

    def add(self, ticket: Ticket) -> Ticket | None:
        """Returns who finds no place: None, `ticket`, or one that has waited and made room."""
        dropped = self._least() if len(self) >= self._places else None
        own = self._classes[ticket.priority]
        if dropped is not None:
            crowded = self._classes[dropped.priority].depth(dropped.tenant) > own.depth(ticket.tenant) + 1
            if not (ticket.priority < dropped.priority or (ticket.priority == dropped.priority and crowded)):
                return ticket
            self.remove(dropped)
        own.add(ticket, self._weights.get(ticket.tenant, 1.0))
        return dropped

    def serve(self, ticket: Ticket) -> None:
        """It got its turn: the clock goes on to it."""
        self._classes[ticket.priority].serve(ticket)

    def remove(self, ticket: Ticket) -> None:
        """It gave up and costs its tenant nothing. One that is not waiting is no matter."""
        self._classes[ticket.priority].remove(ticket, self._weights.get(ticket.tenant, 1.0))

    def _least(self) -> Ticket:
        """The one who is the least loss."""
        last = next(one for one in reversed(self._classes.values()) if one.waiting)
        return last.newest_of_longest()


class _Class:
    """The queue of one priority."""

    def __init__(self) -> None:
        self.waiting = 0
        self._now = 0.0
        self._lines: dict[str, deque[Ticket]] = {}
        self._ends: dict[str, float] = {}
        """Where each tenant's last request ends, of those that are ahead of the clock."""

    @property
    def head(self) -> Ticket | None:
        return min((line[0] for line in self._lines.values()), key=lambda ticket: ticket.start, default=None)

    def depth(self, tenant: str) -> int:
        return len(self._lines.get(tenant, ()))

    def newest_of_longest(self) -> Ticket:
        return max(self._lines.values(), key=len)[-1]

    def add(self, ticket: Ticket, weight: float) -> None:
        ticket.start = max(self._now, self._ends.get(ticket.tenant, 0.0))
        self._ends[ticket.tenant] = ticket.start + ticket.share / weight
        self._lines.setdefault(ticket.tenant, deque()).append(ticket)
        self.waiting += 1

    def serve(self, ticket: Ticket) -> None:
        if self._drop(ticket):
            self._now = max(self._now, ticket.start)
            self._forget()

    def remove(self, ticket: Ticket, weight: float) -> None:
        line = self._lines.get(ticket.tenant, deque())
        later = [other for other in line if other.start > ticket.start]
        if self._drop(ticket):
            for other in later:
                other.start -= ticket.share / weight
            if ticket.tenant in self._ends:
                self._ends[ticket.tenant] -= ticket.share / weight
            self._forget()

    def _drop(self, ticket: Ticket) -> bool:
        line = self._lines.get(ticket.tenant)
        if line is None or ticket not in line:
            return False
        line.remove(ticket)
        if not line:
            del self._lines[ticket.tenant]
        self.waiting -= 1
        return True

    def _forget(self) -> None:
        """Once nobody waits all begin anew; till then a tenant that is not ahead of the clock is as good as new."""
        if not self._lines:
            self._ends.clear()
        for tenant in [name for name, end in self._ends.items() if end <= self._now]:
            del self._ends[tenant]
