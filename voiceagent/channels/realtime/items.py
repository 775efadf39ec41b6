"""Items of a conversation, as OpenAI Realtime writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from msgspec import UNSET, Struct, UnsetType
from pydantic import JsonValue

from voiceagent.channels.base import Action, Execute
from voiceagent.channels.realtime.tools import FunctionName, Name
from voiceagent.errors import Refused
from voiceagent.llm.base import ToolSpec
from voiceagent.session.commands import CreateResponse, RetrieveItem
from voiceagent.session.conversation import (
    AnyEntry,
    ApprovalRequest,
    ApprovalResponse,
    FunctionCall,
    FunctionOutput,
    Item,
    ItemRole,
    ItemStatus,
    Origin,
    Part,
    ToolList,
)

T = TypeVar("T")

PART_KINDS: dict[str, Literal["text", "audio"]] = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "input_audio": "audio",
    "output_audio": "audio",
    "audio": "audio",
}
"""The short names are those of older clients."""

PICTURE = "(Here the user sent a picture. You cannot see pictures; say so if you are asked about it.)"
"""What the model is told of the first one."""


class WirePart(Struct):
    """Content of an item. A key that has no value is left out: agents-js ignores an item with a null in it."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | UnsetType = UNSET
    transcript: str | UnsetType = UNSET


class WireItem(Struct, kw_only=True):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: ItemStatus
    role: ItemRole
    content: list[WirePart]


class WireCall(Struct, kw_only=True):
    """`arguments` of a complete one are never empty, since clients parse them; models write nothing for none."""

    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["function_call"] = "function_call"
    status: ItemStatus
    name: str
    call_id: str
    arguments: str


class WireOutput(Struct, kw_only=True):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["function_call_output"] = "function_call_output"
    status: ItemStatus = "completed"
    call_id: str
    output: str


class WireMcpTool(Struct, kw_only=True):
    name: str
    description: str
    input_schema: Mapping[str, JsonValue]


class WireMcpList(Struct, kw_only=True):
    id: str
    type: Literal["mcp_list_tools"] = "mcp_list_tools"
    server_label: str
    tools: list[WireMcpTool]


class WireMcpError(Struct):
    message: str
    type: Literal["tool_execution_error"] = "tool_execution_error"


class WireMcpCall(Struct, kw_only=True):
    """agents-js wants `output`, null while there is none. The official type has neither object nor status."""

    id: str
    type: Literal["mcp_call"] = "mcp_call"
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: WireMcpError | UnsetType = UNSET
    approval_request_id: str | UnsetType = UNSET


class WireApprovalRequest(Struct, kw_only=True):
    id: str
    type: Literal["mcp_approval_request"] = "mcp_approval_request"
    server_label: str
    name: str
    arguments: str


class WireApprovalResponse(Struct, kw_only=True):
    id: str
    type: Literal["mcp_approval_response"] = "mcp_approval_response"
    approval_request_id: str
    approve: bool
    reason: str | UnsetType = UNSET


AnyWireItem = WireItem | WireCall | WireOutput | WireMcpList | WireMcpCall | WireApprovalRequest | WireApprovalResponse


def wire_item(item: AnyEntry, result: FunctionOutput | None = None) -> AnyWireItem:
    """`result` is what came of the item, if it is a call of a server's tool and is done."""
    match item:
        case FunctionCall(origin=Origin() as origin):
            return _wire_mcp_call(item, origin, result)
        case ToolList(item_id, server, tools):
            return WireMcpList(id=item_id, server_label=server, tools=[_wire_mcp_tool(tool) for tool in tools])
        case ApprovalRequest(item_id, call):
            server, name = (call.origin.server, call.origin.name) if call.origin else ("", call.name)
            return WireApprovalRequest(id=item_id, server_label=server, name=name, arguments=call.arguments or "{}")
        case ApprovalResponse(item_id, request_id, approve, reason):
            return WireApprovalResponse(
                id=item_id, approval_request_id=request_id, approve=approve, reason=reason or UNSET
            )
        case Item(id=item_id, role=role, parts=parts, status=status):
            return WireItem(id=item_id, status=status, role=role, content=[_wire_part(role, part) for part in parts])
        case FunctionCall():
            return wire_call(item)
        case FunctionOutput(item_id, call_id, output):
            return WireOutput(id=item_id, call_id=call_id, output=output)


def wire_call(call: FunctionCall) -> WireCall:
    """While it is in progress its arguments are still to come."""
    arguments = "" if call.status == "in_progress" else call.arguments or "{}"
    return WireCall(id=call.id, status=call.status, name=call.name, call_id=call.call_id, arguments=arguments)


def _wire_mcp_tool(tool: ToolSpec) -> WireMcpTool:
    return WireMcpTool(name=tool.name, description=tool.description, input_schema=tool.parameters or {})


def _wire_mcp_call(call: FunctionCall, origin: Origin, result: FunctionOutput | None) -> WireMcpCall:
    wire = WireMcpCall(
        id=call.id,
        server_label=origin.server,
        name=origin.name,
        arguments="" if call.status == "in_progress" else call.arguments or "{}",
        approval_request_id=call.approval_id or UNSET,
    )
    if result is not None and result.failed:
        wire.error = WireMcpError(result.output)
    elif result is not None:
        wire.output = result.output
    return wire


def _wire_part(role: ItemRole, part: Part) -> WirePart:
    if part.kind == "audio" and role != "system":
        return WirePart("output_audio" if role == "assistant" else "input_audio", transcript=part.text)
    return WirePart("output_text" if role == "assistant" else "input_text", text=part.text)


