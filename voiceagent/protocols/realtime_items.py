"""Conversation items as OpenAI Realtime writes them."""

from collections.abc import Callable
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from voiceagent.errors import Refused
from voiceagent.protocols.realtime_session import Name
from voiceagent.session.items import AnyItem, FunctionCall, FunctionOutput, Item, ItemRole, ItemStatus, Part

PART_KINDS: dict[str, Literal["text", "audio"]] = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "input_audio": "audio",
    "output_audio": "audio",
    "audio": "audio",
}
"""The short names are those of older clients."""


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


AnyWireItem = WireItem | WireCall | WireOutput


def wire_item(item: AnyItem) -> AnyWireItem:
    match item:
        case Item(id=item_id, role=role, parts=parts, status=status):
            return WireItem(id=item_id, status=status, role=role, content=[_wire_part(role, part) for part in parts])
        case FunctionCall(item_id, call_id, name, arguments, status):
            return WireCall(id=item_id, status=status, name=name, call_id=call_id, arguments=arguments)
        case FunctionOutput(item_id, call_id, output):
            return WireOutput(id=item_id, call_id=call_id, output=output)


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
    """An item of the client's. Only messages are understood, so all but `type` may be missing."""

    type: str
    id: Name | None = None
    role: ItemRole | None = None
    status: ItemStatus | None = None
    content: list[GivenPart] | None = None


def item_from(given: GivenItem, new_id: Callable[[str], str], param: str) -> Item:
    """The client's item with an id of our own if it brought none. `param` is its place in the message.
    Raises Refused."""
    if given.type != "message":
        raise Refused("unsupported_item", "Only items of type 'message' are supported.", f"{param}.type")
    if given.role is None:
        raise Refused("missing_required_parameter", f"Missing required parameter: '{param}.role'.", f"{param}.role")
    if given.content is None:
        where = f"{param}.content"
        raise Refused("missing_required_parameter", f"Missing required parameter: '{where}'.", where)
    parts = tuple(_part_from(part, given.role, f"{param}.content[{index}]") for index, part in enumerate(given.content))
    unfinished = given.role == "assistant" and given.status == "incomplete"
    return Item(given.id or new_id("item"), given.role, parts, "incomplete" if unfinished else "completed")


def _part_from(part: GivenPart, role: ItemRole, param: str) -> Part:
    if part.type == "input_image":
        raise Refused("unsupported_content", "Images are not supported.", f"{param}.type")
    kind = PART_KINDS.get(part.type)
    if kind is None or (kind == "audio" and role == "system"):
        raise Refused("invalid_value", f"Not a content type of a {role} message.", f"{param}.type")
    if kind == "text":
        if part.text is None:
            where = f"{param}.text"
            raise Refused("missing_required_parameter", f"Missing required parameter: '{where}'.", where)
        return Part("text", part.text)
    if part.audio and part.transcript is None:
        raise Refused("unsupported_content", "Audio in an item needs its transcript beside it.", f"{param}.audio")
    return Part("audio", part.transcript or "")
