"""Settings of the whole server: one TOML file, overridden by the environment (`VOICEAGENT_SERVER__PORT=9000`).

Only the server and the command line read them: every part of the project is handed its own section.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from voiceagent.admin.settings import AdminSection
from voiceagent.channels.settings import ChannelSection
from voiceagent.channels.telephone.settings import TelephoneSection
from voiceagent.channels.web.settings import PageSection
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.llm.base import INSTRUCTIONS
from voiceagent.memory.settings import MemorySection
from voiceagent.problems import InvalidConfig, did_you_mean, problems_of
from voiceagent.recordings.settings import RecordingsSection
from voiceagent.section import EngineSection, Milliseconds, Seconds, Section
from voiceagent.server.settings import LimitSection, ServerSection
from voiceagent.tools.settings import ToolsSection
from voiceagent.turn.options import BargeInSettings

FILLERS: Mapping[str, tuple[str, ...]] = {
    "en": ("Let me see…", "One moment…", "Let me think…"),
    "zh": ("我想想…", "稍等一下…", "让我看看…"),
}


class AgentSection(Section):
    """Who is talking."""

    instructions: str = INSTRUCTIONS
    """The system prompt, unless the client sends its own."""
    voice: str | None = None
    """The voice, by a name that the TTS engine knows; the engine's own without one."""
    language: str | None = None
    """The language spoken, as a BCP 47 tag such as `en` or `zh-CN`; told from the words without one."""
    apology: str = "Sorry, something went wrong. Please try again."
    """Said when an engine fails; rendered when the server starts."""


class TurnSection(Section):
    """Endpointing: when the user's turn has ended."""

    silence_ms: Milliseconds = 0
    """The silence that ends a turn when the client names none; 0 lets the endpointer choose."""
    prefix_ms: Milliseconds = 300
    """Audio kept from before the first voice."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The speech probability that counts as voice."""
    model: Literal["", "smart-turn-v3.2"] = ""
    """A model that helps the endpointer, at 65 ms of a core for every pause; fetched by `voiceagent models fetch
    smart-turn-v3.2`."""
    speculations: Annotated[int, Field(ge=0)] = 3
    """How many responses a turn may have prepared ahead and thrown away; 0 prepares none."""
    max_turn_seconds: Seconds = 60.0
    """A turn that lasts longer is answered anyway."""


class SilenceSection(Section):
    """What the agent does when nobody says anything."""

    prompt_seconds: Annotated[float, Field(ge=0)] = 0.0
    """The silence after which the agent asks whether the user is still there; 0: never."""
    prompts: Annotated[int, Field(ge=0)] = 2
    """How often in a row it asks, before it says goodbye."""
    prompt: str = "Are you still there?"
    """What it asks."""
    goodbye: str = "I will hang up now. Goodbye."
    """What it says last; then the session ends."""


class FillerSection(Section):
    """What is said when the answer is slow."""

    after_ms: Milliseconds = 0
    """How long the model's first word may take until a filler is said; 0: never. While a tool runs its own `filler_ms`
    counts."""
    phrases: Mapping[str, tuple[str, ...]] = FILLERS
    """The fillers by language; those of one language are said in turn, never one twice in a row."""


class PlayoutSection(Section):
    """How audio is sent."""

    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 140
    """Audio the client is given ahead of what it plays. More bridges worse networks, and falls silent later at a
    barge-in."""
    frame_ms: Annotated[int, Field(ge=10, le=100)] = 60
    """Length of one audio message."""
    held_back_ms: Annotated[int, Field(ge=0, le=1000)] = 200
    """How late a client that does not report its position is thought to play (its buffer and its loudspeaker's), to
    know what was heard."""
    speech_cache_mb: Annotated[int, Field(ge=0)] = 64
    """Speech that is kept to be played again at once; 0 keeps none."""


class DeadlineSection(Section):
    """How long each engine may be silent before the turn fails with an apology."""

    asr_seconds: Seconds = 10.0
    """For the transcript, once the turn has ended."""
    llm_first_token_seconds: Seconds = 10.0
    """For the model's first token."""
    llm_next_token_seconds: Seconds = 10.0
    """For each further token."""
    tts_seconds: Seconds = 10.0
    """For each next piece of audio."""


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
    channels: Mapping[str, ChannelSection] = {}
    """Channels of other packages, by name."""
    models_dir: Path | None = None
    """Where model files are kept; the user's cache folder without one."""
    vad: EngineSection = EngineSection(engine="silero")
    asr: EngineSection = EngineSection(engine="sherpa")
    llm: EngineSection | None = None
    tts: EngineSection = EngineSection(engine="hibari")

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


def read(path: Path | None = None) -> tuple[Settings, list[str]]:
    """The settings of the TOML file (if any) and the environment, which wins, with a line for every key that is wrong.
    Sections with problems have their defaults."""
    source = str(path or "environment")
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
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
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
