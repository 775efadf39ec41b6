"""MCP servers that a client names in its session (`{"type": "mcp", …}`), and what they are to the session."""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import SecretStr

from voiceagent.errors import Refused
from voiceagent.protocols.realtime_tools import AnyTool, ApprovalFilter, FunctionTool, McpTool, ToolFilter, functions
from voiceagent.session.toolkit import MOST_SERVERS
from voiceagent.tools.mcp_client import Approval, ClientServer

PARAM = "session.tools"


def session_tools(tools: Sequence[AnyTool], *, servers: bool) -> Sequence[AnyTool]:
    """The tools of a session, if all of them can be had. Raises Refused, also for any server unless `servers`."""
    named = [(index, tool) for index, tool in enumerate(tools) if isinstance(tool, McpTool)]
    if not named or not servers:
        return functions(tools, PARAM)
    if len(named) > MOST_SERVERS:
        raise Refused("invalid_value", f"At most {MOST_SERVERS} MCP servers can be named.", PARAM)
    labels: set[str] = set()
    for index, tool in named:
        if tool.server_label in labels:
            raise Refused("invalid_value", "Two MCP servers have the same label.", f"{PARAM}[{index}].server_label")
        labels.add(tool.server_label)
        _client_server(tool, f"{PARAM}[{index}]")
    mine = iter(functions([tool for tool in tools if isinstance(tool, FunctionTool)], PARAM))
    return tuple(tool if isinstance(tool, McpTool) else next(mine) for tool in tools)


def servers_of(tools: Sequence[AnyTool]) -> tuple[ClientServer, ...]:
    return tuple(_client_server(tool, PARAM) for tool in tools if isinstance(tool, McpTool))


def functions_of(tools: Sequence[AnyTool]) -> tuple[FunctionTool, ...]:
    return tuple(tool for tool in tools if isinstance(tool, FunctionTool))


def without_secrets(tools: Sequence[AnyTool]) -> Sequence[AnyTool]:
    """As a client is shown its tools."""
    return tuple(
        replace(tool, authorization=UNSET, headers=UNSET) if isinstance(tool, McpTool) else tool for tool in tools
    )


def _client_server(tool: McpTool, param: str) -> ClientServer:
    if not tool.server_url:
        message = f"Missing required parameter: '{param}.server_url'; connectors and tunnels are not served."
        raise Refused("missing_required_parameter", message, f"{param}.server_url")
    headers = tool.headers if isinstance(tool.headers, dict) else {}
    return ClientServer(
        label=tool.server_label,
        url=tool.server_url,
        authorization=SecretStr(tool.authorization) if tool.authorization else None,
        headers={name: SecretStr(value) for name, value in headers.items()},
        allowed=_names(tool.allowed_tools, f"{param}.allowed_tools"),
        approval=_approval(tool, f"{param}.require_approval"),
    )


def _approval(tool: McpTool, param: str) -> Approval:
    """Of what is not said, the client is always asked."""
    match tool.require_approval:
        case None:
            return Approval()
        case ApprovalFilter(always=always, never=never):
            return Approval(
                always=_names(always, f"{param}.always") or frozenset(),
                never=_names(never, f"{param}.never") or frozenset(),
            )
        case otherwise:
            return Approval(otherwise)


def _names(given: list[str] | ToolFilter | UnsetType | None, param: str) -> frozenset[str] | None:
    """None where none are named."""
    if isinstance(given, ToolFilter):
        if given.read_only is not UNSET:
            raise Refused("unsupported_parameter", "Tools are chosen by their names only.", f"{param}.read_only")
        given = given.tool_names
    return None if given is None or isinstance(given, UnsetType) else frozenset(given)
