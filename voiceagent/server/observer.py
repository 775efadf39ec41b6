"""Those who look on while a talk is held, and have no part in it: its recording, an operator."""

from collections.abc import Sequence
from typing import Protocol

from voiceagent.memory.base import MemoryStore
from voiceagent.session.commands import Command
from voiceagent.session.conversation import AnyItem
from voiceagent.session.events import Event
from voiceagent.session.memory_recorder import MemoryRecorder


class SessionObserver(Protocol):
    """Told in the order in which it happens. Every method is quick and raises nothing."""

    def asked(self, command: Command) -> None:
        """The client's command was carried out."""
        ...

    def told(self, event: Event) -> None:
        """The session tells its client."""
        ...

    def noted(self, item: AnyItem) -> None:
        """An item as the conversation has it from now on; an assistant's text is what was heard."""
        ...

    def ended(self, reason: str) -> None:
        """The talk is over."""
        ...


class ObservedMemoryRecorder(MemoryRecorder):
    """What is noted for the memory is told to onlookers too, whether or not there is a memory: both hold the same."""

    def __init__(
        self, observers: Sequence[SessionObserver], store: MemoryStore | None, user: str | None, *, limit: int
    ) -> None:
        super().__init__(store, user, limit=limit)
        self._observers = observers

    def note(self, item: AnyItem) -> None:
        super().note(item)
        for observer in self._observers:
            observer.noted(item)
