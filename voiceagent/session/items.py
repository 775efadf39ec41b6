"""The pieces of a conversation, as immutable values: messages, calls of tools, and their results."""

from dataclasses import dataclass
from typing import Literal

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
class FunctionCall:
    """The agent calls a tool. `arguments` is JSON text as the model wrote it; `call_id` is what the result names."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """The result of a call, as text for the model."""

    id: str
    call_id: str
    output: str


AnyItem = Item | FunctionCall | FunctionOutput
"""One entry of a conversation."""
