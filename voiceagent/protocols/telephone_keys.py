"""The digits a caller keys in, one after the other, until they are complete."""

from voiceagent.protocols.telephone_call import CallOptions

KEYS = frozenset("0123456789*#ABCD")
MOST_DIGITS = 64


class Keypad:
    def __init__(self, options: CallOptions) -> None:
        self._end = options.key_end
        self._count = min(options.key_count, MOST_DIGITS) or MOST_DIGITS
        self._digits = ""

    def press(self, key: str) -> str | None:
        """A key was pressed, one of KEYS. Returns the digits once they are complete. The key that ends them is not
        among them, unless it was the only one."""
        if key == self._end:
            return self.complete() or key
        self._digits += key
        return self.complete() if len(self._digits) >= self._count else None

    def complete(self) -> str | None:
        """No further key came in time: the digits so far, None when there are none."""
        digits, self._digits = self._digits, ""
        return digits or None
