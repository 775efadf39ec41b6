"""The playout clock: how much audio the client has been sent, and how much of it it has played by now."""


class Playout:
    """A model of the client's buffer: it plays what it has in real time and starves when it has nothing.

    All times are seconds on the loop's monotonic clock, all positions seconds of audio since the start of the talk.
    The clock is exact for a client that starts to play at once; a client that reports its position is more exact still.
    """

    def __init__(self, lead: float, held_back: float = 0.0) -> None:
        """`lead`: seconds of audio the client may have ahead of what it plays. `held_back`: how much later than it
        could a client that reports nothing is thought to play."""
        self.lead = lead
        self.held_back = held_back
        self.sent = 0.0
        self.gaps = 0
        """How often the client ran dry in the middle of a reply."""
        self._empty_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until more may be sent; 0 when it may at once."""
        return max(0.0, self._empty_at - now - self.lead)

    def send(self, now: float, seconds: float, *, first: bool) -> None:
        """Note that audio of this length is sent now; `first` when it begins a reply or follows a pause on purpose."""
        if now > self._empty_at and not first:
            self.gaps += 1
        self._empty_at = max(self._empty_at, now) + seconds
        self.sent += seconds

    def played(self, now: float) -> float:
        """The position the client has played up to."""
        return self.sent - max(0.0, self._empty_at - now)

    def remaining(self, now: float) -> float:
        """Seconds until the client has played all it was sent."""
        return max(0.0, self._empty_at - now)

    def flush(self, now: float) -> None:
        """The client was told to throw away what it has not played: that was never sent, as it were."""
        self.sent = self.played(now)
        self._empty_at = min(self._empty_at, now)
