"""What a vendor wants to see again with a tool call its model made."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from voiceagent.llm.lenient import Json


class Recall:
    """By the call's id, the newest ones up to `limit` characters in all: Gemini's thought signature, Anthropic's signed
    thinking, DeepSeek's reasoning. They mean nothing to anyone else, so no message carries them; when one is no longer
    known, or was made by another model, the dialects do without it."""

    def __init__(self, limit: int = 4_000_000) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, tuple[Json, int]] = OrderedDict()

    def keep(self, call_id: str, seen: Json) -> None:
        self._drop(call_id)
        size = len(call_id) + _size(seen)
        self._kept[call_id] = (seen, size)
        self._size += size
        while self._size > self._limit:
            self._drop(next(iter(self._kept)))

    def of(self, call_id: str) -> Json:
        """Empty when nothing is known."""
        seen, _ = self._kept.get(call_id, ({}, 0))
        return seen

    def _drop(self, call_id: str) -> None:
        _, size = self._kept.pop(call_id, ({}, 0))
        self._size -= size


def _size(value: JsonValue) -> int:
    match value:
        case str():
            return len(value)
        case Mapping():
            return sum(len(name) + _size(inner) for name, inner in value.items())
        case Sequence():
            return sum(map(_size, value))
        case _:
            return 8
