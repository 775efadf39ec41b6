"""Decoding off the loop: a few threads share one model, and whoever waits at the same moment is decoded together."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from voiceagent.asr.base import Transcript
from voiceagent.errors import EngineError

Item = TypeVar("Item")
Outcome = Transcript | EngineError | None
"""None: dropped before anyone decoded it."""


class DecodeJob(Generic[Item]):
    """One decoding that was asked for. Its fields belong to the batcher, except `urgent`, which may be read."""

    def __init__(self, item: Item, urgent: bool) -> None:
        self._items = [item]
        self.urgent = urgent
        self.settled = False
        self.outcome: Outcome = None
        self.waiters: list[Future[Outcome]] = []

    def take(self) -> Item:
        """What is to be decoded; the job lets go of it."""
        return self._items.pop()


class Batcher(Generic[Item]):
    """Takes jobs from any event loop. Urgent ones go first, and never share a batch with others.

    `decode` gets up to `size` items in a worker thread and returns as many transcripts. Each stream has few jobs at a
    time, so the queue is bounded by the number of streams.
    """

    def __init__(self, decode: Callable[[list[Item]], list[Transcript]], *, workers: int, size: int) -> None:
        self._decode = decode
        self._size = size
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="asr")
        self._lock = threading.Lock()
        self._waiting: list[DecodeJob[Item]] = []
        self._turns: set[Future[None]] = set()
        self._closed = False
        all_begun = threading.Barrier(workers)  # so that no thread has yet to be made when somebody speaks
        for _ in range(workers):
            self._pool.submit(all_begun.wait)

    def submit(self, item: Item, *, urgent: bool) -> DecodeJob[Item]:
        """Queue a decoding. A job is made even after close(): waiting for it then raises EngineError."""
        job = DecodeJob(item, urgent)
        with self._lock:
            if self._closed:
                job.settled, job.outcome = True, _closed()
                return job
            self._waiting.append(job)
            turn = self._pool.submit(self._turn)
            self._turns = {old for old in self._turns if not old.done()} | {turn}
        return job

    async def wait(self, job: DecodeJob[Item], *, urgent: bool = False) -> Transcript | None:
        """The job's result; None if it was dropped. May be called by several, and again. Raises EngineError."""
        waiter: Future[Outcome] = Future()
        with self._lock:
            job.urgent |= urgent
            if job.settled:
                waiter.set_result(job.outcome)
            else:
                job.waiters.append(waiter)
        outcome = await asyncio.wrap_future(waiter)
        if isinstance(outcome, EngineError):
            raise EngineError(outcome.stage, outcome.code, outcome.message)
        return outcome

    def drop(self, job: DecodeJob[Item]) -> None:
        """Forget a job that no worker has begun; one that is being decoded goes on."""
        with self._lock:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
        self._settle(job, None)

    async def close(self) -> None:
        """Fail what waits, and return when the threads have come to rest."""
        with self._lock:
            self._closed = True
            left, self._waiting = self._waiting, []
            turns = [turn for turn in self._turns if not turn.done()]
        for job in left:
            self._settle(job, _closed())
        if turns:
            await asyncio.wait([asyncio.wrap_future(turn) for turn in turns])
        self._pool.shutdown()  # every thread is idle now: this returns at once

    def _turn(self) -> None:
        """One visit of a worker. There is one visit for each job; when a batch took several, the later find nothing."""
        with self._lock:
            batch = ([job for job in self._waiting if job.urgent] or self._waiting)[: self._size]
            self._waiting = [job for job in self._waiting if job not in batch]
        if not batch:
            return
        outcomes: list[Outcome]
        try:
            outcomes = list(self._decode([job.take() for job in batch]))
        except Exception as error:  # whatever the native library throws is this engine's failure
            outcomes = [EngineError("asr", "failed", f"the recogniser failed: {type(error).__name__}") for _ in batch]
        for job, outcome in zip(batch, outcomes, strict=True):
            self._settle(job, outcome)

    def _settle(self, job: DecodeJob[Item], outcome: Outcome) -> None:
        with self._lock:
            job.settled, job.outcome = True, outcome
            waiters, job.waiters = job.waiters, []
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(outcome)


def _closed() -> EngineError:
    return EngineError("asr", "failed", "the recogniser is closed")
