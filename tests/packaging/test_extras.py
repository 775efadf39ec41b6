"""Packages that are optional: the project works without them, and says which extra brings them."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from voiceagent import device_client, extras
from voiceagent.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WITHOUT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(extras.EXTRA_OF)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""Put before a program: a base installation."""


def base(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_each_module_belongs_to_the_extra_that_brings_it() -> None:
    distributions = importlib.metadata.packages_distributions()
    for module, extra in extras.EXTRA_OF.items():
        brought = {canonicalize_name(Requirement(line).name) for line in PROJECT["optional-dependencies"][extra]}
        httpx = {"h2", "socksio"} if "httpx" in brought else set()
        names = {canonicalize_name(name) for name in distributions.get(module, [module])}
        assert names & (brought | httpx), f"{module} is not in the extra {extra}"


def test_all_holds_every_extra() -> None:
    optional = PROJECT["optional-dependencies"]
    (everything,) = map(Requirement, optional["all"])
    assert everything.name == "voiceagent"
    assert everything.extras == set(optional) - {"all"}


def test_the_server_and_the_command_line_load_without_extras() -> None:
    """Of the other modules only such fail as are an optional package's own engine, and by that package's name."""
    program = """
import importlib, pkgutil
import voiceagent.cli.main, voiceagent.server.app, voiceagent.server.serve, voiceagent.cli.demo, voiceagent.cli.doctor
for module in pkgutil.walk_packages(voiceagent.__path__, "voiceagent."):
    if module.name.endswith("__main__") or ".bundled" in module.name:
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        print(module.name, error.name.partition(".")[0])
"""
    run = base(program)
    assert run.returncode == 0, run.stderr
    failed = dict(line.split() for line in run.stdout.splitlines())
    assert failed
    assert set(failed.values()) <= set(extras.EXTRA_OF)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--port", "0"], "[vad] engine = 'silero' needs the package onnxruntime: "),
        (["eval"], "a scenario needs the package yaml: "),
    ],
    ids=["serve", "eval"],
)
def test_a_command_without_its_extra_says_so_in_one_line(arguments: list[str], said: str) -> None:
    run = base("from voiceagent.cli.main import app; app()", *arguments)
    assert run.returncode == 2
    lines = run.stderr.splitlines()
    assert lines[0].startswith(f"error: {said}pip install 'voiceagent[")
    assert all(" needs the package " in line for line in lines), "a line for each stage, and nothing else"


def test_doctor_without_extras_names_them() -> None:
    run = base("import os; os.environ['COLUMNS'] = '400'; from voiceagent.cli.main import app; app()", "doctor")
    assert run.returncode == 1
    assert run.stdout.count("pip install 'voiceagent[local]'") >= 4
    assert "Traceback" not in run.stderr


def test_an_absent_module_raises_at_its_first_use() -> None:
    run = base(
        """
from voiceagent import extras
av = extras.optional("av", "Opus")
try:
    av.Packet
except extras.MissingExtra as error:
    print(error)
"""
    )
    assert run.stdout == "Opus needs the package av: pip install 'voiceagent[codecs]'\n"


def test_a_module_that_is_no_extra_is_an_ordinary_error() -> None:
    assert extras.missing(ModuleNotFoundError(name="no_such_module"), "x") is None
    with pytest.raises(ModuleNotFoundError):
        extras.optional("no_such_module", "x")


def test_a_missing_extra_is_a_configuration_error() -> None:
    error = extras.MissingExtra("[turn] model", "onnxruntime")
    assert isinstance(error, ConfigError)
    assert error.command == "pip install 'voiceagent[local]'"


def test_the_client_of_a_wheel_is_found_where_no_other_is_installed(tmp_path: Path) -> None:
    copy = tmp_path / "voiceagent_client"
    copy.mkdir()
    (copy / "__init__.py").write_text("MARK = 'the copy'\n", "utf-8")
    program = f"""
import sys
sys.meta_path = [one for one in sys.meta_path if "editable" not in repr(one).lower()]
from pathlib import Path
from voiceagent import device_client
sys.path = [one for one in sys.path if not one.endswith("/client")]  # the checkout's own
device_client.COPY = Path({str(tmp_path)!r})
device_client.make_importable()
import voiceagent_client
print(voiceagent_client.MARK)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert run.stdout == "the copy\n", run.stderr


def test_the_installed_client_wins() -> None:
    before = list(sys.path)
    device_client.make_importable()
    assert sys.path == before
