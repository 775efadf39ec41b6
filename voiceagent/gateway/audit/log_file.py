"""A file of lines that grows to a size and then begins anew; written by a thread of its own, so that nobody waits."""

import asyncio
import logging
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TextIO

logger = logging.getLogger(__name__)

WAITING = 10_000
"""Lines that may wait for the disk; what more comes is lost, and that is counted."""
CLOSE_SECONDS = 5.0


class Sink(Protocol):
    """Where lines go; called by one thread."""

    def write(self, line: str) -> None:
        """Raises OSError."""
        ...

    def close(self) -> None: ...


class RotatingFile:
    """`path`, and its forerunners `path.1` (the latest) to `path.<keep>`. Readable by its owner only."""

    def __init__(self, path: Path, megabytes: float = 64.0, keep: int = 10) -> None:
        self._path = path.expanduser()
        self._limit = int(megabytes * 1_000_000)
        self._keep = keep
        self._file: TextIO | None = None

    def write(self, line: str) -> None:
        data = line + "\n"
        file = self._file or self._open()
        if file.tell() and file.tell() + len(data.encode("utf-8", "replace")) > self._limit:
            self._rotate()
            file = self._open()
        file.write(data)
        file.flush()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(handle, "a", encoding="utf-8", errors="replace")
        return self._file

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1) if number > 1 else self._path
            if older.exists():
                older.replace(self._numbered(number))
        if not self._keep:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class LoggerSink:
    """Lines to the logger `voiceagent.audit`, at INFO."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("voiceagent.audit")

    def write(self, line: str) -> None:
        self._logger.info("%s", line)

    def close(self) -> None:
        pass


class AuditLog:
    """Takes lines without ever waiting. `lost` counts those that could not be kept."""

    def __init__(self, sink: Sink, waiting: int = WAITING) -> None:
        self.lost = 0
        self._sink = sink
        self._most = waiting
        self._lines: deque[str] = deque()
        self._worker: ThreadPoolExecutor | None = None
        self._well = True

    def open(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="audit")

    def write(self, line: str) -> None:
        if self._worker is None or len(self._lines) >= self._most:
            self._lose("lines come faster than they are written" if self._worker is not None else "it is not open")
            return
        self._lines.append(line)
        self._worker.submit(self._write_one)

    async def close(self) -> None:
        """Waits until all is written, at most some seconds. May be called twice."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.get_running_loop().run_in_executor(worker, self._sink.close)
        except TimeoutError:
            logger.warning("the audit log ends with %d lines that were not written", len(self._lines))
        finally:
            worker.shutdown(wait=False, cancel_futures=True)

    def _write_one(self) -> None:
        """On the thread."""
        try:
            self._sink.write(self._lines.popleft())
            self._well = True
        except OSError as error:
            self._lose(type(error).__name__)

    def _lose(self, why: str) -> None:
        self.lost += 1
        if self._well:
            self._well = False
            logger.warning("the audit log loses lines (%s)", why)
