"""A server's tools, as they are offered to models."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import mcp_types
from pydantic import JsonValue

from voiceagent.llm.base import Caller, ToolSpec
from voiceagent.tools.base import ToolError, ToolPolicy
from voiceagent.tools.mcp.connection import McpConnection
from voiceagent.tools.mcp.names import offered
from voiceagent.tools.schema import offerable

DESCRIPTION_CHARS = 4_000
"""The most of a description that models are shown."""


@dataclass(frozen=True, slots=True)
class McpTool:
    """`name` is the server's own for it."""

    spec: ToolSpec
    policy: ToolPolicy
    name: str
    connection: McpConnection

    async def call(self, arguments: Mapping[str, JsonValue], caller: Caller) -> str:
        result = await self.connection.call(self.name, arguments)
        text = told(result)
        if result.is_error:
            raise ToolError(text or "the tool failed")
        return text


def tools_of(
    connection: McpConnection,
    listed: Sequence[mcp_types.Tool],
    *,
    prefix: str,
    allowed: Collection[str] | None,
    policy_of: Callable[[str, ToolPolicy], ToolPolicy],
    taken: Collection[str] = (),
) -> tuple[McpTool, ...]:
    """Those that are allowed and can be offered. One that the server itself marks as destructive is confirmed first,
    unless `policy_of` says otherwise."""
    by_name = {tool.name: tool for tool in listed if allowed is None or tool.name in allowed}
    tools: list[McpTool] = []
    for name, own in offered(by_name, prefix, taken).items():
        tool = by_name[own]
        description = (tool.description or "")[:DESCRIPTION_CHARS]
        spec = offerable(name, description, tool.input_schema, f"MCP server {connection.label}")
        if spec is not None:
            policy = policy_of(own, ToolPolicy(confirm=_is_destructive(tool)))
            tools.append(McpTool(spec, policy, own, connection))
    return tuple(tools)


def told(result: mcp_types.CallToolResult) -> str:
    """A result as text; what is no text is named."""
    parts = []
    for block in result.content:
        match block:
            case mcp_types.TextContent():
                parts.append(block.text)
            case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as resource):
                parts.append(resource.text)
            case mcp_types.ResourceLink():
                parts.append(f"[{block.name}: {block.uri}]")
            case mcp_types.ImageContent() | mcp_types.AudioContent():
                parts.append(f"[{block.type}, {block.mime_type}]")
            case _:
                parts.append("[a file]")
    if not parts and result.structured_content is not None:
        parts.append(json.dumps(result.structured_content, ensure_ascii=False))
    return "\n".join(parts)


def _is_destructive(tool: mcp_types.Tool) -> bool:
    hints = tool.annotations
    return hints is not None and hints.destructive_hint is True and hints.read_only_hint is not True