class GivenPart(Struct, frozen=True):
    """`audio` is base64; it is not decoded."""

    type: str
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None


class GivenItem(Struct, frozen=True):
    """An item of the client's: a message, a call with its result, whether it agrees to a call, or the mere id of an
    item of the conversation. Which keys must be there depends on the type."""

    type: str
    id: Name | None = None
    role: ItemRole | None = None
    status: ItemStatus | None = None
    content: list[GivenPart] | None = None
    name: FunctionName | None = None
    call_id: Name | None = None
    arguments: str | None = None
    output: str | None = None
    approval_request_id: Name | None = None
    approve: bool | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ItemReference:
    """An item of the conversation, by its id."""

    item_id: str


def pictures(given: GivenItem, param: str) -> list[str]:
    """The places in the message of what nobody here can see."""
    parts = enumerate(given.content or ())
    return [f"{param}.content[{index}]" for index, part in parts if part.type == "input_image"]


def item_from(given: GivenItem, new_id: Callable[[str], str], param: str, *, picture: str = "") -> AnyEntry:
    """The client's item with an id of our own if it brought none. `param` is its place in the message, `picture` the
    words that stand for one. Raises Refused."""
    item_id = given.id or new_id("item")
    match given.type:
        case "message":
            return _message(given, item_id, param, picture)
        case "function_call":
            name = _required(given.name, f"{param}.name")
            return FunctionCall(item_id, given.call_id or new_id("call"), name, given.arguments or "")
        case "function_call_output":  # Pipecat leaves the output out where a function returned nothing
            return FunctionOutput(item_id, _required(given.call_id, f"{param}.call_id"), given.output or "")
        case _:
            message = "Supported items are messages, function calls and their outputs."
            raise Refused("unsupported_item", message, f"{param}.type")


def approval_from(given: GivenItem, param: str) -> ApprovalResponse:
    """Whether the client agrees to a call; without an id the session gives it one. Raises Refused."""
    return ApprovalResponse(
        given.id or "",
        _required(given.approval_request_id, f"{param}.approval_request_id"),
        _required(given.approve, f"{param}.approve"),
        given.reason or "",
    )


def context_from(
    given: GivenItem, new_id: Callable[[str], str], param: str, *, picture: str = ""
) -> AnyEntry | ItemReference:
    """An item of a response's own input, which may also be one of the conversation. Raises Refused."""
    if given.type == "item_reference":
        return ItemReference(_required(given.id, f"{param}.id"))
    return item_from(given, new_id, param, picture=picture)


def _required(value: T | None, param: str) -> T:
    if value is None:
        raise Refused("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    return value


def _message(given: GivenItem, item_id: str, param: str, picture: str) -> Item:
    role: ItemRole = _required(given.role, f"{param}.role")
    content = _required(given.content, f"{param}.content")
    parts = tuple(_part_from(part, role, f"{param}.content[{index}]", picture) for index, part in enumerate(content))
    unfinished = role == "assistant" and given.status == "incomplete"
    return Item(item_id, role, parts, "incomplete" if unfinished else "completed")


def _part_from(part: GivenPart, role: ItemRole, param: str, picture: str) -> Part:
    if part.type == "input_image":
        return Part("text", picture)
    kind = PART_KINDS.get(part.type)
    if kind is None or (kind == "audio" and role == "system"):
        raise Refused("invalid_value", f"Not a content type of a {role} message.", f"{param}.type")
    if kind == "text":
        return Part("text", _required(part.text, f"{param}.text"))
    if part.audio and part.transcript is None:
        raise Refused("unsupported_content", "Audio in an item needs its transcript beside it.", f"{param}.audio")
    return Part("audio", part.transcript or "")


# `item_reference` in a response's own input: the session is asked for these items before the response.

UNKNOWN = Refused("invalid_value", "There is no item of this id in the conversation.", "response.input")


class ItemReferences:
    """One response at a time: a session answers at once, so all answers come before the client's next message."""

    def __init__(self) -> None:
        self._create = Execute(CreateResponse())
        self._context: Sequence[AnyEntry | ItemReference] = ()
        self._items: dict[str, AnyEntry] = {}
        self._left = 0
        self._failed = False

    @property
    def waiting(self) -> bool:
        """Whether the next item that the session shows, or refuses, is for us."""
        return self._left > 0

    def ask(
        self, command: CreateResponse, context: Sequence[AnyEntry | ItemReference], ref: str | None
    ) -> list[Action]:
        """What to ask for a response with this input."""
        wanted = dict.fromkeys(item.item_id for item in context if isinstance(item, ItemReference))
        self._create, self._context, self._items = Execute(command, ref), context, {}
        self._left, self._failed = len(wanted), False
        return [Execute(RetrieveItem(item_id), ref) for item_id in wanted] or [self._whole()]

    def found(self, item: AnyEntry) -> list[Action]:
        """The session shows an item."""
        self._left -= 1
        self._items[item.id] = item
        return [] if self._left or self._failed else [self._whole()]

    def missing(self) -> bool:
        """The session has no such item; False if the client was told of another one."""
        self._left -= 1
        first, self._failed = not self._failed, True
        return first

    def _whole(self) -> Execute:
        context = (self._items[item.item_id] if isinstance(item, ItemReference) else item for item in self._context)
        command = self._create.command
        assert isinstance(command, CreateResponse)
        return Execute(replace(command, input=tuple(context)), self._create.ref)
