"""What a talk tells experiments: whether a reply was heard to its end."""

from typing import Protocol, runtime_checkable

from voiceagent.session.commands import Command
from voiceagent.session.conversation import AnyItem
from voiceagent.session.events import Event, ResponseDone


@runtime_checkable
class LearnsOutcomes(Protocol):
    """A language model that wants to know."""

    def observe_reply(self, session: str, user: str, interrupted: bool) -> None: ...


class ResponseOutcomeObserver:
    """An onlooker of one talk. A reply that never got a word out counts for nothing."""

    def __init__(self, llm: LearnsOutcomes, session: str, user: str) -> None:
        self._llm, self._session, self._user = llm, session, user

    def told(self, event: Event) -> None:
        if isinstance(event, ResponseDone) and event.item is not None:
            self._llm.observe_reply(self._session, self._user, event.status == "cancelled")

    def asked(self, command: Command) -> None: ...

    def noted(self, item: AnyItem) -> None: ...

    def ended(self, reason: str) -> None: ...
