"""The one clock of a conversation."""

import asyncio


def now() -> float:
    """The loop's monotonic clock in seconds; wall clocks jump."""
    return asyncio.get_running_loop().time()
