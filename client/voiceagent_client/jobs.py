"""Tasks that live and end together."""

import asyncio
from collections.abc import Awaitable


async def together(*jobs: Awaitable[None]) -> list[BaseException | None]:
    """Runs the jobs until the first of them ends, and then ends the others. What each came to, in order: None, or the
    cancellation of those that were ended. Raises the first job's failure, if there was one."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results
