"""The lines of the documents that install something: found, told apart, and how each is tried."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "client/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
INSTALLERS = re.compile(
    r"^(?:sudo )?(?:\S*/)?(pip3?|pipx|uvx?|apt|apt-get|brew|npm|conda|poetry|dnf|pacman|docker|make)\b"
)
VENV = re.compile(r"^python3? -m venv\b")
CODE = re.compile(r"```[a-z]*\n(.*?)```|((?:^    [^\n]*\n)+)|`([^`\n]+)`", re.MULTILINE | re.DOTALL)


class Kind(Enum):
    """How a line is tried."""

    PIP = "run as it stands in a fresh environment, in a checkout"
    UVX = "run as it stands, in a checkout"
    APT = "apt-get is asked whether it could"
    MAKE = "a target of the Makefile; CI runs those that install"
    DOCKER = "what it would build and start is, without Docker, by `make test-image`"
    BREW = "macOS: not tried"


@dataclass(frozen=True, slots=True)
class Line:
    path: Path
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}: {self.text}"


def collect() -> Iterator[Line]:
    """Every command of a document's code that installs. Comments are left out; `a && b` stays one line."""
    for path in DOCUMENTS:
        seen: set[str] = set()
        for match in CODE.finditer(path.read_text("utf-8")):
            block = next(group for group in match.groups() if group is not None)
            for raw in block.splitlines():
                text = re.sub(r"\s+#.*", "", raw).strip()
                if any(INSTALLERS.match(part) or VENV.match(part) for part in parts(text)) and text not in seen:
                    seen.add(text)
                    yield Line(path, text)


def parts(text: str) -> list[str]:
    return [part.strip() for part in text.split("&&")]


def kind_of(line: Line) -> Kind:
    """Raises ValueError for a line that nothing here knows how to try."""
    kinds = {_kind(part) for part in parts(line.text)}
    if len(kinds) != 1:
        raise ValueError(f"{line}: more than one kind of command")
    return kinds.pop()


def _kind(command: str) -> Kind:
    words = shlex.split(command)
    match words:
        case [pip, "install", *_] if Path(pip).name == "pip":
            return Kind.PIP
        case ["python3", "-m", "venv", _]:
            return Kind.PIP
        case ["uvx", "--from", _, "voiceagent", *_]:
            return Kind.UVX
        case ["sudo", "apt", "install", *_]:
            return Kind.APT
        case ["make", *_]:
            return Kind.MAKE
        case [program, *_] if program == "docker" or program.startswith("docker/"):
            return Kind.DOCKER
        case ["brew", "install", _]:
            return Kind.BREW
        case _:
            raise ValueError(f"how is this tried? {command}")
