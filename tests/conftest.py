"""What every test shares: the check that nothing outlives it, and the real engines, loaded once a run."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import voiceagent  # noqa: F401 - before any engine: it turns onnxruntime's telemetry off
from tests.support.fixtures import models  # noqa: F401
from tests.support.speech import engines_for, speak  # noqa: F401

settings.register_profile("untimed", deadline=None)  # a busy machine is no reason for an example to fail
settings.load_profile("untimed")

GRACE_SECONDS = 2.0
"""How long threads and files of a finished test may take to go away (a thread pool's workers end on their own)."""


def open_files() -> dict[int, str]:
    """This process's file descriptors and what they are open on (Linux; elsewhere nothing is checked)."""
    folder = Path("/proc/self/fd")
    found: dict[int, str] = {}
    if folder.is_dir():
        for entry in folder.iterdir():
            try:
                found[int(entry.name)] = os.readlink(entry)
            except OSError:  # the listing's own descriptor, closed by now
                continue
    return found


@pytest.fixture(autouse=True)
def no_leaked_threads_or_files() -> Iterator[None]:
    """Fails a test that leaves a thread or a file behind."""
    threads = set(threading.enumerate())
    files = set(open_files().items())
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        left_threads = [thread.name for thread in threading.enumerate() if thread not in threads]
        left_files = set(open_files().items()) - files
        if not left_threads and not left_files:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: threads {left_threads}, files {sorted(left_files)}")
        gc.collect()
        time.sleep(0.02)


@pytest.fixture(autouse=True)
async def no_leaked_tasks(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fails a test that leaves an asyncio task behind on its loop."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # let callbacks of tasks that are just ending run
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task() and not task.done()]
    assert not left, f"left behind: tasks {[task.get_coro() for task in left]}"
