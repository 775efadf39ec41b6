"""Builder of the configured tools."""

from voiceagent.tools.base import TOOL_SOURCES, ToolSource
from voiceagent.tools.functions import PythonSource
from voiceagent.tools.mcp.client import McpPackage
from voiceagent.tools.mcp.source import WAIT_SECONDS, McpSource
from voiceagent.tools.settings import ToolsSection
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tools.webhooks import Webhook


def make_sources(settings: ToolsSection, *, wait_seconds: float = WAIT_SECONDS) -> tuple[ToolSource, ...]:
    """All sources, none of them open. Opening waits so long for MCP servers. Raises ConfigError."""
    return (
        *(PythonSource(section, settings.threads) for section in settings.python),
        *(Webhook(section) for section in settings.webhook),
        *(McpSource(section, wait_seconds=wait_seconds) for section in settings.mcp),
        *(TOOL_SOURCES.make("[[tools.source]]", section.with_options()) for section in settings.source),
        *((McpPackage(),) if settings.client_mcp else ()),
    )


def make_toolbox(settings: ToolsSection) -> Toolbox:
    """The toolbox of the configured sources, not open yet. Raises ConfigError."""
    return Toolbox(make_sources(settings))
