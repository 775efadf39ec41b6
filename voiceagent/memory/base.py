"""What was said and heard in earlier talks of the same user."""

from dataclasses import dataclass
from typing import Literal, Protocol

from voiceagent.plugins import PluginKind


@dataclass(frozen=True, slots=True)
class Entry:
    """One side's words in one turn. `item_id` is the conversation item's; storing the same id again replaces the text
    (what the user really heard is often known only later). `at` is Unix time in seconds."""

    item_id: str
    role: Literal["user", "assistant"]
    text: str
    at: float


class MemoryStore(Protocol):
    """Kept per user id. The caller makes ids that cannot collide between API keys."""

    async def open(self) -> None: ...

    async def recall(self, user: str, limit: int) -> list[Entry]:
        """The user's latest `limit` entries, oldest first."""
        ...

    async def remember(self, user: str, entry: Entry) -> None:
        """Add an entry or replace the one with its item id; an empty text removes it."""
        ...

    async def users(self) -> list[tuple[str, int, float]]:
        """Every user with the number of entries and the time of the last one."""
        ...

    async def forget(self, user: str) -> int:
        """Delete all that is kept of a user; returns how many entries that were."""
        ...

    async def close(self) -> None: ...


MEMORY_STORES = PluginKind("memory", MemoryStore)
"""The memory stores that a configuration may name."""
