"""A place to run clients in Node: the packages of package-lock.json are installed once, under out/."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / "out" / "node"
LOCK = "package-lock.json"
INSTALL_SECONDS = 90


def install() -> Path:
    """The folder to run a client in. Skips the test where there is no Node, or the packages cannot be had."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs Node.js and npm")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two tests may want it at the same time
        for source in (*HERE.glob("*.mjs"), HERE / "package.json", HERE / LOCK):
            shutil.copyfile(source, FOLDER / source.name)
        installed = FOLDER / ".installed"
        wanted = hashlib.sha256((HERE / LOCK).read_bytes()).hexdigest()
        if not installed.exists() or installed.read_text() != wanted:
            _fetch(npm)
            installed.write_text(wanted)
    return FOLDER


def _fetch(npm: str) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci took more than {INSTALL_SECONDS} s")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm ci failed: {error.stderr.decode(errors='replace').strip()[-300:]}")
