"""Requests to the proxy: OpenAI's chat completions, parsed, checked, and as our own LlmRequest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import msgspec

from voiceagent.errors import Refused
from voiceagent.llm.base import Caller, Effort, LlmRequest, Message, NamedTool, Role, ToolCall, ToolChoice, ToolSpec
from voiceagent.tools.schema import offerable

MODEL = "voiceagent"
"""The one model that is served."""
MOST_MESSAGES = 2_000
MOST_TOOLS = 128
MOST_USER = 256
"""Characters of `user`."""
MOST_DEPTH = 64
"""Of tables within tables, in a tool's parameters."""

Priority = Literal["live", "speculative", "background"]
_FUNCTION = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SESSION = re.compile(r"[!-~]{1,128}")
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXT_PARTS = ("text", "refusal")


class _RequestPart(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None


class _RequestFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class _RequestCall(msgspec.Struct):
    id: str
    function: _RequestFunction
    type: str = "function"


class _RequestMessage(msgspec.Struct):
    role: str
    content: str | list[_RequestPart] | None = None
    tool_calls: list[_RequestCall] | None = None
    tool_call_id: str | None = None


class _ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _ToolFunction | None = None


class _NamedFunction(msgspec.Struct):
    name: str


class _RequestToolChoice(msgspec.Struct):
    type: str
    function: _NamedFunction | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Format(msgspec.Struct):
    type: str


class _RequestBody(msgspec.Struct):
    """The keys that count. Sampling (`temperature` and the like) is the endpoints' business and passed over."""

    model: str
    messages: list[_RequestMessage]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _RequestToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    response_format: _Format | None = None
    modalities: list[str] | None = None
    functions: list[msgspec.Raw] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `usage`: the client wants the tokens at the end of a stream."""

    request: LlmRequest
    stream: bool
    usage: bool


def parse(body: bytes, caller: Caller) -> Asked:
    """`caller` is who asks as far as it is known without the body. Raises Refused in OpenAI's words."""
    try:
        asked = msgspec.json.decode(body, type=_RequestBody)
    except msgspec.ValidationError as error:
        where, _, path = str(error).rpartition(" - at `$")
        param = path.removeprefix(".").removesuffix("`") if where else None
        raise _refused(f"the body is not as it should be: {where or error}", param or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid_json", "the body is not valid JSON") from None
    _check_supported(asked)
    messages = _messages(asked.messages)
    tools = _tools(asked.tools or [])
    alone = sum(message.role != "system" for message in messages) == 1 and messages[-1].role == "user" and not tools
    caller = replace(
        caller,
        user=_user(asked.user),
        turn=sum(message.role == "user" for message in messages),
        alone=alone,
    )
    request = LlmRequest(
        messages,
        max_tokens=_max_tokens(asked),
        tools=tools,
        tool_choice=_choice(asked.tool_choice, tools),
        parallel_tools=asked.parallel_tool_calls is not False,
        effort=_effort(asked.reasoning_effort),
        caller=caller,
    )
    options = asked.stream_options
    return Asked(request, bool(asked.stream), options is not None and bool(options.include_usage))


def caller_of(tenant: str, headers: Mapping[str, str], request_id: str) -> Caller:
    """Who asks: the session by `X-Session-Id`, how urgently by `X-Priority`. Without a session each request is one of
    its own, so that it counts as somebody who waits. Raises Refused."""
    session = headers.get("x-session-id", "")
    if session and not _SESSION.fullmatch(session):
        raise _refused("X-Session-Id must be 1 to 128 printable ASCII characters without spaces", "X-Session-Id")
    priority = headers.get("x-priority", "live")
    if priority not in get_args(Priority):
        raise _refused(f"X-Priority must be one of {', '.join(get_args(Priority))}", "X-Priority")
    if priority == "background":
        return Caller(tenant=tenant)
    return Caller(session=session or request_id, tenant=tenant, speculative=priority == "speculative")


def _check_supported(asked: _RequestBody) -> None:
    if asked.model != MODEL:
        raise Refused("model_not_found", f"the model served here is {MODEL!r}", "model")
    formatted = asked.response_format is not None and asked.response_format.type != "text"
    for param, wanted in (
        ("n", asked.n is not None and asked.n != 1),
        ("stop", bool(asked.stop)),
        ("logprobs", bool(asked.logprobs)),
        ("response_format", formatted),
        ("modalities", bool(asked.modalities) and asked.modalities != ["text"]),
        ("functions", bool(asked.functions)),
    ):
        if wanted:
            raise Refused("unsupported_parameter", f"{param} is not supported here", param)
    if asked.stream_options is not None and not asked.stream:
        raise _refused("stream_options is only allowed when stream is true", "stream_options")


def _messages(sent: list[_RequestMessage]) -> tuple[Message, ...]:
    if not 0 < len(sent) <= MOST_MESSAGES:
        raise _refused(f"there must be 1 to {MOST_MESSAGES} messages", "messages")
    known: set[str] = set()
    messages = tuple(_message(message, f"messages[{index}]", known) for index, message in enumerate(sent))
    if all(message.role == "system" for message in messages):
        raise _refused("there must be a message that is not the system's", "messages")
    return messages


def _message(sent: _RequestMessage, at: str, known: set[str]) -> Message:
    """`known` are the calls made so far."""
    role = _ROLES.get(sent.role)
    if role is None:
        raise _refused(f"a role must be one of {', '.join(_ROLES)}", f"{at}.role")
    content = _content(sent.content, f"{at}.content")
    if sent.tool_calls and role != "assistant":
        raise _refused("only the assistant makes tool calls", f"{at}.tool_calls")
    calls = tuple(_call(call, f"{at}.tool_calls[{index}]") for index, call in enumerate(sent.tool_calls or []))
    if content is None and not calls:
        raise _refused("a message needs content", f"{at}.content")
    if role == "tool" and sent.tool_call_id not in known:
        raise _refused("a tool's message must answer a call made before it", f"{at}.tool_call_id")
    known.update(call.id for call in calls)
    return Message(role, content or "", calls, (sent.tool_call_id or "") if role == "tool" else "")


def _content(sent: str | list[_RequestPart] | None, at: str) -> str | None:
    if not isinstance(sent, list):
        return sent
    texts: list[str] = []
    for index, part in enumerate(sent):
        if part.type not in _TEXT_PARTS:
            raise Refused("unsupported_content", "only text is supported", f"{at}[{index}].type")
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise _refused(f"a part of type {part.type} needs its {part.type}", f"{at}[{index}]")
        texts.append(text)
    return "".join(texts)


def _call(sent: _RequestCall, at: str) -> ToolCall:
    if sent.type != "function":
        raise _refused("only calls of functions are supported", f"{at}.type")
    if not sent.id or not _FUNCTION.fullmatch(sent.function.name):
        raise _refused("a call needs an id and a function's name (letters, digits, _ and -, at most 64)", at)
    return ToolCall(sent.id, sent.function.name, sent.function.arguments)


def _tools(sent: list[_Tool]) -> tuple[ToolSpec, ...]:
    if len(sent) > MOST_TOOLS:
        raise _refused(f"there may be {MOST_TOOLS} tools at most", "tools")
    names: set[str] = set()
    tools: list[ToolSpec] = []
    for index, tool in enumerate(sent):
        at, function = f"tools[{index}]", tool.function
        if tool.type != "function" or function is None:
            raise _refused("only tools of type function are supported", f"{at}.type")
        if not _FUNCTION.fullmatch(function.name) or function.name in names:
            raise _refused("a function needs a name of its own (letters, digits, _ and -, at most 64)", at)
        if _depth(function.parameters) > MOST_DEPTH:
            raise _refused("the parameters are nested too deeply", f"{at}.function.parameters")
        names.add(function.name)
        spec = offerable(function.name, function.description, function.parameters, "a client of the proxy")
        if spec is None:
            raise _refused("the parameters must be the JSON schema of an object", f"{at}.function.parameters")
        tools.append(spec)
    return tuple(tools)


def _choice(sent: str | _RequestToolChoice | None, tools: tuple[ToolSpec, ...]) -> ToolChoice:
    if sent is None:
        return "auto"
    if isinstance(sent, _RequestToolChoice):
        name = sent.function.name if sent.type == "function" and sent.function is not None else None
        if name is None or all(tool.name != name for tool in tools):
            raise _refused("tool_choice must name one of the tools", "tool_choice")
        return NamedTool(name)
    if sent not in ("none", "auto", "required"):
        raise _refused("tool_choice must be none, auto, required or a function", "tool_choice")
    if sent == "required" and not tools:
        raise _refused("tool_choice is required, but there are no tools", "tool_choice")
    return cast(ToolChoice, sent)


def _effort(sent: str | None) -> Effort | None:
    if sent is None or sent == "none":
        return None
    if sent not in get_args(Effort):
        raise _refused(f"reasoning_effort must be one of none, {', '.join(get_args(Effort))}", "reasoning_effort")
    return cast(Effort, sent)


def _max_tokens(asked: _RequestBody) -> int | None:
    param = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
    value = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    if value is not None and not 1 <= value <= 1_000_000:
        raise _refused(f"{param} must be 1 to 1000000", param)
    return value


def _user(sent: str | None) -> str:
    user = sent or ""
    if len(user) > MOST_USER or not user.isprintable():
        raise _refused(f"user must be at most {MOST_USER} printable characters", "user")
    return user


def _depth(value: object, depth: int = 0) -> int:
    """How deep tables and lists are nested; looks no deeper than matters."""
    inner: list[object]
    match value:
        case dict():
            inner = list(value.values())
        case list():
            inner = value
        case _:
            return depth
    if depth > MOST_DEPTH:
        return depth
    return max((_depth(one, depth + 1) for one in inner), default=depth + 1)


def _refused(message: str, param: str | None) -> Refused:
    return Refused("invalid_value", message, param)
