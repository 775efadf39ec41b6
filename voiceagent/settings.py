"""Settings of the whole server: one TOML file, overridden by the environment (`VOICEAGENT_SERVER__PORT=9000`).

Only the server and the command line read them: every part of the project is handed its own section.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ConfigDict, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from voiceagent.admin.settings import AdminSection
from voiceagent.channels.settings import ChannelSection
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.channels.web.settings import PageSection
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.guard.options import GuardSection
from voiceagent.memory.settings import StoreSection
from voiceagent.problems import InvalidConfig, did_you_mean, problems_of
from voiceagent.recordings.settings import RecordingsSection
from voiceagent.section import EngineSection
from voiceagent.server.settings import AgentSection, LimitSection, ServerSection
from voiceagent.session.settings import (
    DeadlineSection,
    FillerSection,
    PlayoutSection,
    PromptSection,
    SessionSettings,
    SilenceSection,
)
from voiceagent.tools.settings import ToolsSection
from voiceagent.tracing.options import TracingSection
from voiceagent.tts.settings import TtsSection
from voiceagent.turn.options import BargeInSettings, TurnSection


class MemorySection(StoreSection, PromptSection):
    """What is remembered of users."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Settings(BaseSettings):
    """The whole configuration. Unknown keys are errors, so that a typing slip is not silently ignored."""

    model_config = SettingsConfigDict(
        env_prefix="VOICEAGENT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    server: ServerSection = ServerSection()
    agent: AgentSection = AgentSection()
    turn: TurnSection = TurnSection()
    silence: SilenceSection = SilenceSection()
    interrupt: BargeInSettings = BargeInSettings()
    filler: FillerSection = FillerSection()
    playout: PlayoutSection = PlayoutSection()
    memory: MemorySection = MemorySection()
    xiaozhi: XiaozhiSection = XiaozhiSection()
    deadlines: DeadlineSection = DeadlineSection()
    limits: LimitSection = LimitSection()
    page: PageSection = PageSection()
    admin: AdminSection = AdminSection()
    recordings: RecordingsSection = RecordingsSection()
    telephone: TelephoneSection = TelephoneSection()
    tools: ToolsSection = ToolsSection()
    guard: GuardSection = GuardSection()
    tracing: TracingSection = TracingSection()
    channels: Mapping[str, ChannelSection] = {}
    """Channels of other packages, by name."""
    models_dir: Path | None = None
    """Where model files are kept; the user's cache folder without one."""
    vad: EngineSection = EngineSection(engine="silero")
    asr: EngineSection = EngineSection(engine="sherpa")
    llm: EngineSection | None = None
    tts: TtsSection = TtsSection(engine="hibari")

    @property
    def session(self) -> SessionSettings:
        """What a session takes from them."""
        return SessionSettings(
            turn=self.turn,
            barge_in=self.interrupt,
            silence=self.silence,
            filler=self.filler,
            playout=self.playout,
            deadlines=self.deadlines,
            prompt=self.memory,
            duration=self.limits,
            language=self.agent.language,
            tool_rounds=self.tools.rounds,
        )

    @property
    def llm_section(self) -> EngineSection:
        """What `[llm]` says; without it OpenAI's own variables name an endpoint, else the embedded model."""
        if self.llm is not None:
            return self.llm
        remote = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")
        return EngineSection(engine="openai" if remote else "embedded")


def load(path: Path | None = None) -> Settings:
    """Read the TOML file (if any) and the environment, which wins. Raises InvalidConfig, naming every key that is
    wrong; the options of plug-ins are checked where those are made."""
    settings, problems = read(path)
    if problems:
        raise InvalidConfig(problems)
    return settings


def of_table(table: Mapping[str, object]) -> Settings:
    """The settings of a table as it would stand in a file, and the environment, which wins. Raises InvalidConfig."""
    try:
        return _from(dict(table))
    except ValidationError as error:
        raise InvalidConfig([f"settings: {line}" for line in problems_of(error, Settings)]) from None
    except ValueError as error:
        raise InvalidConfig([f"environment: {error}"]) from None


def read(path: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings of the TOML file (if any) and the environment, which wins, with a line for every key that is wrong.
    Sections with problems have their defaults."""
    source = str(path or "environment")
    if path is not None and not path.is_file():
        return Settings.model_construct(), [f"no configuration file at {path}"]
    problems = list(_unknown_variables(os.environ))
    table: dict[str, object] = {}
    try:
        table = _parsed(path) if path is not None else {}
        return _from(table), problems
    except ValidationError as error:
        problems += [f"{source}: {line}" for line in problems_of(error, Settings)]
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
    except ValueError as error:  # not TOML, or an environment value that is not JSON where a list is wanted
        return Settings.model_construct(), [f"{source}: {error}", *problems]
    try:
        return _from({key: value for key, value in table.items() if key not in wrong}), problems
    except ValueError:  # the environment is wrong too
        return Settings.model_construct(), problems


def _parsed(path: Path) -> dict[str, object]:
    """Raises ValueError."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except UnicodeDecodeError:
        raise ValueError("is not utf-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None


def _from(table: dict[str, object]) -> Settings:
    """The settings of a parsed file and the environment, which wins. Raises ValueError."""

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, InitSettingsSource(settings_cls, table)

    return FromFile()


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable that is meant for a section, or a key, that there is not. A name without `__` that
    resembles none of ours may be another program's."""
    known = set(Settings.model_fields)
    for name in sorted(environment):
        prefix, found, rest = name.lower().partition("voiceagent_")
        section, nested, _ = rest.partition("__")
        if prefix or not found or section in known:
            continue
        hint = did_you_mean(section, known)
        if nested or (hint and difflib.get_close_matches(section, known, n=1, cutoff=0.8)):
            yield f"environment: {name}: there is no section {section.upper()}{hint}"
