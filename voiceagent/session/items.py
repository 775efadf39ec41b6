"""The pieces of a conversation, as immutable values."""

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
