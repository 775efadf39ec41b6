"""Tools as OpenAI Realtime writes them, and what they are to the session."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace
from pydantic import JsonValue

from voiceagent.errors import Refused
from voiceagent.llm import base as llm
from voiceagent.session import events
from voiceagent.session.conversation import FunctionOutput
from voiceagent.tools.schema import offerable

# Tools that the server runs, kept out of a client's sight.
#
# Clients run what they see called: agents-js whatever `response.output_item.done` shows, Pipecat whatever has
# arguments, and each would send a result for a call that is none of its business. So calls of the server's own tools,
# and their results, are told by `voiceagent.*` events only, and for the client the items around them are neighbours. Of
# a call to a server that the client has named only the result is no item of its own.

MOST = 4000
"""Items remembered: more than a conversation keeps."""


class HiddenTools:
    def __init__(self) -> None:
        self._calls: dict[str, None] = {}
        self._before: dict[str, str | None] = {}
        """The item that a client knows before each of these."""

    def take(self, event: events.Event) -> bool:
        """Whether the client is not to see what this tells of."""
        match event:
            case events.ToolCalled(call=call, by_client=False):
                self._calls[call.call_id] = None
                if call.origin is not None:
                    return False
                self._hide(call.id, event.previous_item_id)
            case events.ApprovalAsked(request=request):
                self._calls[request.call.call_id] = None
                return False
            case events.ItemAdded(item=FunctionOutput(id=item_id, call_id=call_id)) if call_id in self._calls:
                self._hide(item_id, event.previous_item_id)
            case events.ItemDone(item=FunctionOutput(id=item_id)) if item_id in self._before:
                pass
            case _:
                return False
        return True

    def known(self, previous_item_id: str | None) -> str | None:
        """The item before another, as the client sees it."""
        if previous_item_id is None:
            return None
        return self._before.get(previous_item_id, previous_item_id)

    def _hide(self, item_id: str, previous_item_id: str | None) -> None:
        self._before[item_id] = self.known(previous_item_id)
        for kept in (self._before, self._calls):
            if len(kept) > MOST:
                del kept[next(iter(kept))]


T = TypeVar("T")
Given: TypeAlias = T | UnsetType | None
"""A key of an update: left out, null or a value."""
Name = Annotated[str, Meta(min_length=1, max_length=512)]
FunctionName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
"""What every endpoint of a language model takes."""

MOST_TOOLS = 128
MOST_CHARS = 200_000
"""Of all descriptions and schemas together: some 50,000 tokens, more than any prompt should spend on them."""
MOST_LEVELS = 64
"""Of a schema: whoever encodes it again does so level by level."""


class FunctionToolParam(Struct, frozen=True, tag_field="type", tag="function"):
    """`parameters` is the JSON schema of its arguments, passed on as it came."""

    name: FunctionName
    description: Given[str] = UNSET
    parameters: Raw | UnsetType = UNSET


class ToolFilter(Struct, frozen=True, omit_defaults=True):
    read_only: bool | UnsetType = UNSET
    tool_names: list[str] | UnsetType = UNSET


class ApprovalFilter(Struct, frozen=True, omit_defaults=True):
    always: ToolFilter | UnsetType = UNSET
    never: ToolFilter | UnsetType = UNSET


class McpServerParam(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="mcp"):
    """`authorization` and `headers` hold the client's secrets and are never shown."""

    server_label: Name
    server_url: Given[str] = UNSET
    server_description: Given[str] = UNSET
    allowed_tools: list[str] | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    authorization: Given[str] = UNSET
    headers: Given[dict[str, str]] = UNSET


AnyTool = FunctionToolParam | McpServerParam
Tools = Annotated[list[AnyTool], Meta(max_length=MOST_TOOLS)]


class FunctionChoice(Struct, frozen=True, tag_field="type", tag="function"):
    name: FunctionName


class McpChoice(Struct, frozen=True, tag_field="type", tag="mcp"):
    server_label: Name
    name: str | None = None


ToolChoice = Literal["auto", "none", "required"] | FunctionChoice | McpChoice


def functions(tools: Sequence[AnyTool], param: str) -> tuple[FunctionToolParam, ...]:
    """The tools of an update or a response, if all of them can be offered to a model. `param` is their place in the
    message. Raises Refused."""
    found: dict[str, FunctionToolParam] = {}
    for index, tool in enumerate(tools):
        if isinstance(tool, McpServerParam):
            message = (
                "MCP servers are named in this server's own configuration, or where it allows that, in session.tools."
            )
            raise Refused("unsupported_tool", message, f"{param}[{index}].type")
        if tool.name in found:
            raise Refused("invalid_value", "Two tools have the same name.", f"{param}[{index}].name")
        found[tool.name] = tool
    if sum(len(tool.description or "") + len(_schema(tool)) for tool in found.values()) > MOST_CHARS:
        raise Refused("tools_too_large", f"Tools may have {MOST_CHARS} characters in all.", param)
    specs(tuple(found.values()), param)
    return tuple(map(_alone, found.values()))


def specs(tools: Sequence[FunctionToolParam], param: str = "tools") -> tuple[llm.ToolSpec, ...]:
    """What a model is told of them. Raises Refused for a schema that is none."""
    return tuple(_spec(tool, f"{param}[{index}].parameters") for index, tool in enumerate(tools))


def choice(given: ToolChoice) -> llm.ToolChoice:
    """A client that has no MCP tools can only have meant some tool."""
    match given:
        case FunctionChoice(name=name):
            return llm.NamedTool(name)
        case McpChoice(name=str(name)):
            return llm.NamedTool(name)
        case McpChoice():
            return "required"
        case _:
            return given


def _alone(tool: FunctionToolParam) -> FunctionToolParam:
    """The tool without the message it came in, which its schema would keep in memory."""
    return tool if isinstance(tool.parameters, UnsetType) else replace(tool, parameters=tool.parameters.copy())


def _schema(tool: FunctionToolParam) -> bytes:
    return b"" if isinstance(tool.parameters, UnsetType) else bytes(tool.parameters)


def _spec(tool: FunctionToolParam, param: str) -> llm.ToolSpec:
    parameters: dict[str, JsonValue] | None = None
    if schema := _schema(tool):
        parameters = _decoded(schema, param)
    spec = offerable(tool.name, tool.description or "", parameters, "a client")
    if spec is None:
        raise Refused("invalid_value", "Not the JSON schema of an object.", param)
    return spec


def _decoded(schema: bytes, param: str) -> dict[str, JsonValue] | None:
    try:
        value: JsonValue = msgspec.json.decode(schema)
    except (ValueError, RecursionError):
        raise Refused("invalid_value", "Not a JSON schema.", param) from None
    if value is not None and not isinstance(value, dict):
        raise Refused("invalid_type", "A JSON schema is an object.", param)
    if _deeper(value, MOST_LEVELS):
        raise Refused("invalid_value", f"A JSON schema has at most {MOST_LEVELS} levels.", param)
    return value


def _deeper(value: JsonValue, levels: int) -> bool:
    """Whether it has more levels than that."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)
