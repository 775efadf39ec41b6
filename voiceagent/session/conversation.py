"""Conversation: the items of one session in order, what the model is shown and what memory keeps."""

from dataclasses import dataclass, replace
from typing import Literal

from voiceagent.errors import Refused
from voiceagent.llm.base import ToolSpec

ItemRole = Literal["user", "assistant", "system"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an item's content: typed text, or audio of which `text` is the transcript ("" while unknown)."""

    kind: Literal["text", "audio"]
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One message. An assistant's text is what was heard of it, once that is known."""

    id: str
    role: ItemRole
    parts: tuple[Part, ...] = ()
    status: ItemStatus = "completed"

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.parts if part.text)


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that the client has named, by its label, and that server's own name for the tool."""

    server: str
    name: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The agent calls a tool. `arguments` is JSON text as the model wrote it; `call_id` is what the result names. With
    an `origin` the tool is that server's; `approval_id` is then the request which the client has agreed to, if any."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"
    origin: Origin | None = None
    approval_id: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """The result of a call, as text for the model; `failed` when the server's own tool came to nothing."""

    id: str
    call_id: str
    output: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ToolList:
    """What a server offers that the client has named, by the server's own names; nothing before it was asked."""

    id: str
    server: str
    tools: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The agent wants to make this call, and the client has to agree first."""

    id: str
    call: FunctionCall


@dataclass(frozen=True, slots=True)
class ApprovalResponse:
    """What the client says to a request; `reason` is its words for why not."""

    id: str
    request_id: str
    approve: bool
    reason: str = ""


AnyItem = Item | FunctionCall | FunctionOutput
"""What was said and done."""
AnyEntry = AnyItem | ToolList | ApprovalRequest | ApprovalResponse
"""One entry of a conversation."""


MAX_ITEMS = 2000
"""Items kept of one conversation; beyond it the oldest go. Far above what any prompt holds."""
MAX_ITEM_CHARS = 100_000
"""Characters of one item: an hour and a half of speech."""
MAX_CHARS = 1_000_000
"""Characters of all items; beyond it the oldest go. It bounds the memory of a session and the time a prompt takes."""


class Conversation:
    """Items are immutable values; one that changes is replaced."""

    def __init__(self) -> None:
        self._items: dict[str, AnyEntry] = {}
        self._order: list[str] = []
        self._chars = 0

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    @property
    def items(self) -> list[AnyEntry]:
        """All items, oldest first."""
        return [self._items[item_id] for item_id in self._order]

    @property
    def last_id(self) -> str | None:
        return self._order[-1] if self._order else None

    def add(self, item: AnyEntry, after: str | None = None) -> str | None:
        """Insert after that item ("root": first; None: last) and return the id of the one before it."""
        if item.id in self._items:
            raise Refused("item_create_duplicate_item_id", f"an item with id '{item.id}' already exists", "item.id")
        if after is not None and after != "root" and after not in self._items:
            raise Refused(
                "item_create_invalid_previous_item_id", f"there is no item with id '{after}'", "previous_item_id"
            )
        if size(item) > MAX_ITEM_CHARS:
            message = f"an item holds at most {MAX_ITEM_CHARS} characters"
            raise Refused("string_above_max_length", message, "item.content")
        position = len(self._order)
        if after is not None:
            position = 0 if after == "root" else self._order.index(after) + 1
        self._order.insert(position, item.id)
        self._items[item.id] = item
        self._chars += size(item)
        previous = self.before(item.id)
        while len(self._order) > MAX_ITEMS or self._chars > MAX_CHARS:
            self._chars -= size(self._items.pop(self._order.pop(0)))
        return previous

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one, None for the first."""
        position = self._order.index(item_id)
        return self._order[position - 1] if position else None

    def get(self, item_id: str, refusal: str) -> AnyEntry:
        """The item, or Refused with the code `refusal`."""
        if item_id not in self._items:
            raise Refused(refusal, f"there is no item with id '{item_id}'", "item_id")
        return self._items[item_id]

    def set_tools(self, listed: ToolList) -> None:
        """The list is known, or known anew; nothing happens if its item is gone."""
        if listed.id in self._items:
            self._items[listed.id] = listed

    def result(self, call: FunctionCall) -> FunctionOutput | None:
        """What came of a call."""
        outputs = (item for item in self._items.values() if isinstance(item, FunctionOutput))
        return next((output for output in outputs if output.call_id == call.call_id), None)

    def remove(self, item_id: str) -> None:
        self.get(item_id, "item_delete_invalid_item_id")
        self._chars -= size(self._items.pop(item_id))
        self._order.remove(item_id)

    def set_text(
        self, item_id: str, text: str, status: ItemStatus = "completed", kind: Literal["audio", "text"] = "audio"
    ) -> Item | None:
        """Give the message's first part this text (one without parts gets one of this kind); None if it is gone."""
        item = self._items.get(item_id)
        if not isinstance(item, Item):
            return None
        parts = (replace(item.parts[0], text=text), *item.parts[1:]) if item.parts else (Part(kind, text),)
        changed = replace(item, parts=parts, status=status)
        self._chars += size(changed) - size(item)
        self._items[item_id] = changed
        return changed


def size(item: AnyEntry) -> int:
    """Characters of its content."""
    match item:
        case Item(parts=parts):
            return sum(len(part.text) for part in parts)
        case FunctionCall(arguments=arguments):
            return len(arguments)
        case FunctionOutput(output=output):
            return len(output)
        case ApprovalRequest(call=call):
            return len(call.arguments)
        case ApprovalResponse(reason=reason):
            return len(reason)
        case ToolList():  # what is in it, its server's connection holds anyway
            return 0
