"""Which calls of a client's tools are still to be answered before the agent goes on."""


class Calls:
    """A reply's calls. The agent goes on once the reply is over and all its calls are answered."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        """The reply of each call that is not answered."""
        self._ongoing: set[str] = set()
        """Replies that have made calls and are not over."""
        self._awaited: set[str] = set()
        """Replies after whose calls the agent is to go on."""

    def made(self, reply_id: str, call_id: str) -> None:
        self._open[call_id] = reply_id
        self._ongoing.add(reply_id)
        self._awaited.add(reply_id)

    def answered(self, call_id: str) -> bool:
        """Whether the agent is to go on now."""
        reply_id = self._open.pop(call_id, None)
        return reply_id is not None and self._complete(reply_id)

    def done(self, reply_id: str, *, cancelled: bool) -> bool:
        """The reply is over; whether the agent is to go on now."""
        if reply_id not in self._ongoing:
            return False
        self._ongoing.discard(reply_id)
        if cancelled:
            self._awaited.discard(reply_id)
        return self._complete(reply_id)

    def abandon(self) -> None:
        """The user has the floor: results are noted, and wait for what the user says."""
        self._awaited.clear()

    def _complete(self, reply_id: str) -> bool:
        if reply_id not in self._awaited or reply_id in self._ongoing or reply_id in self._open.values():
            return False
        self._awaited.discard(reply_id)
        return True
