"""Optional packages: which extra of `voiceagent` brings each, and the error that says so."""

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from types import ModuleType

from voiceagent.errors import ConfigError

EXTRA_OF: Mapping[str, str] = {
    "av": "codecs",
    "h2": "gateway",
    "hibari": "local",
    "jwt": "telephone",
    "mcp": "mcp",
    "onnxruntime": "local",
    "opentelemetry": "tracing",
    "pywebrtc_audio": "client",
    "redis": "redis",
    "sherpa_onnx": "local",
    "socksio": "gateway",
    "sounddevice": "client",
    "xllamacpp": "local",
    "yaml": "eval",
}
"""By the name that is imported. `pyproject.toml` says which packages an extra holds; a test compares the two."""


class MissingExtra(ConfigError):
    """Something that was asked for needs a package that is not installed. `command` installs it."""

    def __init__(self, what: str, module: str) -> None:
        self.module = module
        self.command = f"pip install 'voiceagent[{EXTRA_OF[module]}]'"
        super().__init__(f"{what} needs the package {module}: {self.command}")


def need(module: str, what: str) -> None:
    """Raises MissingExtra, naming `what` (a setting such as "[turn] model"), where the module is not installed."""
    if not installed(module):
        raise MissingExtra(what, module)


def installed(module: str) -> bool:
    """Whether the module can be found; it is not loaded."""
    try:
        return find_spec(module) is not None
    except ValueError:  # None in sys.modules: told not to be there
        return False


def missing(error: ModuleNotFoundError, what: str) -> MissingExtra | None:
    """The clear error for a failed import, None where what is missing belongs to no extra."""
    module = (error.name or "").partition(".")[0]
    return MissingExtra(what, module) if module in EXTRA_OF else None


def optional(module: str, what: str) -> ModuleType:
    """The module, loaded now, so that its first use does not hold up a running loop. Where it is not installed, a
    stand-in whose every attribute raises MissingExtra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if missing(error, what) is None:
            raise
        return _Absent(module, what)


class _Absent(ModuleType):
    def __init__(self, module: str, what: str) -> None:
        super().__init__(module)
        self._what = what

    def __getattr__(self, name: str) -> object:
        raise MissingExtra(self._what, self.__name__)
