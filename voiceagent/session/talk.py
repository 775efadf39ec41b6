"""What the parts of one conversation share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from voiceagent.engines import Engines
from voiceagent.session.clock import now
from voiceagent.session.conversation import Conversation
from voiceagent.session.events import Event, ItemAdded, ItemDone
from voiceagent.session.items import AnyItem
from voiceagent.session.options import SessionOptions
from voiceagent.session.remember import Remembrance
from voiceagent.session.reply import Apology
from voiceagent.settings import Settings
from voiceagent.turn.smart_turn import SmartTurn


@dataclass(frozen=True, slots=True)
class Shared:
    """What all conversations of the process have in common."""

    engines: Engines
    settings: Settings
    apology: Apology
    turn_model: SmartTurn | None = None


@dataclass(slots=True)
class Talk:
    """`emit` is called for every event, in order; it must be quick and must not raise. `tasks` owns every task of the
    conversation. `options` are replaced as a whole when the client asks."""

    id: str
    shared: Shared
    options: SessionOptions
    emit: Callable[[Event], None]
    new_id: Callable[[str], str]
    remembrance: Remembrance
    tenant: str = ""
    user: str = ""
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    conversation: Conversation = field(default_factory=Conversation)
    active_at: float = 0.0
    """When something last happened, in seconds on the loop's clock."""

    turns: int = 0
    """How many turns the user has had."""

    def touch(self) -> None:
        self.active_at = now()

    def add(self, item: AnyItem, after: str | None = None, *, note: bool = True) -> None:
        """A complete item joins the conversation; `note` False while its words are still to come. Raises Refused."""
        previous = self.conversation.add(item, after)
        if note:
            self.remembrance.note(item)
        self.emit(ItemAdded(item, previous))
        self.emit(ItemDone(item, previous))

    def set_text(
        self, item_id: str, text: str, *, complete: bool = True, kind: Literal["audio", "text"] = "audio"
    ) -> None:
        """The item's words are known, or known better; conversation and memory are the same."""
        item = self.conversation.set_text(item_id, text, "completed" if complete else "incomplete", kind)
        if item is not None:
            self.remembrance.note(item)
