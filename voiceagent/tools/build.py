"""The configured tools."""

from typing import Protocol

from voiceagent.tools.base import ToolSource
from voiceagent.tools.functions import PythonSource
from voiceagent.tools.mcp.client import McpPackage
from voiceagent.tools.mcp.source import WAIT_SECONDS, McpSource
from voiceagent.tools.settings import ToolsSection
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tools.webhooks import Webhook


class Configured(ToolSource, Protocol):
    """A source of the configuration; `label` says which."""

    @property
    def label(self) -> str: ...


def make_sources(settings: ToolsSection, *, wait_seconds: float = WAIT_SECONDS) -> tuple[Configured, ...]:
    """All sources, none of them open. Opening waits so long for MCP servers."""
    return (
        *(PythonSource(section, settings.threads) for section in settings.python),
        *(Webhook(section) for section in settings.webhook),
        *(McpSource(section, wait_seconds=wait_seconds) for section in settings.mcp),
        *((McpPackage(),) if settings.client_mcp else ()),
    )


def make_toolbox(settings: ToolsSection) -> Toolbox:
    return Toolbox(make_sources(settings))
