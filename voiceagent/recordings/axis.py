"""The time axis of a recording: the samples of the user's microphone."""

from collections import deque

GAP_SECONDS = 0.5
"""A gap up to this between two pieces of the user's audio is none: the network held the second up."""
LATE_SECONDS = 2.0
"""How long the user's audio is waited for before silence stands for it: longer than any client collects it."""
ANCHOR_SECONDS = 0.03
"""By so much the two clocks may drift before that is noted."""
ANCHORS = 256


class Axis:
    """Positions are samples at `rate` since the session began. A client that sends its microphone all the time gives
    the time; while it sends nothing the loop's clock goes on in its place. Times are seconds on that clock."""

    def __init__(self, rate: int, started: float) -> None:
        self.rate = rate
        self.known = 0
        """The user's samples so far, with the silence put in."""
        self._arrived = started
        self._anchors: deque[tuple[float, float]] = deque([(started, -started)], ANCHORS)

    def user(self, now: float, samples: int) -> int:
        """So many samples of the user's come; returns the position of the first."""
        began = now - samples / self.rate
        if began - self._arrived > GAP_SECONDS:
            self._put_in(began)
        start = self.known
        self.known += samples
        self._arrived = now
        ahead = self.known / self.rate - now
        if abs(ahead - self._anchors[-1][1]) > ANCHOR_SECONDS:
            self._anchors.append((now, ahead))
        return start

    def advance(self, now: float) -> None:
        """Put in silence when the microphone has sent nothing for long."""
        if now - self._arrived > LATE_SECONDS:
            self._put_in(now)

    def position(self, now: float) -> int:
        """What the user hears now lies beside the samples that come now."""
        return self.known + int(max(0.0, now - self._arrived) * self.rate)

    def past(self, moment: float) -> int:
        """The position at an earlier time; of one long ago only about."""
        earlier = (ahead for since, ahead in reversed(self._anchors) if since <= moment)
        return max(0, round((moment + next(earlier, self._anchors[0][1])) * self.rate))

    def _put_in(self, until: float) -> None:
        samples = int((until - self._arrived) * self.rate)
        self.known += samples
        self._arrived += samples / self.rate
