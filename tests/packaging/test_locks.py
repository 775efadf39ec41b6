"""The lock files hold all that is needed and nothing else: installing them resolves nothing, so they must."""

import functools
import importlib.metadata
import tomllib
from collections.abc import Mapping

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts import install
from tests.packaging.locks import ENVIRONMENTS, ROOT, Environment, Pin, read

RUN = read(ROOT / "requirements.lock")
DEV = read(ROOT / "requirements-dev.lock")
CLIENTS = read(ROOT / "tests" / "clients" / "requirements.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CLIENT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text("utf-8"))
ELSEWHERE = {"async-timeout", "colorama", "httpx2-jsfetch", "pywin32", "winregistry"}
"""Not needed on every machine that runs this; `check_install.py` has uv read their metadata too."""


@pytest.mark.parametrize("lock", [RUN, DEV, CLIENTS], ids=["run", "dev", "clients"])
def test_every_line_is_one_release_with_hashes(lock: list[Pin]) -> None:
    for pin in lock:
        assert pin.version
        assert pin.hashes, pin.name
    for environment in ENVIRONMENTS:
        names = [pin.name for pin in lock if pin.counts_in(environment)]
        assert len(names) == len(set(names)), environment


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda one: f"{one.python}-{one.sys_platform}-{one.machine}")
@pytest.mark.parametrize("lock", [RUN, DEV], ids=["run", "dev"])
def test_what_a_locked_release_requires_is_locked(lock: list[Pin], environment: Environment) -> None:
    """By the metadata of what is installed here, which is the lock's release: a test of its own sees to that."""
    there = {pin.name: pin for pin in lock if pin.counts_in(environment)}
    missing = [
        f"{pin.name} requires {needed}"
        for pin, extras in closure(there, environment).items()
        if installed_version(pin.name) == pin.version
        for needed in requirements(pin.name, extras, environment)
        if not needed.specifier.contains(version_of(there, needed), prereleases=True)
    ]
    assert not missing


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda one: f"{one.python}-{one.sys_platform}-{one.machine}")
def test_the_lock_for_running_is_what_the_project_asks_for(environment: Environment) -> None:
    locked = {pin.name: pin.version for pin in RUN if pin.counts_in(environment)}
    for needed in wanted("local", "client", "eval"):
        assert needed.specifier.contains(locked[canonicalize_name(needed.name)]), needed
    developing = {pin.name: pin.version for pin in DEV if pin.counts_in(environment)}
    assert locked.items() <= developing.items(), "a run after tests would change releases"


def test_the_lock_for_running_holds_no_test_tool() -> None:
    """All that it holds is required, directly or not, by the project, its extras or its build backend."""
    names = {pin.name for pin in RUN}
    roots = [*wanted("local", "client", "eval"), *group("build")]
    reached: set[str] = set()
    todo = [(canonicalize_name(one.name), frozenset(one.extras)) for one in roots]
    while todo:
        name, extras = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        for environment in ENVIRONMENTS:
            todo += [
                (canonicalize_name(one.name), frozenset(one.extras)) for one in requirements(name, extras, environment)
            ]
    assert names <= reached
    tools = {canonicalize_name(one.name) for one in group("dev")} - {canonicalize_name(one.name) for one in roots}
    assert not names & (tools - reached)
    assert not names & {"pytest", "mypy", "hypothesis", "openai", "ruff", "coverage", "uv", "mcp", "setuptools"}


def test_what_is_installed_here_is_the_lock() -> None:
    """Else the metadata above would be another release's. Not so in an environment that was made by other means."""
    different = {pin.name for pin in DEV if installed_version(pin.name) not in (None, pin.version)}
    twice = {pin.name for pin in DEV if [one.name for one in DEV].count(pin.name) > 1}
    assert different <= twice


def test_what_builds_and_installs_is_locked() -> None:
    assert {"pip", "hatchling", "editables"} <= {pin.name for pin in RUN}
    assert {"pip", "hatchling", "editables", "setuptools", "uv", "build"} <= {pin.name for pin in DEV}
    for text in (ROOT / "requirements.lock", ROOT / "requirements-dev.lock"):
        blocks = install.blocks(text.read_text("utf-8"))
        assert [name for name, _ in blocks] == [pin.name for pin in read(text)]
    for project in (PROJECT, CLIENT):
        (backend,) = map(Requirement, project["build-system"]["requires"])
        assert backend.specifier.contains(next(pin.version for pin in RUN if pin.name == "hatchling"))


def test_every_supported_python_is_named_everywhere() -> None:
    pythons = {environment.python for environment in ENVIRONMENTS}
    classifiers = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if ":: 3." in line}
    assert classifiers == pythons
    oldest, newest = install.OLDEST, install.NEWEST
    assert pythons == {f"3.{minor}" for minor in range(oldest[1], newest[1] + 1)}
    assert all(project["project"]["requires-python"] == ">=3.11" for project in (PROJECT, CLIENT))


def test_no_command_installs_what_is_not_locked() -> None:
    """Makefile, CI and tests install through scripts/install.py, or name what they install exactly."""
    for path in [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "scripts").glob("*.sh")]:
        for line in path.read_text("utf-8").splitlines():
            if "pip install" in line and not line.lstrip().startswith("#"):
                # The newest pip is what CI wants to try; a complete lock with hashes resolves nothing.
                exact = "--no-deps --require-hashes -r" in line
                assert exact or "--upgrade pip" in line, f"{path.name}: {line}"


def wanted(*extras: str) -> list[Requirement]:
    """What the project requires, with these extras."""
    optional = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in optional[extra])]
    return list(map(Requirement, lines))


def group(name: str) -> list[Requirement]:
    found: list[Requirement] = []
    for line in PROJECT["dependency-groups"][name]:
        found += group(line["include-group"]) if isinstance(line, dict) else [Requirement(line)]
    return found


def version_of(there: Mapping[str, Pin], needed: Requirement) -> str:
    """Of the pin that is to fulfil a requirement."""
    pin = there.get(canonicalize_name(needed.name))
    assert pin is not None, f"{needed} is not locked"
    return pin.version


def closure(there: Mapping[str, Pin], environment: Environment) -> dict[Pin, frozenset[str]]:
    """Every pin, with the extras of it that others ask for."""
    asked: dict[str, frozenset[str]] = dict.fromkeys(there, frozenset())
    changed = True
    while changed:
        changed = False
        for name in there:
            for needed in requirements(name, asked[name], environment):
                other = canonicalize_name(needed.name)
                more = asked.get(other, frozenset()) | needed.extras
                if other in asked and more != asked[other]:
                    asked[other], changed = more, True
    return {there[name]: extras for name, extras in asked.items()}


def requirements(name: str, extras: frozenset[str], environment: Environment) -> list[Requirement]:
    """What an installed distribution requires there."""
    contexts = [{**environment.markers, "extra": extra} for extra in ("", *extras)]
    return [
        one for one in metadata(name) if one.marker is None or any(one.marker.evaluate(context) for context in contexts)
    ]


@functools.cache
def metadata(name: str) -> tuple[Requirement, ...]:
    """All that an installed distribution may require."""
    try:
        return tuple(map(Requirement, importlib.metadata.requires(name) or []))
    except importlib.metadata.PackageNotFoundError:
        assert name in ELSEWHERE, f"{name} is locked, but not installed: make develop"
        return ()


@functools.cache
def installed_version(name: str) -> str | None:
    try:
        return str(Version(importlib.metadata.version(name)))
    except importlib.metadata.PackageNotFoundError:
        return None
