"""The OpenAI chat completion format without I/O: the request's body and the streamed answer."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec
from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEvent, LlmRequest, Message, NamedTool, TextDelta, Thinking, ToolCall, ToolSpec
from voiceagent.llm.dialects.base import Reason, Usage, refused_field
from voiceagent.llm.dialects.calls import CallAssembler, arguments_object, arguments_text
from voiceagent.llm.dialects.recall import Json, Recall
from voiceagent.llm.dialects.thinking import Split, ThinkFilter
from voiceagent.llm.http import HttpOptions
from voiceagent.llm.refusal import ServerError, streamed_error

OPTIONAL = ("stream_options", "parallel_tool_calls", "reasoning_effort", "temperature")
"""Fields that an answer can do without, by the name under which servers refuse them."""

_REASONS: Mapping[str, Reason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


class _Part(msgspec.Struct):
    """Mistral's reasoning models send lists of these instead of text."""

    type: str = ""
    text: str = ""
    thinking: "list[_Part] | None" = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _CachedTokens(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's word for the cached tokens."""
    cached_tokens: int | None = None
    """Moonshot's."""


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None
    """Moonshot's place for it."""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: ServerError | str | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    """The dialect of OpenAI and of all servers that call themselves compatible with it, whose differences `without`,
    `max_tokens_field` and `wants_reasoning` are."""

    options: HttpOptions
    url: str
    probe: str
    key_header: str = "Authorization"
    without: frozenset[str] = frozenset()
    max_tokens_field: str = "max_tokens"
    wants_reasoning: bool = False
    """DeepSeek refuses a tool call in a prompt without the reasoning that led to it."""
    recall: Recall = field(default_factory=Recall)

    def headers(self, key: str) -> dict[str, str]:
        if not key:
            return {}
        return {self.key_header: f"Bearer {key}" if self.key_header == "Authorization" else key}

    def body(self, request: LlmRequest) -> Json:
        options = self.options
        body: Json = {"model": options.model, "messages": [self._message(message) for message in request.messages]}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        if options.temperature is not None:
            body["temperature"] = options.temperature
        max_tokens = options.max_tokens if request.max_tokens is None else request.max_tokens
        if max_tokens is not None:
            body[self.max_tokens_field] = max_tokens
        if request.effort is not None:
            body["reasoning_effort"] = request.effort
        if request.tools:
            body |= {"tools": [_tool(tool) for tool in request.tools], "parallel_tool_calls": request.parallel_tools}
            match request.tool_choice:
                case NamedTool(name):
                    body["tool_choice"] = {"type": "function", "function": {"name": name}}
                case "none" | "required" as choice:
                    body["tool_choice"] = choice
        return {name: value for name, value in body.items() if name not in self.without}

    def mended(self, refusal: bytes, sent: Mapping[str, JsonValue]) -> "tuple[str, Chat] | None":
        if (name := refused_field(refusal, sent, OPTIONAL)) is not None and name not in self.without:
            return name, replace(self, without=self.without | {name})
        if self.max_tokens_field == "max_tokens" in sent and b"max_tokens" in refusal:
            return "max_tokens", replace(self, max_tokens_field="max_completion_tokens")
        if not self.wants_reasoning and b"reasoning_content" in refusal:
            return "tool calls without reasoning", replace(self, wants_reasoning=True)
        return None

    def reader(self) -> "ChatReader":
        return ChatReader(self.recall)

    def _message(self, message: Message) -> Json:
        said: Json = {"role": message.role, "content": message.content}
        if message.role == "tool":
            said["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            said["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _object_text(call)}}
                for call in message.tool_calls
            ]
            said |= self.recall.of(message.tool_calls[0].id)
            if self.wants_reasoning:
                said.setdefault("reasoning_content", " ")
        return said


class ChatReader:
    """`<think>` blocks in the text are told apart from it."""

    def __init__(self, recall: Recall) -> None:
        self.reason: Reason | None = None
        self.ended = False
        self.usage = Usage()
        self._recall = recall
        self._filter = ThinkFilter()
        self._calls = CallAssembler()
        self._reasoning: list[str] = []
        """In the field `reasoning_content`, which DeepSeek and Moonshot want to see again."""

    def read(self, data: str) -> Iterator[LlmEvent]:
        if data.strip() == "[DONE]":
            self.ended = True
            return
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise EngineError("llm", "bad_response", "the language model sent an event that is no chunk") from None
        if chunk.error is not None and self.reason is None:
            raise streamed_error(chunk.error)
        if chunk.usage is not None:
            self._count(chunk.usage)
        for choice in chunk.choices or ():
            if choice.usage is not None:
                self._count(choice.usage)
            if choice.delta is not None:
                yield from self._delta(choice.delta)
            if choice.finish_reason:
                self.reason = _REASONS.get(choice.finish_reason, "stop")
                yield from self._take_calls()

    def rest(self) -> Iterator[LlmEvent]:
        yield from _events(self._filter.finish())
        if not self._calls.whole:
            raise EngineError("llm", "bad_response", "the language model's stream ended within a tool call")
        yield from self._take_calls()

    def _delta(self, delta: _Delta) -> Iterator[LlmEvent]:
        if thought := delta.reasoning_content or delta.reasoning:
            yield Thinking(thought)
        if delta.reasoning_content:
            self._reasoning.append(delta.reasoning_content)
        if isinstance(delta.content, str):
            yield from _events(self._filter.push(delta.content))
        for part in delta.content if isinstance(delta.content, list) else ():
            yield from _events(Split(part.text, "".join(inner.text for inner in part.thinking or ())))
        for call in delta.tool_calls or ():
            function = call.function or _Function()
            self._calls.add(call.index, call.id or "", function.name or "", arguments_text(function.arguments))
            yield Thinking()

    def _take_calls(self) -> Iterator[LlmEvent]:
        for number, call in enumerate(self._calls.take()):
            if number == 0 and self._reasoning:
                self._recall.keep(call.id, {"reasoning_content": "".join(self._reasoning)})
            yield call

    def _count(self, usage: _Usage) -> None:
        details = usage.prompt_tokens_details
        cached = details.cached_tokens if details is not None else None
        self.usage = Usage(
            usage.prompt_tokens or 0,
            usage.completion_tokens or 0,
            cached or usage.prompt_cache_hit_tokens or usage.cached_tokens or 0,
        )


def _events(split: Split) -> Iterator[LlmEvent]:
    if split.thought:
        yield Thinking(split.thought)
    if split.spoken:
        yield TextDelta(split.spoken)


def _tool(tool: ToolSpec) -> Json:
    parameters: Json = dict(tool.parameters or {"type": "object", "properties": {}})
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }


def _object_text(call: ToolCall) -> str:
    return json.dumps(arguments_object(call), ensure_ascii=False)
