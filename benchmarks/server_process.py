"""The scripted server as a process of its own, as the benchmarks see it."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 60.0
ANSWER_SECONDS = 10.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server process holds and has used so far."""

    tasks: int
    threads: int
    resident_bytes: int
    cpu_seconds: float


class ServerProcess:
    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.host = urlsplit(url).hostname or "127.0.0.1"
        self.port = urlsplit(url).port or 80

    async def usage(self) -> Usage:
        assert self._process.stdin is not None
        self._process.stdin.write(b"usage\n")
        return Usage(**json.loads(await line_of(self._process, ANSWER_SECONDS)))

    async def loop_lag(self) -> float:
        """Seconds: the gauge at /metrics."""
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: benchmark\r\nConnection: close\r\n\r\n")
                page = await reader.read(-1)
            finally:
                writer.close()
                await writer.wait_closed()
        return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(b"voiceagent_loop_lag_"))


async def line_of(process: asyncio.subprocess.Process, seconds: float) -> bytes:
    """The process's next line. Raises RuntimeError when it says nothing more."""
    assert process.stdout is not None
    async with asyncio.timeout(seconds):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the server under test has stopped")
    return line


@asynccontextmanager
async def scripted_server(core: int | None = None, profile: Path | None = None) -> AsyncIterator[ServerProcess]:
    """A running server, loaded and pinned to `core`. Raises RuntimeError with its last words when it cannot start."""
    command = [sys.executable, "-m", "benchmarks.scripted"]
    command += [] if core is None else ["--core", str(core)]
    command += [] if profile is None else ["--profile", str(profile)]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            try:
                url = json.loads(await line_of(process, START_SECONDS))["url"]
            except (RuntimeError, TimeoutError):
                log.seek(0)
                last_words = log.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"the server did not start:\n{last_words}") from None
            yield ServerProcess(process, url)
        finally:
            await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def cores() -> Sequence[int]:
    """The cores this process may use; none where the system cannot pin a process to one."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def two_cores() -> tuple[int, int] | tuple[None, None]:
    """One core for the server and another for its clients; None for both where this process has only one."""
    allowed = cores()
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)
