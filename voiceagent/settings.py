"""All settings: one TOML file, overridden by the environment (`VOICEAGENT_SERVER__PORT=9000`)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from voiceagent.admin.settings import AdminSection
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.channels.web.settings import PageSection
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.errors import ConfigError
from voiceagent.recordings.settings import RecordingsSection
from voiceagent.section import Milliseconds, Seconds, Section
from voiceagent.tools.settings import ToolsSection
from voiceagent.turn.options import BargeInSettings

INSTRUCTIONS = (
    "You are a friendly voice assistant. Your words are spoken aloud: answer in one or two short plain sentences, "
    "without lists, markup or emoji, in the language of the user."
)

FILLERS: Mapping[str, tuple[str, ...]] = {
    "en": ("Let me see…", "One moment…", "Let me think…"),
    "zh": ("我想想…", "稍等一下…", "让我看看…"),
}


class EngineSection(BaseModel):
    """`engine` names it; every other key is an option of that engine."""

    model_config = ConfigDict(extra="allow", frozen=True)
    engine: str

    def __repr__(self) -> str:
        """Without the options: a key may be among them."""
        return f"EngineSection(engine={self.engine!r})"

    __str__ = __repr__

    def with_options(self) -> dict[str, object]:
        return {"engine": self.engine, **(self.model_extra or {})}


class ServerSection(Section):
    """`drain_seconds`: how long talks may go on after SIGTERM."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    drain_seconds: Seconds = 30.0
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together or not at all")
        return self


class AgentSection(Section):
    """Who is talking. `apology` is said when an engine fails."""

    instructions: str = INSTRUCTIONS
    voice: str | None = None
    language: str | None = None
    apology: str = "Sorry, something went wrong. Please try again."


class TurnSection(Section):
    """Turn-taking. `silence_ms` 0 lets the endpointer choose; `model` helps it (65 ms of a core at every pause);
    `speculations` is how many replies a turn may be prepared ahead and thrown away."""

    silence_ms: Milliseconds = 0
    prefix_ms: Milliseconds = 300
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    model: Literal["", "smart-turn-v3.2"] = ""
    speculations: Annotated[int, Field(ge=0)] = 3
    max_turn_seconds: Seconds = 60.0


class SilenceSection(Section):
    """When nobody says anything: after `prompt_seconds` (0: never) the agent says `prompt`, at most `prompts` times in
    a row; the next time `goodbye`, and ends the talk."""

    prompt_seconds: Annotated[float, Field(ge=0)] = 0.0
    prompts: Annotated[int, Field(ge=0)] = 2
    prompt: str = "Are you still there?"
    goodbye: str = "I will hang up now. Goodbye."


class FillerSection(Section):
    """What is said when the answer is slow: after `after_ms` without the model's first word (0: never), and while a
    slow tool runs. `phrases` by language; those of one language are said in turn, never one twice in a row."""

    after_ms: Milliseconds = 0
    phrases: Mapping[str, tuple[str, ...]] = FILLERS


class PlayoutSection(Section):
    """`lead_ms`: how much audio the client is given ahead of what it plays. `held_back_ms`: how late a client that does
    not report its position is thought to play (its own buffer and its loudspeaker's), for what was heard of a reply.
    `speech_cache_mb`: how much speech is kept to be played again at once (0: none)."""

    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 140
    frame_ms: Annotated[int, Field(ge=10, le=100)] = 60
    held_back_ms: Annotated[int, Field(ge=0, le=1000)] = 200
    speech_cache_mb: Annotated[int, Field(ge=0)] = 64


class MemorySection(Section):
    """`path` is the SQLite file of users' memories ("" keeps none). A prompt holds the last `turns` turns as far as
    `tokens` allow."""

    path: str = ""
    turns: Annotated[int, Field(ge=1)] = 20
    tokens: Annotated[int, Field(ge=64)] = 3000


class DeadlineSection(Section):
    """How long each engine may be silent before the turn fails."""

    asr_seconds: Seconds = 10.0
    llm_first_token_seconds: Seconds = 10.0
    llm_next_token_seconds: Seconds = 10.0
    tts_seconds: Seconds = 10.0


class ApiKey(Section):
    """`name` stands for the key in logs, limits and memory, where a slash parts it from the user's."""

    name: Annotated[str, Field(pattern="^[^/]+$")]
    key: SecretStr

    @field_validator("key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if not key or not all("!" <= char <= "~" for char in key):
            raise ValueError("must be printable ASCII without spaces, and not empty")
        return value


class LimitSection(Section):
    """Who may connect and how much. Without `api_keys` everyone may; `allowed_origins` empty allows every web page."""

    api_keys: tuple[ApiKey, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    sessions: Annotated[int, Field(ge=1)] = 500
    sessions_per_key: Annotated[int, Field(ge=1)] = 500
    message_bytes: Annotated[int, Field(ge=1024)] = 24 * 1024 * 1024
    idle_seconds: Seconds = 600.0
    session_seconds: Seconds = 3600.0


class Settings(BaseSettings):
    """Everything. Unknown keys are errors, so that a typing slip is not silently ignored."""

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
    models_dir: Path | None = None
    vad: EngineSection = EngineSection(engine="silero")
    asr: EngineSection = EngineSection(engine="sherpa")
    llm: EngineSection | None = None
    tts: EngineSection = EngineSection(engine="hibari")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def llm_section(self) -> EngineSection:
        """What `[llm]` says; without it OpenAI's own variables name an endpoint, else the embedded model."""
        if self.llm is not None:
            return self.llm
        remote = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY")
        return EngineSection(engine="openai" if remote else "embedded")


def load(path: Path | None = None) -> Settings:
    """Read the TOML file (if any) and the environment, which wins. Raises ConfigError naming the key that is wrong."""
    if path is not None and not path.is_file():
        raise ConfigError(f"no configuration file at {path}")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        return FromFile()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = "there is no such key" if first["type"] == "extra_forbidden" else first["msg"]
        raise ConfigError(f"{path or 'environment'}: {key}: {problem.removeprefix('Value error, ')}") from None
    except (ValueError, OSError) as error:  # not TOML, or an environment value that is not JSON where a list is wanted
        raise ConfigError(f"{path or 'environment'}: {error}") from None
