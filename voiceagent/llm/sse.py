"""Server-sent events, as far as language models use them: bytes in, the `data` of each event out.

Follows the WHATWG rules (https://html.spec.whatwg.org/multipage/server-sent-events.html): lines end with LF, CRLF or
CR, a blank line ends an event, lines with a colon first are comments, several data lines are joined by LF, a byte
order mark is skipped, an event cut off by the end of the stream is dropped. `event`, `id` and `retry` are ignored:
where vendors name their events, they do so in the data too.
"""

import re

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class EventTooLong(ValueError):
    """An event is longer than the parser's limit."""


class SseParser:
    """Takes the stream in pieces of any size. `limit` bounds one event, in bytes.

    Lines are told apart as bytes and decoded whole, so that a character may be split between pieces.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self._limit = limit
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0
        self._first_line = True
        self._after_cr = False

    def feed(self, piece: bytes) -> list[str]:
        """The data of every event that this piece completes. Raises EventTooLong; it is of no use after that."""
        if not piece:
            return []
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        *ended, rest = _LINE_END.split(piece)
        events = [data for line in ended if (data := self._end_line(line)) is not None]
        self._add(rest)
        return events

    def finish(self) -> str | None:
        """The data of an event that the end of the stream cut off before its blank line, if there is one. By the rules
        it is to be dropped; who knows that data for whole may take it all the same."""
        if self._line:
            self._end_line(b"")
        return self._end_event()

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise EventTooLong(f"an event is longer than {self._limit} bytes")
        if part:
            self._line.append(part)

    def _end_line(self, part: bytes) -> str | None:
        """Finish the line that `part` ends; returns the event's data if that line was a blank one after data."""
        self._add(part)
        line = b"".join(self._line)
        self._line.clear()
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._end_event()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        else:
            self._size -= len(line)
        return None

    def _end_event(self) -> str | None:
        self._size = 0
        if not self._data:
            return None
        data = _text(b"\n".join(self._data))
        self._data.clear()
        return data


def _text(data: bytes) -> str:
    """UTF-8; halves of a character that were encoded one by one are kept as such, what else is wrong is replaced."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")
