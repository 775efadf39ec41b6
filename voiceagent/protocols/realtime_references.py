"""`item_reference` in a response's own input: the session is asked for these items before the response."""

from collections.abc import Sequence
from dataclasses import replace

from voiceagent.errors import Refused
from voiceagent.protocols.base import Action, Ask
from voiceagent.protocols.realtime_items import Reference
from voiceagent.session.commands import CreateReply, RetrieveItem
from voiceagent.session.items import AnyEntry

UNKNOWN = Refused("invalid_value", "There is no item of this id in the conversation.", "response.input")


class References:
    """One response at a time: a session answers at once, so all answers come before the client's next message."""

    def __init__(self) -> None:
        self._create = Ask(CreateReply())
        self._context: Sequence[AnyEntry | Reference] = ()
        self._items: dict[str, AnyEntry] = {}
        self._left = 0
        self._failed = False

    @property
    def waiting(self) -> bool:
        """Whether the next item that the session shows, or refuses, is for us."""
        return self._left > 0

    def ask(self, command: CreateReply, context: Sequence[AnyEntry | Reference], ref: str | None) -> list[Action]:
        """What to ask for a response with this input."""
        wanted = dict.fromkeys(item.item_id for item in context if isinstance(item, Reference))
        self._create, self._context, self._items = Ask(command, ref), context, {}
        self._left, self._failed = len(wanted), False
        return [Ask(RetrieveItem(item_id), ref) for item_id in wanted] or [self._whole()]

    def found(self, item: AnyEntry) -> list[Action]:
        """The session shows an item."""
        self._left -= 1
        self._items[item.id] = item
        return [] if self._left or self._failed else [self._whole()]

    def missing(self) -> bool:
        """The session has no such item; False if the client was told of another one."""
        self._left -= 1
        first, self._failed = not self._failed, True
        return first

    def _whole(self) -> Ask:
        context = (self._items[item.item_id] if isinstance(item, Reference) else item for item in self._context)
        command = self._create.command
        assert isinstance(command, CreateReply)
        return Ask(replace(command, input=tuple(context)), self._create.ref)
