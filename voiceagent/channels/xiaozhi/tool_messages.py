"""Messages about a device's tools and their results, and what a language model is shown of them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import Raw, Struct
from pydantic import JsonValue

from voiceagent.channels.xiaozhi.messages import shortened
from voiceagent.llm.base import ToolSpec
from voiceagent.tools.schema import note, offerable

MAX_TOOL_BYTES = 8_000
"""A device's page of tools is shorter."""
MAX_OUTPUT = 8_000
"""Bytes of a result that the model is given."""
USERS_ONLY = frozenset(
    {
        "self.get_system_info",
        "self.reboot",
        "self.upgrade_firmware",
        "self.screen.get_info",
        "self.screen.snapshot",
        "self.screen.preview_image",
        "self.assets.set_download_url",
    }
)
"""Never the model's, whatever a device says of them."""
_TOOL_NAME = re.compile(r'"name"\s*:\s*"([^"\\]{1,100})"')
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME = 64
_BARE_ERROR = re.compile(r'"id":\s*(\d{1,9}),\s*"error":\s*\{\s*"message":\s*"(.{0,4000})"\s*\}', re.DOTALL)


class ServerInfo(Struct, frozen=True):
    name: str = ""
    version: str = ""


class Annotations(Struct, frozen=True):
    audience: list[str] | None = None


class DeviceToolDescription(Struct, frozen=True):
    name: str
    description: str | None = None
    inputSchema: Raw = Raw(b"{}")  # noqa: N815 - as it is on the wire
    annotations: Annotations | None = None


class Content(Struct, frozen=True):
    type: str = "text"
    text: str = ""
    image: str = ""


class ResultBody(Struct, frozen=True):
    """All that a device's results may hold."""

    serverInfo: ServerInfo | None = None  # noqa: N815
    tools: list[Raw] | None = None
    nextCursor: str | None = None  # noqa: N815
    content: list[Content] | None = None
    isError: bool = False  # noqa: N815


class JsonRpcError(Struct, frozen=True):
    message: str = ""


class _JsonRpcHead(Struct, frozen=True):
    id: int | None = None


class DeviceAnswer(Struct, frozen=True):
    id: int | None = None
    result: ResultBody | None = None
    error: JsonRpcError | None = None


_ANSWER = msgspec.json.Decoder(DeviceAnswer)
_HEAD = msgspec.json.Decoder(_JsonRpcHead)
_TOOL = msgspec.json.Decoder(DeviceToolDescription)


@dataclass(frozen=True, slots=True)
class DeviceTool:
    """`name` is the device's own, with dots; `spec` is what the model is offered."""

    name: str
    spec: ToolSpec


def read_answer(payload: bytes | Raw) -> DeviceAnswer:
    """Raises ValueError for what is no answer at all. One that is of a wrong shape is a failure."""
    try:
        return _ANSWER.decode(payload)
    except msgspec.ValidationError:
        return DeviceAnswer(_HEAD.decode(payload).id, error=JsonRpcError("the answer could not be read."))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def bare_error(text: str) -> DeviceAnswer | None:
    """The firmware does not escape what is wrong: with quotes in it the message is no JSON."""
    found = _BARE_ERROR.search(text) if '"mcp"' in text[:200] else None
    return DeviceAnswer(int(found[1]), error=JsonRpcError(found[2])) if found else None


def read_tool(raw: Raw) -> DeviceToolDescription | None:
    """A tool for the model; None for one that is for the user only, or is none."""
    if len(bytes(raw)) > MAX_TOOL_BYTES:
        _left_out(raw, "it is too long")
        return None
    try:
        tool = _TOOL.decode(raw)
        schema = msgspec.json.decode(tool.inputSchema)
    except (ValueError, RecursionError):
        _left_out(raw, "it cannot be read")
        return None
    if schema and not isinstance(schema, dict):
        _left_out(raw, "its schema is no object")
        return None
    audience = (tool.annotations.audience if tool.annotations is not None else None) or []
    for_users = tool.name in USERS_ONLY or ("user" in audience and "assistant" not in audience)
    return None if for_users or not tool.name else tool


def _left_out(raw: Raw, why: str) -> None:
    found = _TOOL_NAME.search(bytes(raw)[:MAX_TOOL_BYTES].decode("utf-8", "replace"))
    note("a device", found[1] if found else "?", f"{why}: left out")


def named(tools: Iterable[DeviceToolDescription]) -> tuple[DeviceTool, ...]:
    """Each with a name that model endpoints take: letters, digits, `_` and `-`, at most 64, no two the same. One whose
    schema cannot be mended is left out."""
    found: dict[str, DeviceTool] = {}
    for tool in tools:
        plain = _NOT_IN_NAMES.sub("_", tool.name)[:_MAX_NAME]
        name, number = plain, 2
        while name in found:
            name, number = f"{plain[: _MAX_NAME - 3]}_{number}", number + 1
        spec = offerable(name, tool.description, msgspec.json.decode(tool.inputSchema) or {}, "a device")
        if spec is not None:
            found[name] = DeviceTool(tool.name, spec)
    return tuple(found.values())


def fit(arguments: Mapping[str, object], schema: Mapping[str, JsonValue]) -> dict[str, object]:
    """Arguments in the types of the schema, where it is clear what is meant: the firmware takes "40" for no number."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return dict(arguments)
    fitted: dict[str, object] = {}
    for name, value in arguments.items():
        about = properties.get(name)
        fitted[name] = _fitted(value, about.get("type") if isinstance(about, dict) else None)
    return fitted


def _fitted(value: object, kind: JsonValue) -> object:
    match kind, value:
        case ("integer", float()) if value.is_integer():
            return int(value)
        case ("integer", str()) if re.fullmatch(r"[+-]?[0-9]{1,9}", value.strip()):
            return int(value)
        case ("boolean", str()) if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case ("string", bool()):
            return "true" if value else "false"
        case ("string", int() | float()):
            return str(value)
    return value


def outcome(answer: DeviceAnswer) -> str:
    """What the model is told of a call. A photo's answer comes as `image`, a JSON text."""
    if answer.error is not None:
        return shortened(f"Error: {answer.error.message or 'the call failed.'}", MAX_OUTPUT)
    result = answer.result or ResultBody()
    text = "\n".join(part.text or part.image for part in result.content or [] if part.text or part.image)
    return shortened(f"Error: {text}" if result.isError else text or "Done.", MAX_OUTPUT)
