"""Memory recorder: saves what is said to the user's memory, and brings back what earlier sessions left."""

import asyncio
import time
from collections.abc import Callable

from voiceagent.errors import VoiceagentError
from voiceagent.memory.base import Entry, MemoryStore
from voiceagent.session.conversation import AnyItem, Item

STORE_SECONDS = 5.0
"""How long the store may take for one call before the session goes on without it."""


def memory_key(tenant: str, user: str) -> str:
    """The id under which a store keeps what it knows of a user: those of different API keys never meet."""
    return f"{tenant}/{user}"


class MemoryRecorder:
    """Without a store or a user it keeps nothing. A store that fails never stops the session."""

    def __init__(self, store: MemoryStore | None = None, user: str | None = None, *, limit: int = 0) -> None:
        """`limit`: how many entries of earlier sessions to bring back."""
        self.report: Callable[[str, str], None] = lambda code, message: None
        """Takes the code and the message of a failure."""
        self._store = store
        self._user = user
        self._limit = limit
        self._first_noted: dict[str, float] = {}
        self._unsaved: dict[str, Entry] = {}
        self._wake = asyncio.Event()
        self.earlier: tuple[Entry, ...] = ()
        """What earlier sessions left, once it is recalled."""

    def bind(self, user: str) -> bool:
        """This is whose memory it is, if nobody's was named before: True then, and `recall` is due. What was noted so
        far is theirs too."""
        if self._user is not None or self._store is None:
            return False
        self._user = user
        self._wake.set()
        return True

    async def recall(self) -> None:
        """Fetch what earlier sessions left."""
        if self._store is not None and self._user is not None:
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    found = await self._store.recall(self._user, self._limit)
                self.earlier = tuple(entry for entry in found if entry.item_id not in self._first_noted)
            except (VoiceagentError, TimeoutError, OSError) as error:
                self._failed("read", error)

    def note(self, item: AnyItem) -> None:
        """Remember a message as it is now; noting it again replaces what was noted before."""
        if self._store is None or not isinstance(item, Item) or item.role == "system":
            return
        at = self._first_noted.setdefault(item.id, time.time())
        self._unsaved[item.id] = Entry(item.id, item.role, item.text, at)
        self._wake.set()

    def forget(self, item_id: str) -> None:
        if item_id in self._first_noted:
            self._unsaved[item_id] = Entry(item_id, "user", "", self._first_noted[item_id])
            self._wake.set()

    async def run(self) -> None:
        """Save what is noted, until cancelled."""
        while True:
            await self._wake.wait()
            await self._save()

    async def finish(self) -> None:
        """Save the rest at the end of the session."""
        await self._save()

    def _failed(self, done: str, error: Exception) -> None:
        """The error's own message may hold the user's words."""
        code = "timeout" if isinstance(error, TimeoutError) else "unavailable"
        self.report(code, f"the memory cannot be {done} ({type(error).__name__})")

    async def _save(self) -> None:
        self._wake.clear()
        while self._store is not None and self._user is not None and self._unsaved:
            item_id = next(iter(self._unsaved))
            entry = self._unsaved[item_id]
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    await self._store.remember(self._user, entry)
            except (VoiceagentError, TimeoutError, OSError) as error:
                self._failed("written", error)
                return
            if self._unsaved.get(item_id) is entry:
                del self._unsaved[item_id]
