"""Threads for engines that speak on this machine."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

_START_SECONDS = 60.0
"""Other engines load meanwhile; on a busy machine, at their first import, that held threads up for more than 10 s."""


async def start_pool(size: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads all run already, so that none is started in the middle of a conversation."""
    pool = ThreadPoolExecutor(size, thread_name_prefix=name)
    together = threading.Barrier(size)
    loop = asyncio.get_running_loop()
    try:
        await asyncio.gather(*(loop.run_in_executor(pool, together.wait, _START_SECONDS) for _ in range(size)))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return pool
