"""Engines by name: the built-in ones and any third party's are found the same way, through entry points."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal, Protocol, TypeVar, cast

from pydantic import BaseModel, ValidationError

from voiceagent import extras
from voiceagent.asr.base import AsrEngine
from voiceagent.errors import ConfigError
from voiceagent.llm.base import LlmEngine
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsEngine
from voiceagent.vad.base import VadEngine

Kind = Literal["vad", "asr", "llm", "tts"]
EngineT = TypeVar("EngineT", covariant=True)
OptionsT = TypeVar("OptionsT", bound=BaseModel, contravariant=True)


class EngineClass(Protocol[EngineT, OptionsT]):
    """What an entry point names: a class with its options as a pydantic model in `Options`,
    constructed from those options and the model store. Construction does no I/O; `open()` does."""

    def __call__(self, options: OptionsT, models: ModelStore) -> EngineT: ...


@dataclass(frozen=True, slots=True)
class Engines:
    """One of each, for the whole process."""

    vad: VadEngine
    asr: AsrEngine
    llm: LlmEngine
    tts: TtsEngine


def names(kind: Kind) -> list[str]:
    """The engines installed for a stage."""
    return sorted({point.name for point in entry_points(group=f"voiceagent.{kind}")})


def make(kind: Kind, section: Mapping[str, object], models: ModelStore) -> object:
    """Build the engine that a TOML section such as `[asr]` asks for: `engine` names it, the other keys are its options.

    Raises ConfigError for an unknown name or options the engine does not take, MissingExtra where its package is not
    installed.
    """
    options = dict(section)
    name = options.pop("engine")
    found = [point for point in entry_points(group=f"voiceagent.{kind}") if point.name == name]
    if not found:
        raise ConfigError(f"[{kind}] engine = {name!r} is not installed; there is: {', '.join(names(kind))}")
    try:
        engine_class = found[0].load()
    except ModuleNotFoundError as error:
        raise extras.missing(error, f"[{kind}] engine = {name!r}") or error from None
    try:
        parsed = engine_class.Options.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"[{kind}] {key}: {first['msg']} (engine {name!r})") from None
    return cast(object, engine_class(parsed, models))
