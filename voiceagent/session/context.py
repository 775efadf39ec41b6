"""What the parts of one conversation share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from voiceagent.engines import Engines
from voiceagent.session.conversation import MAX_ITEMS, AnyEntry, AnyItem, Conversation, Item
from voiceagent.session.events import Event, ItemAdded, ItemDone
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.options import SessionOptions
from voiceagent.session.phrases import Fillers, Phrase
from voiceagent.session.timeline import now
from voiceagent.session.tools import MakeServer, SessionTools
from voiceagent.session.user_turn import UserTurn
from voiceagent.settings import Settings
from voiceagent.tools.toolbox import Toolbox

if TYPE_CHECKING:  # its package is optional
    from voiceagent.turn.smart_turn import SmartTurn


@dataclass(frozen=True, slots=True)
class SessionResources:
    """What all conversations of the process have in common. `tool_server` reaches a server that a client has named, in
    place of ClientMcp."""

    engines: Engines
    settings: Settings
    apology: Phrase
    turn_model: "SmartTurn | None" = None
    toolbox: Toolbox = field(default_factory=Toolbox)
    fillers: Fillers | None = None
    tool_server: MakeServer | None = None


@dataclass(slots=True)
class SessionContext:
    """`emit` is called for every event, in order; it must be quick and must not raise. `tasks` owns every task of the
    conversation. `options` are replaced as a whole when the client asks."""

    id: str
    shared: SessionResources
    options: SessionOptions
    emit: Callable[[Event], None]
    new_id: Callable[[str], str]
    memory_recorder: MemoryRecorder
    tenant: str = ""
    user: str = ""
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    conversation: Conversation = field(default_factory=Conversation)
    active_at: float = 0.0
    """When something last happened, in seconds on the loop's clock."""

    turns: int = 0
    """How many turns the user has had."""

    voice: UserTurn | None = None
    """The voice that is being heard; it is the user's turn once it is confirmed."""

    fillers: dict[str, str] = field(default_factory=dict)
    """What items begin with that was said to fill a silence."""

    tools: SessionTools = field(init=False)
    """What the session runs."""

    def __post_init__(self) -> None:
        self.tools = SessionTools(self)

    def touch(self) -> None:
        self.active_at = now()

    @property
    def user_speaks(self) -> bool:
        """Whether the user has the floor."""
        return self.voice is not None and self.voice.confirmed

    def add(self, item: AnyEntry, after: str | None = None, *, note: bool = True) -> None:
        """A complete item joins the conversation; `note` False while its words are still to come. Raises Refused."""
        previous = self.conversation.add(item, after)
        if note and isinstance(item, AnyItem):
            self.memory_recorder.note(item)
        self.emit(ItemAdded(item, previous))
        self.emit(ItemDone(item, previous))

    def set_text(
        self, item_id: str, text: str, *, complete: bool = True, kind: Literal["audio", "text"] = "audio"
    ) -> None:
        """The item's words are known, or known better; conversation and memory are the same."""
        item = self.conversation.set_text(item_id, text, "completed" if complete else "incomplete", kind)
        if item is not None:
            self.memory_recorder.note(item)

    def latest_words(self) -> str:
        """What the user said last, as far as it is known."""
        items = reversed(self.conversation.items)
        said = (item.text for item in items if isinstance(item, Item) and item.role == "user")
        return next(filter(None, said), "")

    def fills(self, item_id: str, text: str) -> None:
        """The item begins with this filler."""
        self.fillers[item_id] = text
        if len(self.fillers) > MAX_ITEMS:
            del self.fillers[next(iter(self.fillers))]

    def own_words(self, item: Item) -> str:
        """What the item says but for the filler it began with, which may have been broken off. This is what a model is
        shown, or it would take to the habit."""
        return without_filler(item.text, self.fillers.get(item.id, ""))


def without_filler(text: str, filler: str) -> str:
    if not filler or not text:
        return text
    return text[len(filler) :] if text.startswith(filler) else "" if filler.startswith(text.rstrip()) else text
