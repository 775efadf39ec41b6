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
    """Where the server listens."""

    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` or `::` for all of this machine's."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port; 0 takes a free one."""
    tls_cert: Path | None = None
    """PEM file of the certificate. With it and `tls_key` the port speaks TLS (`https://`, `wss://`)."""
    tls_key: Path | None = None
    """PEM file of the certificate's key."""
    drain_seconds: Seconds = 30.0
    """How long sessions may go on after SIGTERM, while new ones are refused."""
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """Neither audio nor secrets are logged at any level."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together or not at all")
        return self


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


class MemorySection(Section):
    """What is remembered of users."""

    path: str = ""
    """SQLite file of the users' memories; empty keeps none."""
    turns: Annotated[int, Field(ge=1)] = 20
    """How many of the latest turns a prompt holds."""
    tokens: Annotated[int, Field(ge=64)] = 3000
    """How many tokens of them at most."""


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


class ApiKey(Section):
    """A key that clients may connect with."""

    name: Annotated[str, Field(pattern="^[^/]+$")]
    """Stands for the key in logs, limits and memory, where a slash parts it from the user's id. Holds no slash."""
    key: SecretStr
    """The key itself: printable ASCII without spaces."""

    @field_validator("key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if not key or not all("!" <= char <= "~" for char in key):
            raise ValueError("must be printable ASCII without spaces, and not empty")
        return value


class LimitSection(Section):
    """Who may connect, and how much."""

    api_keys: tuple[ApiKey, ...] = ()
    """The keys that open the server. Without any everybody may connect."""
    allowed_origins: tuple[str, ...] = ()
    """The origins of web pages that may connect; empty allows every page."""
    sessions: Annotated[int, Field(ge=1)] = 500
    """Sessions at once; more are refused with HTTP 503 and `Retry-After`."""
    sessions_per_key: Annotated[int, Field(ge=1)] = 500
    """Sessions at once of one key; more are refused with HTTP 429 and `Retry-After`."""
    message_bytes: Annotated[int, Field(ge=1024)] = 24 * 1024 * 1024
    """The largest WebSocket message."""
    idle_seconds: Seconds = 600.0
    """A session in which nobody has spoken for so long is ended."""
    session_seconds: Seconds = 3600.0
    """The longest session."""


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
    """Where model files are kept; the user's cache folder without one."""
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
