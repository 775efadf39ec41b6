"""What every tool offers: arguments in, a text for the model out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from voiceagent.errors import VoiceagentError
from voiceagent.llm.base import Caller, ToolSpec
from voiceagent.plugins import PluginKind


class ToolError(VoiceagentError):
    """The call failed. The message is for the model, which tells the user in its own words: no secret is in it."""


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """How a tool is run. After `deadline_seconds` the call has failed. `on_interrupt`: whether the user's taking the
    floor ends a running call. When it takes longer than `filler_ms` the agent says something short meanwhile. A
    `confirm` tool runs only after the user has said yes to it."""

    deadline_seconds: float = 15.0
    on_interrupt: Literal["cancel", "keep"] = "cancel"
    filler_ms: int = 700
    confirm: bool = False


class Tool(Protocol):
    @property
    def spec(self) -> ToolSpec: ...

    @property
    def policy(self) -> ToolPolicy: ...

    async def call(self, arguments: Mapping[str, JsonValue], caller: Caller) -> str:
        """The result as text for the model. Cancelling the call ends its work. Raises ToolError."""
        ...


class ToolSource(Protocol):
    """Where tools come from: a Python module, an MCP server, the configuration."""

    @property
    def label(self) -> str:
        """Says which of the configured sources it is."""
        ...

    async def open(self) -> None:
        """Connect, within a deadline. Raises ConfigError for what is configured wrongly; a server that is only away is
        tried again later."""
        ...

    def tools(self) -> tuple[Tool, ...]:
        """What can be called now."""
        ...

    async def close(self) -> None: ...


TOOL_SOURCES = PluginKind("tools", ToolSource)
"""The sources of tools that a configuration may name."""
