"""The environment of this checkout, `.venv`: made, and filled from a lock file, by nothing but Python and pip.

    python3 scripts/install.py run    # what `make demo`, `make serve` and `voiceagent talk` need: requirements.lock
    python3 scripts/install.py dev    # that, and what testing needs: requirements-dev.lock

`clients` is for the tests with other people's clients alone. $VOICEAGENT_VENV names another folder than `.venv`.

Nothing is resolved and nothing is taken that the lock does not name with its hash, so the same checkout gives the same
environment in years to come. The interpreter's own pip, however old, only installs the locked pip; that does the rest.
Does nothing, quickly, when the environment is as the lock says. Read by older Pythons, to tell them what is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 14)
"""The Pythons that the locks are made and tested for."""
ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "run": ROOT / "requirements.lock",
    "dev": ROOT / "requirements-dev.lock",
    "clients": ROOT / "tests" / "clients" / "requirements.lock",
}
FIRST = ("pip", "setuptools")
"""Installed before the rest: what installs it, and what builds it."""
SOURCE_ONLY = ("docopt", "opuslib")
"""On the index as source alone. All else comes as wheels, so that a platform without one is told so at once, instead
of by a compiler."""


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        print(f"usage: {Path(sys.argv[0]).name} {'|'.join(LOCKS)}", file=sys.stderr)
        return 2
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return with_another_python(arguments)
    kind = arguments[0]
    folder = Path(os.environ.get("VOICEAGENT_VENV") or ROOT / ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    version = version_of(python)
    if version is None:
        print(f"making {folder} with Python {sys.version.split()[0]}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        version = version_of(python)
    wanted = digest(kind, version)
    if is_there(folder, kind, wanted):
        return 0
    print(f"installing what {LOCKS[kind].name} names (the first time this takes a minute or more)", flush=True)
    try:
        install(python, LOCKS[kind].read_text("utf-8"))
        if kind != "clients":
            pip(python, "-e", ROOT / "client", "-e", ROOT)
    except subprocess.CalledProcessError as error:
        print(f"{folder} is not complete: its pip failed, as told above; run the same again", file=sys.stderr)
        return error.returncode
    for filled in ("run", "dev") if kind == "dev" else (kind,):  # the lock for developing holds the one for running
        stamp(folder, filled).write_text(digest(filled, version), encoding="ascii")
    return 0


def with_another_python(arguments: list[str]) -> int:
    """This, run by a Python of the right age, if the machine has one. Names may lead nowhere (pyenv's)."""
    for minor in (13, 12, 11, 14):
        found = shutil.which(f"python3.{minor}")
        if found and version_of(found) == f"3.{minor}":
            return subprocess.run([found, __file__, *arguments]).returncode
    needed = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    print(
        f"voiceagent needs Python {needed}; {sys.executable} is {sys.version.split()[0]}, and no other was found.\n"
        f"Install one, or name it: make PYTHON=/path/to/python3.13 demo",
        file=sys.stderr,
    )
    return 1


def version_of(python: Path | str) -> str | None:
    """An interpreter's version such as "3.12"; None where there is none that runs pip."""
    command = [str(python), "-c", "import pip, sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def digest(kind: str, version: str | None) -> str:
    """Changes whenever the environment has to."""
    files = (LOCKS[kind], ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml")
    return hashlib.sha256(b"\0".join([str(version).encode(), *(file.read_bytes() for file in files)])).hexdigest()


def stamp(folder: Path, kind: str) -> Path:
    return folder / f".installed-{kind}"


def is_there(folder: Path, kind: str, wanted: str) -> bool:
    try:
        return stamp(folder, kind).read_text("ascii") == wanted
    except OSError:
        return False


def blocks(lock: str) -> list[tuple[str, str]]:
    """A lock's requirements: each name with its lines, the first being the pin and the others its hashes."""
    return [(match[1].lower(), match[0]) for match in re.finditer(r"(?m)^([\w.-]+)==.*(?:\n[ \t].*)*", lock)]


def install(python: Path, lock: str) -> None:
    """`--no-deps`: the lock is complete, and old pips would otherwise look for newer releases of what is in it."""
    first = "\n".join(text for name, text in blocks(lock) if name in FIRST)
    for text in (first, lock):
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "requirements.lock"
            path.write_text(text, encoding="utf-8")
            pip(python, "--require-hashes", "--only-binary=:all:", f"--no-binary={','.join(SOURCE_ONLY)}", "-r", path)


def pip(python: Path, *arguments: object) -> None:
    """`--no-build-isolation`: building would otherwise fetch the newest build tools. Not quiet, since it takes long."""
    options = ("--disable-pip-version-check", "--no-input", "--no-deps", "--no-build-isolation")
    command = [str(python), "-m", "pip", "install", *options, *map(str, arguments)]
    subprocess.run(command, check=True, cwd=str(ROOT))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
