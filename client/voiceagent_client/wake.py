"""A wake word, listened for on this machine: nothing leaves it before."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import Pcm
from voiceagent_client.resample import Resampler

DEFAULT_WORD = "hey_jarvis"

SURE = 0.5
"""Probability above which an openWakeWord model has heard its word; the value its authors recommend."""

NO_PACKAGE = "no wake word package is installed; pip install pymicro-wakeword"

Detector = Callable[[bytes], bool]
"""Takes more of the microphone (16 kHz, 16 bit); true once the word was said."""


class WakeWord:
    """`name` is a word of the installed package, or a model file: microWakeWord's `.json` beside its `.tflite`, or
    openWakeWord's `.tflite`. AudioError: nothing installed, or no such word.

    Of the packages, `pymicro-wakeword` has microWakeWord's models (Apache-2.0) and `pyopen-wakeword` openWakeWord's,
    which are surer of themselves but not for commercial use (CC BY-NC-SA 4.0); the latter goes first where it is
    installed.
    """

    def __init__(self, name: str = DEFAULT_WORD) -> None:
        self._name = name
        self._detector = self._load()
        self._to_16k = Resampler(2, 3)

    @property
    def spoken(self) -> str:
        """The word as one says it."""
        return Path(self._name).stem.replace("_", " ")

    def hears(self, pcm: Pcm) -> bool:
        """Take the microphone's next frame; true when the word is complete. It listens afresh then."""
        heard = len(pcm) > 0 and self._detector(self._to_16k(pcm).astype("<i2", copy=False).tobytes())
        if heard:
            self._detector = self._load()
        return heard

    def _load(self) -> Detector:
        file = Path(self._name) if Path(self._name).suffix in (".json", ".tflite") else None
        if file is not None and not file.is_file():
            raise AudioError(f"there is no wake word model {file}")
        open_wakeword = None if file is not None and file.suffix == ".json" else _package("pyopen_wakeword")
        micro_wakeword = None if file is not None and file.suffix == ".tflite" else _package("pymicro_wakeword")
        for package, load in ((open_wakeword, _open_wakeword), (micro_wakeword, _micro_wakeword)):
            if package is not None:
                return load(package, self._name, file)
        raise AudioError(NO_PACKAGE)


def _open_wakeword(package: ModuleType, name: str, file: Path | None) -> Detector:
    models = package.OpenWakeWord
    model = models.from_builtin(_builtin(package, name)) if file is None else models.from_model(file)
    features = package.OpenWakeWordFeatures.from_builtin()

    def detect(data: bytes) -> bool:
        sure = [p > SURE for window in features.process_streaming(data) for p in model.process_streaming(window)]
        return any(sure)

    return detect


def _micro_wakeword(package: ModuleType, name: str, file: Path | None) -> Detector:
    models = package.MicroWakeWord
    model = models.from_builtin(_builtin(package, name)) if file is None else models.from_config(file)
    features = package.MicroWakeWordFeatures()

    def detect(data: bytes) -> bool:
        sure = [model.process_streaming(window) for window in features.process_streaming(data)]
        return any(sure)

    return detect


def _builtin(package: ModuleType, name: str) -> object:
    try:
        return package.Model(name)
    except ValueError:
        words = ", ".join(word.value for word in package.Model)
        raise AudioError(f"there is no wake word {name!r}; there is: {words}, or a model file") from None


def _package(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
