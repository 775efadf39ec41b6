"""Session context: what the parts of one session share, and what all sessions of the process share."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.session.conversation import MAX_ITEMS, AnyEntry, AnyItem, Conversation, FunctionOutput, Item
from voiceagent.session.events import Event, FailedStage, ItemAdded, ItemDone, StageFailed
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.options import SessionOptions
from voiceagent.session.phrases import Fillers, Phrase
from voiceagent.session.settings import SessionSettings
from voiceagent.session.timeline import now
from voiceagent.session.tools import MakeServer
from voiceagent.session.user_turn import UserTurn
from voiceagent.tools.mcp.client import ClientMcp
from voiceagent.tools.settings import ToolsSection
from voiceagent.tools.toolbox import Toolbox
from voiceagent.turn.endpointing import TurnModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionResources:
    """What all sessions of the process have in common. `apology` is said when an engine fails; `tool_server` reaches a
    server of tools that a client has named."""

    engines: Engines
    settings: SessionSettings
    apology: Phrase
    turn_model: TurnModel | None = None
    toolbox: Toolbox = field(default_factory=Toolbox)
    fillers: Fillers | None = None
    tool_server: MakeServer = field(default_factory=lambda: partial(ClientMcp, ToolsSection()))


@dataclass(slots=True)
class SessionContext:
    """Whose session it is, how it is held now, its one way to the client, and its tasks.

    `emit` is called for every event, in order; it must be quick and must not raise. `tasks` owns every task of the
    session. `options` are replaced as a whole when the client asks. `tenant` and `user`: see `llm.base.Caller`.
    """

    id: str
    options: SessionOptions
    emit: Callable[[Event], None]
    new_id: Callable[[str], str]
    tenant: str = ""
    user: str = ""
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    active_at: float = 0.0
    """When something last happened, in seconds on the loop's clock."""

    turns: int = 0
    """How many turns the user has had."""

    user_turn: UserTurn | None = None
    """The voice that is being heard; it is the user's turn once it is confirmed."""

    def touch(self) -> None:
        """Something has happened."""
        self.active_at = now()

    def failed(self, stage: FailedStage, code: str, message: str, endpoint: str = "", *, logged: bool = False) -> None:
        """Something has failed: a line in the log, unless it has been `logged` already, and an event for all who count
        and show."""
        if not logged:
            where = f" (endpoint {endpoint})" if endpoint else ""
            log.warning("session %s: %s: %s: %s%s", self.id, stage, code, message, where)
        self.emit(StageFailed(stage, code, message, endpoint))

    def engine_failed(self, error: EngineError) -> None:
        self.failed(error.stage, error.code, error.message, error.endpoint)

    @property
    def user_speaks(self) -> bool:
        """Whether a turn of the user's is being heard."""
        return self.user_turn is not None and self.user_turn.confirmed


class Dialogue:
    """What was said, kept alike in the conversation, at the client and in the user's memory."""

    def __init__(self, memory: MemoryRecorder, emit: Callable[[Event], None]) -> None:
        self.conversation = Conversation()
        self.memory = memory
        self._emit = emit
        self._fillers: dict[str, str] = {}
        """What items begin with that was said to fill a silence, by the item's id."""
        self._withdrawn: set[str] = set()
        """The ids of what the user said and does not want answered."""

    def add(self, item: AnyEntry, after: str | None = None, *, note: bool = True) -> None:
        """Add a complete item; `note` False while its words are still to come. Raises Refused."""
        previous = self.conversation.add(item, after)
        if note and isinstance(item, AnyItem):
            self.memory.note(item)
        self._emit(ItemAdded(item, previous))
        self._emit(ItemDone(item, previous))

    def set_text(
        self, item_id: str, text: str, *, complete: bool = True, kind: Literal["audio", "text"] = "audio"
    ) -> None:
        """The item's words are known, or known better."""
        item = self.conversation.set_text(item_id, text, "completed" if complete else "incomplete", kind)
        if item is not None:
            self.memory.note(item)

    def remove(self, item_id: str) -> None:
        """Raises Refused."""
        self.conversation.remove(item_id)
        self.memory.forget(item_id)

    def latest_words(self) -> str:
        """What the user said last, as far as it is known."""
        items = reversed(self.conversation.items)
        texts = (item.text for item in items if isinstance(item, Item) and item.role == "user")
        return next(filter(None, texts), "")

    def answered(self, items: Sequence[AnyEntry] | None = None) -> bool:
        """Whether the agent has said something since the user spoke last, and then called tools: the results may need
        no more words. `items` stand in for the conversation."""
        latest = list(self.conversation.items if items is None else items)
        if not latest or not isinstance(latest[-1], FunctionOutput):
            return False
        for item in reversed(latest):
            if isinstance(item, Item) and item.role != "system" and self.own_words(item).strip():
                return item.role == "assistant"
        return False

    def begin_with_filler(self, item_id: str, text: str) -> None:
        """The item begins with this filler."""
        self._fillers[item_id] = text
        if len(self._fillers) > MAX_ITEMS:
            del self._fillers[next(iter(self._fillers))]

    def own_words(self, item: Item) -> str:
        """What the item says but for the filler it began with, which may have been broken off; nothing of what was
        withdrawn. This is what a model is shown, or it would take to the habit."""
        return "" if item.id in self._withdrawn else without_filler(item.text, self._fillers.get(item.id, ""))

    def withdraw(self) -> None:
        """What the user has said since the agent was heard last is not asked any more. Models are not shown it."""
        for item in reversed(self.conversation.items):
            if isinstance(item, Item) and item.role == "assistant" and self.own_words(item).strip():
                break
            if isinstance(item, Item) and item.role == "user":
                self._withdrawn.add(item.id)
        if len(self._withdrawn) > MAX_ITEMS:
            self._withdrawn.intersection_update(item.id for item in self.conversation.items)


def without_filler(text: str, filler: str) -> str:
    if not filler or not text:
        return text
    return text[len(filler) :] if text.startswith(filler) else "" if filler.startswith(text.rstrip()) else text
