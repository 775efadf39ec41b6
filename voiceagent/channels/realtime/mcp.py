"""MCP servers that a client has named: the Realtime events about their tools and the calls of these."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import SecretStr

from voiceagent.channels.realtime.extension_events import WarningEvent
from voiceagent.channels.realtime.items import wire_item
from voiceagent.channels.realtime.server_events import (
    ItemAddedEvent,
    ItemDoneEvent,
    OutputItemAddedEvent,
    OutputItemDoneEvent,
    ServerEvent,
)
from voiceagent.channels.realtime.tools import (
    AnyTool,
    ApprovalFilter,
    FunctionToolParam,
    HiddenTools,
    McpServerParam,
    ToolFilter,
    functions,
)
from voiceagent.errors import Refused
from voiceagent.session import events
from voiceagent.session.conversation import FunctionOutput
from voiceagent.session.tools import MOST_SERVERS
from voiceagent.tools.mcp.client import Approval, ClientServer

# MCP servers that a client names in its session (`{"type": "mcp", …}`), and what they are to the session.

PARAM = "session.tools"


def session_tools(tools: Sequence[AnyTool], *, servers: bool) -> Sequence[AnyTool]:
    """The tools of a session, if all of them can be had. Raises Refused, also for any server unless `servers`."""
    named = [(index, tool) for index, tool in enumerate(tools) if isinstance(tool, McpServerParam)]
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
    mine = iter(functions([tool for tool in tools if isinstance(tool, FunctionToolParam)], PARAM))
    return tuple(tool if isinstance(tool, McpServerParam) else next(mine) for tool in tools)


def servers_of(tools: Sequence[AnyTool]) -> tuple[ClientServer, ...]:
    return tuple(_client_server(tool, PARAM) for tool in tools if isinstance(tool, McpServerParam))


def functions_of(tools: Sequence[AnyTool]) -> tuple[FunctionToolParam, ...]:
    return tuple(tool for tool in tools if isinstance(tool, FunctionToolParam))


def without_secrets(tools: Sequence[AnyTool]) -> Sequence[AnyTool]:
    """As a client is shown its tools."""
    return tuple(
        replace(tool, authorization=UNSET, headers=UNSET) if isinstance(tool, McpServerParam) else tool
        for tool in tools
    )


def _client_server(tool: McpServerParam, param: str) -> ClientServer:
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


def _approval(tool: McpServerParam, param: str) -> Approval:
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


T = TypeVar("T")

MOST = 1000
"""Calls and requests for approval that are remembered until their time has come."""


class ListEvent(ServerEvent, kw_only=True):
    item_id: str


class ListInProgress(ListEvent, tag="mcp_list_tools.in_progress"):
    pass


class ListCompleted(ListEvent, tag="mcp_list_tools.completed"):
    pass


class ListFailed(ListEvent, tag="mcp_list_tools.failed"):
    pass


class ArgumentsDelta(ServerEvent, kw_only=True, tag="response.mcp_call_arguments.delta"):
    response_id: str
    item_id: str
    output_index: int
    delta: str


class ArgumentsDone(ServerEvent, kw_only=True, tag="response.mcp_call_arguments.done"):
    response_id: str
    item_id: str
    output_index: int
    arguments: str


class RunEvent(ServerEvent, kw_only=True):
    item_id: str
    output_index: int


class RunInProgress(RunEvent, tag="response.mcp_call.in_progress"):
    pass


class RunCompleted(RunEvent, tag="response.mcp_call.completed"):
    pass


class RunFailed(RunEvent, tag="response.mcp_call.failed"):
    pass


class McpEvents:
    """A call ends its response: what comes of it is told later, by its item. So agents-js and others expect it."""

    def __init__(self, unseen: HiddenTools) -> None:
        self._unseen = unseen
        self._places: dict[str, int] = {}
        """Output indexes of calls and requests in their responses, by item."""
        self._running: dict[str, events.ToolCalled] = {}
        """By call id."""

    # -- lists ------------------------------------------------------------------------------------------------------

    def awaited(self, event: events.ToolsAwaited) -> list[ServerEvent]:
        item = wire_item(event.listed)
        added = ItemAddedEvent(previous_item_id=self._unseen.known(event.previous_item_id), item=item)
        return [added, ListInProgress(item_id=item.id)]

    def listed(self, event: events.ToolsListed) -> list[ServerEvent]:
        item = wire_item(event.listed)
        done = ItemDoneEvent(previous_item_id=self._unseen.known(event.previous_item_id), item=item)
        return [ListCompleted(item_id=item.id), done]

    def failed(self, event: events.ToolsFailed) -> list[ServerEvent]:
        """The protocol has no words for why, and an `error` would be about a message of the client's."""
        warned = WarningEvent(
            code="mcp_list_tools_failed", message=event.message, param="session.tools", client_event_id=None
        )
        return [ListFailed(item_id=event.listed.id), warned]

    # -- within a response ------------------------------------------------------------------------------------------

    def call(self, event: events.ToolCalled, index: int) -> list[ServerEvent]:
        """It is made, and begins to run."""
        begun, call = wire_item(dataclasses.replace(event.call, status="in_progress")), wire_item(event.call)
        previous = self._unseen.known(event.previous_item_id)
        arguments = event.call.arguments or "{}"
        return [
            OutputItemAddedEvent(response_id=event.response_id, item=begun, output_index=index),
            ItemAddedEvent(previous_item_id=previous, item=begun),
            ArgumentsDelta(delta=arguments, response_id=event.response_id, item_id=call.id, output_index=index),
            ArgumentsDone(arguments=arguments, response_id=event.response_id, item_id=call.id, output_index=index),
            OutputItemDoneEvent(response_id=event.response_id, item=call, output_index=index),
            *self._runs(event, index),
        ]

    def asked(self, event: events.ApprovalAsked, index: int) -> list[ServerEvent]:
        item = wire_item(event.request)
        previous = self._unseen.known(event.previous_item_id)
        _keep(self._places, item.id, index)
        return [
            OutputItemAddedEvent(response_id=event.response_id, item=item, output_index=index),
            ItemAddedEvent(previous_item_id=previous, item=item),
            ItemDoneEvent(previous_item_id=previous, item=item),
            OutputItemDoneEvent(response_id=event.response_id, item=item, output_index=index),
        ]

    # -- later ------------------------------------------------------------------------------------------------------

    def agreed(self, event: events.ToolCalled) -> list[ServerEvent]:
        """The client has agreed to the call: only now there is an item of it."""
        previous = self._unseen.known(event.previous_item_id)
        index = self._places.get(event.call.approval_id or "", 0)
        return [ItemAddedEvent(previous_item_id=previous, item=wire_item(event.call)), *self._runs(event, index)]

    def result(self, output: FunctionOutput) -> list[ServerEvent]:
        """Nothing for a call that is none of ours, or was not agreed to."""
        called = self._running.pop(output.call_id, None)
        if called is None:
            return []
        item = wire_item(called.call, output)
        run = RunFailed if output.failed else RunCompleted
        return [
            run(item_id=item.id, output_index=self._places.pop(item.id, 0)),
            ItemDoneEvent(previous_item_id=self._unseen.known(called.previous_item_id), item=item),
        ]

    def _runs(self, event: events.ToolCalled, index: int) -> list[ServerEvent]:
        _keep(self._places, event.call.id, index)
        _keep(self._running, event.call.call_id, event)
        return [RunInProgress(item_id=event.call.id, output_index=index)]


def _keep(kept: dict[str, T], key: str, value: T) -> None:
    kept[key] = value
    if len(kept) > MOST:
        del kept[next(iter(kept))]
