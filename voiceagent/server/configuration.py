"""Checker of a whole configuration: the file, the environment, the plug-ins that they name and the options of those."""

from collections.abc import Callable, Iterator
from pathlib import Path

from voiceagent.channels.channel import CHANNELS
from voiceagent.engines import KINDS, EngineStage
from voiceagent.errors import ConfigError
from voiceagent.guard.rails import moderators
from voiceagent.memory.base import MEMORY_STORES
from voiceagent.models.store import ModelStore
from voiceagent.problems import InvalidConfig, lines_of
from voiceagent.section import EngineSection
from voiceagent.settings import Settings, read
from voiceagent.tools.build import make_sources


def load_checked(path: Path | None) -> Settings:
    """The settings of a file (if any) and the environment, with their plug-ins checked. Imports the plug-ins, but does
    nothing with them. Raises InvalidConfig with all problems at once."""
    settings, problems = read(path)
    problems += plugin_problems(settings)
    if problems:
        raise InvalidConfig(problems)
    return settings


def engine_sections(settings: Settings) -> dict[EngineStage, EngineSection]:
    """The table of each stage's engine."""
    return {"vad": settings.vad, "asr": settings.asr, "llm": settings.llm_section, "tts": settings.tts}


def plugin_problems(settings: Settings) -> Iterator[str]:
    """A line for everything that is wrong with the plug-ins of otherwise valid settings, and the files these name."""
    models = ModelStore(settings.models_dir)
    for stage, section in engine_sections(settings).items():
        yield from _problems(f"[{stage}]", lambda: KINDS[stage].make(f"[{stage}]", section.with_options(), models))  # noqa: B023 - called at once
    if settings.memory.enabled:
        yield from _problems("[memory]", lambda: MEMORY_STORES.make("[memory]", settings.memory.with_options()))
    yield from _problems("[guard]", lambda: moderators(settings.guard))
    yield from _problems("[tools]", lambda: make_sources(settings.tools))
    for name, channel in settings.channels.items():
        table = f"[channels.{name}]"
        yield from _problems(table, lambda: CHANNELS.check(table, channel.with_options(name)))  # noqa: B023 - likewise
    try:
        for file in filter(None, (settings.server.tls_cert, settings.server.tls_key)):
            file.open("rb").close()
    except OSError as error:
        yield f"[server] tls_cert, tls_key: {error.strerror} ({error.filename})"


def _problems(table: str, attempt: Callable[[], object]) -> Iterator[str]:
    try:
        attempt()
    except ConfigError as error:
        yield from lines_of(error)
    except Exception as error:  # somebody else's class may fail in any way; the message may hold an option
        yield f"{table} cannot be made ({type(error).__name__})"
