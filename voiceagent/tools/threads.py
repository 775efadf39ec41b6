"""Threads for work that cannot be cancelled: a bounded number, none of which keeps the process from ending."""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

MOST_WAITING = 256
"""How many pieces of work may wait for a thread."""


class Busy(Exception):
    """So much work waits already."""


@dataclass(frozen=True, slots=True)
class _Raised:
    """What the work raised, as a value: some exceptions cannot be set on a future."""

    error: BaseException


Work = tuple["Future[object]", Callable[[], object]]


class Threads:
    """Threads are started as they are needed. Work whose caller has given up before it began is left out; what has
    begun runs on, its result is dropped."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """The result of the work, or what it raises. Raises Busy."""
        future: Future[T | _Raised] = Future()
        context = contextvars.copy_context()
        self._put((future, lambda: context.run(_caught, work)))  # type: ignore[arg-type]
        outcome = await asyncio.wrap_future(future)
        if isinstance(outcome, _Raised):
            raise outcome.error
        return outcome

    def close(self) -> None:
        """Threads end once their work is done; what still waits is dropped."""
        with self._changed:
            self._closed = True
            for future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _put(self, work: Work) -> None:
        with self._changed:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                raise Busy
            self._waiting.append(work)
            if len(self._waiting) > self._idle and self._threads < self._most:
                self._threads += 1
                # A daemon, as one that hangs must not keep the process from ending.
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._changed.notify()

    def _work(self) -> None:
        while (task := self._next()) is not None:
            future, work = task
            if future.set_running_or_notify_cancel():
                future.set_result(work())
            del task, future, work  # nothing is held while waiting

    def _next(self) -> Work | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._waiting.popleft()


def _caught(work: Callable[[], object]) -> object:
    try:
        return work()
    except BaseException as error:
        return _Raised(error)


async def off_loop(work: Callable[[], T], name: str, seconds: float) -> T:
    """One piece of work on a thread of its own. Raises TimeoutError."""
    threads = Threads(1, name)
    try:
        async with asyncio.timeout(seconds):
            return await threads.run(work)
    finally:
        threads.close()
