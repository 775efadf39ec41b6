"""All settings: one TOML file, overridden by the environment (`VOICEAGENT_SERVER__PORT=9000`)."""

import os
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
from voiceagent.channels.telephone.settings import TelephoneSection
from voiceagent.channels.web.settings import PageSection
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.errors import ConfigError
from voiceagent.recordings.settings import RecordingsSection
from voiceagent.section import Seconds, Section
from voiceagent.session.settings import (
    DeadlineSection,
    DurationSection,
    FillerSection,
    PlayoutSection,
    PromptSection,
    SessionSettings,
    SilenceSection,
)
from voiceagent.tools.settings import ToolsSection
from voiceagent.turn.options import BargeInSettings, TurnSection

INSTRUCTIONS = (
    "You are a friendly voice assistant. Your words are spoken aloud: answer in one or two short plain sentences, "
    "without lists, markup or emoji, in the language of the user."
)


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


class MemorySection(PromptSection):
    """`path` is the SQLite file of users' memories ("" keeps none). A prompt holds the last `turns` turns as far as
    `tokens` allow."""

    path: str = ""


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


class LimitSection(DurationSection):
    """Who may connect and how much. Without `api_keys` everyone may; `allowed_origins` empty allows every web page."""

    api_keys: tuple[ApiKey, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    sessions: Annotated[int, Field(ge=1)] = 500
    sessions_per_key: Annotated[int, Field(ge=1)] = 500
    message_bytes: Annotated[int, Field(ge=1024)] = 24 * 1024 * 1024


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
        )

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
