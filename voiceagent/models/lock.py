"""Lock of a folder: one process at a time."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voiceagent.errors import ConfigError

POLL_SECONDS = 0.1


@contextmanager
def exclusive(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold the lock on a file, made if need be; blocks the thread while another process or thread holds it. The system
    frees it when its holder dies. Raises ConfigError once `wait_seconds` have passed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise ConfigError(f"another process has held {path} for {wait_seconds:.0f} s; wait for it or end it")
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)  # this unlocks


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
