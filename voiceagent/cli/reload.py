"""`voiceagent serve --reload`: a server in a process of its own, started anew whenever a file of its is changed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

POLL_SECONDS = 0.5
"""Between two looks at the files. Looking at the few dozen there are costs under a millisecond."""
SETTLE_SECONDS = 0.2
"""After a change: editors write a file in several steps."""
MOST_FILES = 2000
"""Python files beside the agent that are watched at most."""
IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})

Stamps = Mapping[Path, tuple[int, int]]


def watched(config: Path | None, agent: Path | None) -> list[Path]:
    """The configuration, and the agent's file with all Python and TOML files in its folder and below."""
    files = [] if config is None else [config]
    if agent is not None:
        files.append(agent)
        files += _below(agent.resolve().parent)
    return files


def _below(folder: Path) -> Iterable[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED and not name.startswith(".")]
        found += (Path(place, name) for name in names if name.endswith((".py", ".toml")))
        if len(found) > MOST_FILES:
            break
    return found[:MOST_FILES]


def stamps(files: Iterable[Path]) -> Stamps:
    """When each file was last written, and how long it is; a file that is not there is left out."""
    found: dict[Path, tuple[int, int]] = {}
    for path in files:
        try:
            status = path.stat()
        except OSError:
            continue
        found[path] = (status.st_mtime_ns, status.st_size)
    return found


def run(arguments: Sequence[str], *, config: Path | None, agent: Path | None) -> int:
    """Run `voiceagent serve` with these arguments until this process is told to stop; returns its exit code.

    At a change the running server lets its sessions finish, as at SIGTERM, and only then a new one takes the port. One
    that does not start is left alone until the next change.
    """
    console = Console(stderr=True, highlight=False)
    command = [sys.executable, "-P", "-m", "voiceagent", "serve", *arguments]
    stopping: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    seen = stamps(watched(config, agent))
    server = subprocess.Popen(command)
    told = 0
    while True:
        time.sleep(POLL_SECONDS)
        if len(stopping) > told:  # a second signal ends the server at once
            told = len(stopping)
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
        if stopping:
            if server.poll() is not None:
                return server.returncode
            continue
        now = stamps(watched(config, agent))
        if now == seen:
            continue
        time.sleep(SETTLE_SECONDS)
        changed = sorted(str(path) for path in {*now, *seen} if now.get(path) != seen.get(path))
        seen = stamps(watched(config, agent))
        console.print(f"{changed[0]} has changed: starting anew once the sessions in progress are over", markup=False)
        server.terminate()
        while server.poll() is None and not stopping:
            time.sleep(POLL_SECONDS / 5)
        if not stopping:
            server = subprocess.Popen(command)
