"""What OpenAI Realtime tells of the MCP servers that the client has named: their tools, and the calls of these."""

from dataclasses import replace
from typing import TypeVar

from voiceagent.protocols.realtime_events import ItemAdded, ItemDone, OutputItemAdded, OutputItemDone, ServerEvent
from voiceagent.protocols.realtime_items import wire_item
from voiceagent.protocols.realtime_more import Warned
from voiceagent.protocols.realtime_unseen import Unseen
from voiceagent.session import events
from voiceagent.session.items import FunctionOutput

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


class Served:
    """A call ends its response: what comes of it is told later, by its item. So agents-js and others expect it."""

    def __init__(self, unseen: Unseen) -> None:
        self._unseen = unseen
        self._places: dict[str, int] = {}
        """Output indexes of calls and requests in their responses, by item."""
        self._running: dict[str, events.ToolCalled] = {}
        """By call id."""

    # -- lists ------------------------------------------------------------------------------------------------------

    def awaited(self, event: events.ToolsAwaited) -> list[ServerEvent]:
        item = wire_item(event.listed)
        added = ItemAdded(previous_item_id=self._unseen.known(event.previous_item_id), item=item)
        return [added, ListInProgress(item_id=item.id)]

    def listed(self, event: events.ToolsListed) -> list[ServerEvent]:
        item = wire_item(event.listed)
        done = ItemDone(previous_item_id=self._unseen.known(event.previous_item_id), item=item)
        return [ListCompleted(item_id=item.id), done]

    def failed(self, event: events.ToolsFailed) -> list[ServerEvent]:
        """The protocol has no words for why, and an `error` would be about a message of the client's."""
        warned = Warned(
            code="mcp_list_tools_failed", message=event.message, param="session.tools", client_event_id=None
        )
        return [ListFailed(item_id=event.listed.id), warned]

    # -- within a response ------------------------------------------------------------------------------------------

    def call(self, event: events.ToolCalled, index: int) -> list[ServerEvent]:
        """It is made, and begins to run."""
        begun, call = wire_item(replace(event.call, status="in_progress")), wire_item(event.call)
        previous = self._unseen.known(event.previous_item_id)
        arguments = event.call.arguments or "{}"
        return [
            OutputItemAdded(response_id=event.reply_id, item=begun, output_index=index),
            ItemAdded(previous_item_id=previous, item=begun),
            ArgumentsDelta(delta=arguments, response_id=event.reply_id, item_id=call.id, output_index=index),
            ArgumentsDone(arguments=arguments, response_id=event.reply_id, item_id=call.id, output_index=index),
            OutputItemDone(response_id=event.reply_id, item=call, output_index=index),
            *self._runs(event, index),
        ]

    def asked(self, event: events.ApprovalAsked, index: int) -> list[ServerEvent]:
        item = wire_item(event.request)
        previous = self._unseen.known(event.previous_item_id)
        _keep(self._places, item.id, index)
        return [
            OutputItemAdded(response_id=event.reply_id, item=item, output_index=index),
            ItemAdded(previous_item_id=previous, item=item),
            ItemDone(previous_item_id=previous, item=item),
            OutputItemDone(response_id=event.reply_id, item=item, output_index=index),
        ]

    # -- later ------------------------------------------------------------------------------------------------------

    def agreed(self, event: events.ToolCalled) -> list[ServerEvent]:
        """The client has agreed to the call: only now there is an item of it."""
        previous = self._unseen.known(event.previous_item_id)
        index = self._places.get(event.call.approval_id or "", 0)
        return [ItemAdded(previous_item_id=previous, item=wire_item(event.call)), *self._runs(event, index)]

    def result(self, output: FunctionOutput) -> list[ServerEvent]:
        """Nothing for a call that is none of ours, or was not agreed to."""
        called = self._running.pop(output.call_id, None)
        if called is None:
            return []
        item = wire_item(called.call, output)
        run = RunFailed if output.failed else RunCompleted
        return [
            run(item_id=item.id, output_index=self._places.pop(item.id, 0)),
            ItemDone(previous_item_id=self._unseen.known(called.previous_item_id), item=item),
        ]

    def _runs(self, event: events.ToolCalled, index: int) -> list[ServerEvent]:
        _keep(self._places, event.call.id, index)
        _keep(self._running, event.call.call_id, event)
        return [RunInProgress(item_id=event.call.id, output_index=index)]


def _keep(kept: dict[str, T], key: str, value: T) -> None:
    kept[key] = value
    if len(kept) > MOST:
        del kept[next(iter(kept))]
