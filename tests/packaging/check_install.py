"""`make test-install`: what the documents say of installing, done, in empty environments and from the index.

Minutes, and hundreds of megabytes (pip's and uv's caches help): so not part of `make test`, but of CI.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.install_lines import ROOT, Kind, Line, collect, kind_of
from voiceagent.models.store import default_root

UV = Path(sys.executable).with_name("uv")
PLATFORMS = {
    "requirements.lock": (
        "x86_64-manylinux_2_28",
        "aarch64-manylinux_2_28",
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
    ),
    "requirements-dev.lock": (
        "x86_64-manylinux_2_35",
        "aarch64-manylinux_2_35",
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
    ),
}
"""Where a lock can be installed without a compiler; Macs of macOS 14 (for developing: 15) and later."""
MACOS = {"requirements.lock": "14.0", "requirements-dev.lock": "15.0"}

pytestmark = pytest.mark.timeout(900)


def of_kind(*kinds: Kind) -> list[Line]:
    """Each line once, though several documents have it."""
    return list({line.text: line for line in collect() if kind_of(line) in kinds}.values())


@pytest.fixture
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, and no environment: as a fresh clone has them."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment (of variables) whose first Python is an empty one, with the pip that came with it, and whose home
    is empty but for the caches."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "VOICEAGENT_", "PYTHON"))}
    real = Path.home()
    yield {
        **kept,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{UV.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_CACHE_DIR": str(real / ".cache" / "pip"),
        "UV_CACHE_DIR": str(real / ".cache" / "uv"),
        "VOICEAGENT_MODELS_DIR": str(default_root()),
    }
    shutil.rmtree(tmp_path, ignore_errors=True)


def shell(command: str, environment: dict[str, str], folder: Path) -> str:
    run = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
    return run.stdout


@pytest.mark.parametrize("line", of_kind(Kind.PIP, Kind.UVX), ids=str)
def test_an_install_line_runs_as_it_stands(line: Line, checkout: Path, home: dict[str, str]) -> None:
    if "'voiceagent[" in line.text:  # adds to an installation: there has to be one
        shell("pip install -q .", home, checkout)
    shell(line.text, home, checkout)
    if kind_of(line) is Kind.PIP:
        shell("python -m pip check", home, checkout)


@pytest.mark.parametrize("line", of_kind(Kind.APT), ids=str)
def test_packages_of_the_system_are_known(line: Line) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get here")
    names = line.text.split()[3:]
    run = subprocess.run(["apt-cache", "show", *names], capture_output=True, text=True, timeout=60, check=False)
    if not run.stdout:
        pytest.skip("apt-get update has not been run here")
    assert run.returncode == 0, run.stderr


def test_the_client_alone_is_a_program(checkout: Path, home: dict[str, str]) -> None:
    shell("pip install -q ./client", home, checkout)
    assert "--push-to-talk" in shell("voiceagent-client --help", home, checkout.parent)
    installed = shell("python -m pip list --format=freeze", home, checkout)
    assert {line.partition("==")[0] for line in installed.split()} <= {
        "numpy",
        "pip",
        "setuptools",
        "voiceagent-client",
        "websockets",
    }


def test_the_demo_runs_from_the_wheel_alone_and_from_both(checkout: Path, home: dict[str, str], tmp_path: Path) -> None:
    """Outside the checkout, which is gone. Without the extra `local`, which the demo then fetches; then with it."""
    wheels = tmp_path / "dist"
    for project in (checkout, checkout / "client"):
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", wheels, project],
            check=True,
            capture_output=True,
            env=home,
        )
    shutil.rmtree(checkout)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (wheel,) = wheels.glob("voiceagent-*.whl")
    (client,) = wheels.glob("voiceagent_client-*.whl")
    shell(f"pip install -q '{wheel}'", home, elsewhere)
    assert "Anna" in shell("voiceagent demo", home, elsewhere)
    shell(f"pip install -q '{wheel}[local]' '{client}'", home, elsewhere)
    assert "Anna" in shell("voiceagent demo --out again.wav", home, elsewhere)
    assert (elsewhere / "out" / "demo.wav").exists()
    assert (elsewhere / "again.wav").exists()
    shell("python -m pip check", home, elsewhere)
    shell("pip uninstall -qy voiceagent", home, elsewhere)
    shell("voiceagent-client --help", home, elsewhere)  # no file of it belonged to the other


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("lock", PLATFORMS)
def test_a_lock_is_complete_and_has_wheels_for_every_platform(lock: str, python: str, tmp_path: Path) -> None:
    """By the index's own metadata: with hashes required, uv takes nothing that the lock does not name."""
    for platform in PLATFORMS[lock]:
        command: list[str | Path] = [UV, "pip", "install", "--quiet", "--dry-run", "--require-hashes"]
        command += ["--target", tmp_path, "--python-version", python, "--python-platform", platform]
        command += ["--only-binary", ":all:", "--no-binary", "opuslib", "-r", ROOT / lock]
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS[lock]},
        )
        assert run.returncode == 0, f"{platform}: {run.stderr}"
