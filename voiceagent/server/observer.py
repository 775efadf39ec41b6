"""Session observers: follow a session without taking part in it, such as its recording or an operator's view."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from voiceagent.memory.base import MemoryStore
from voiceagent.session.commands import Command
from voiceagent.session.conversation import AnyItem
from voiceagent.session.events import Event, ResponseDone
from voiceagent.session.memory_recorder import MemoryRecorder


class SessionObserver(Protocol):
    """Called in the order in which things happen. Every method is quick and raises nothing."""

    def on_command(self, command: Command) -> None:
        """A command of the client was executed."""
        ...

    def on_event(self, event: Event) -> None:
        """The session has emitted an event to its client."""
        ...

    def on_item(self, item: AnyItem) -> None:
        """An item as the conversation has it from now on; an assistant's text is what was heard of it."""
        ...

    def on_end(self, reason: str) -> None:
        """The session is over."""
        ...


class ObservedMemoryRecorder(MemoryRecorder):
    """The memory recorder that passes items on to observers, whether or not there is a memory: both see the same."""

    def __init__(
        self, observers: Sequence[SessionObserver], store: MemoryStore | None, user: str | None, *, limit: int
    ) -> None:
        super().__init__(store, user, limit=limit)
        self._observers = observers

    def note(self, item: AnyItem) -> None:
        super().note(item)
        for observer in self._observers:
            observer.on_item(item)


@runtime_checkable
class LearnsOutcomes(Protocol):
    """A language model that learns whether its responses were heard to the end, for its experiments."""

    def observe_reply(self, session: str, user: str, interrupted: bool) -> None: ...


class ResponseOutcomeObserver:
    """The observer that tells a language model how each response ended; one without a single word does not count."""

    def __init__(self, llm: LearnsOutcomes, session: str, user: str) -> None:
        self._llm, self._session, self._user = llm, session, user

    def on_event(self, event: Event) -> None:
        if isinstance(event, ResponseDone) and event.item is not None:
            self._llm.observe_reply(self._session, self._user, event.status == "cancelled")

    def on_command(self, command: Command) -> None: ...

    def on_item(self, item: AnyItem) -> None: ...

    def on_end(self, reason: str) -> None: ...
