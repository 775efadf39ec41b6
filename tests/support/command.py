"""The command line in a process of its own, in an environment without anything that configures it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from typer.testing import CliRunner

from voiceagent.cli.main import app

ROOT = Path(__file__).parent.parent.parent
SECONDS = 90.0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without keys, addresses and settings, but for these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "VOICEAGENT_"))}
    path = os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "client"), os.environ.get("PYTHONPATH", ""))))
    return {**kept, "PYTHONPATH": path, "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **(more or {})}


class Command(Protocol):
    async def __call__(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> "Ended": ...


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    error: str


async def python(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
    """Run Python with these arguments to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=cwd,
        env=environment(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, error = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), error.decode())


async def voiceagent(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
    """Run a command of `voiceagent` to its end."""
    return await python("-P", "-m", "voiceagent", *arguments, cwd=cwd, env=env, stdin=stdin)


async def in_process(
    *arguments: str, patch: pytest.MonkeyPatch, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = ""
) -> Ended:
    """Run a command of `voiceagent` in a thread of this process, which is quicker by the imports of a new one."""
    for name in tuple(os.environ):
        if name.startswith(("OPENAI_", "VOICEAGENT_")):
            patch.delenv(name)
    for name, value in {"COLUMNS": "200", **(env or {})}.items():
        patch.setenv(name, value)
    patch.chdir(cwd)
    patch.setattr(sys, "path", [*sys.path])
    with ThreadPoolExecutor(1) as pool:
        work = partial(CliRunner().invoke, app, arguments, input=stdin)
        result = await asyncio.get_running_loop().run_in_executor(pool, work)
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


@asynccontextmanager
async def started(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.StreamReader]]:
    """Python with these arguments while it is needed; yields the process and its standard output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=cwd, env=environment(env), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def lines_until(out: asyncio.StreamReader, beginning: str) -> list[str]:
    """The lines up to the first that begins like this."""
    lines: list[str] = []
    async with asyncio.timeout(SECONDS):
        while not lines or not lines[-1].startswith(beginning):
            line = await out.readline()
            assert line, f"ended after {lines}"
            lines.append(line.decode().rstrip())
    return lines
