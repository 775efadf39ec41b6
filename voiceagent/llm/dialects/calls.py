"""Tool calls as they are written in streams, whole or in parts."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import ToolCall


@dataclass(slots=True)
class CallParts:
    """A call of which more may come. `index` and `id` are the server's, which may give neither."""

    index: int | None
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.arguments)

    @property
    def whole(self) -> bool:
        """Whether the arguments are JSON by now. Where there are none, some may still come."""
        try:
            msgspec.json.decode(self.text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return True

    def call(self) -> ToolCall:
        """Raises EngineError when the call names no function."""
        if not self.name:
            raise EngineError("llm", "bad_response", "the language model called a function without a name")
        return ToolCall(self.id or new_call_id(), self.name, self.text.strip() or "{}")


class CallAssembler:
    """OpenAI's deltas, put together. By OpenAI's rule a call has an index, and its first delta an id and a name. Others
    leave out the index, the id or both, number all calls 0, repeat name and id in each delta, or give each delta an id
    of its own; so a call begins where the index is new, or where a name comes with another id, or with arguments
    after those before are complete."""

    def __init__(self) -> None:
        self._calls: list[CallParts] = []

    @property
    def whole(self) -> bool:
        return all(call.whole for call in self._calls)

    def add(self, index: int | None, call_id: str, name: str, arguments: str) -> None:
        call = self._call(index, call_id, name, arguments)
        call.id = call.id or call_id
        call.name = call.name or name
        if arguments:
            call.arguments.append(arguments)

    def take(self) -> Iterator[ToolCall]:
        """All calls, in the order in which they began; they are gone then. Raises EngineError."""
        calls, self._calls = self._calls, []
        for call in calls:
            yield call.call()

    def _call(self, index: int | None, call_id: str, name: str, arguments: str) -> CallParts:
        """The call that a delta belongs to, a new one where it begins one."""
        same = [call for call in self._calls if index is None or call.index == index]
        if index is None and call_id:
            same = [call for call in same if call.id == call_id] or ([] if name else same)
        if same:
            last = same[-1]
            other = call_id != last.id if call_id and last.id else bool(arguments and last.whole)
            if not (name and other):
                return last
        self._calls.append(CallParts(index, call_id, name))
        return self._calls[-1]


def new_call_id() -> str:
    """For calls that come without one."""
    return f"call_{secrets.token_hex(12)}"


def arguments_object(call: ToolCall) -> dict[str, JsonValue]:
    """A call's arguments for a prompt: servers that parse them fail on what is no object, so that becomes empty."""
    try:
        found = msgspec.json.decode(call.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
