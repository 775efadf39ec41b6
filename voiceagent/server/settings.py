"""Settings of the server: where it listens, the agent it serves, who may connect and how much."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from voiceagent.llm.base import INSTRUCTIONS
from voiceagent.section import Seconds, Section
from voiceagent.session.settings import DurationSection


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


class LimitSection(DurationSection):
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
