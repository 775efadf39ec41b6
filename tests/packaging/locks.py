"""Lock files, read as pip reads them."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Environment:
    """What decides which requirements count: a Python and a platform."""

    python: str
    platform: str
    sys_platform: str
    os_name: str
    machine: str

    @property
    def markers(self) -> dict[str, str]:
        """The variables of the markers. Of a Python the newest patch release is meant."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.99",
            "os_name": self.os_name,
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": self.platform,
            "platform_release": "",
            "platform_version": "",
            "python_full_version": f"{self.python}.99",
            "python_version": self.python,
            "sys_platform": self.sys_platform,
        }


ENVIRONMENTS = tuple(
    Environment(python, *platform)
    for python in ("3.11", "3.12", "3.13", "3.14")
    for platform in (
        ("Linux", "linux", "posix", "x86_64"),
        ("Linux", "linux", "posix", "aarch64"),
        ("Darwin", "darwin", "posix", "arm64"),
        ("Windows", "win32", "nt", "AMD64"),
    )
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One release in a lock, and the sha256 of each of its files."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version

    def counts_in(self, environment: Environment) -> bool:
        marker = self.requirement.marker
        return marker is None or marker.evaluate(environment.markers)


def read(path: Path) -> list[Pin]:
    """Raises ValueError for a line that is neither a pin nor the hash of one."""
    pins: list[Pin] = []
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        if not all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes):
            raise ValueError(f"{path.name}: {line[:80]}")
        pins.append(Pin(Requirement(text), tuple(hashes)))
    return pins
