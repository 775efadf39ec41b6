"""The OpenAI chat completion format without I/O: the request's body and the streamed answer."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEvent, LlmRequest, Message, NamedTool, TextDelta, Thinking, ToolCall, ToolSpec
from voiceagent.llm.dialects.base import Usage, refused_field
from voiceagent.llm.dialects.calls import CallAssembler, arguments_object
from voiceagent.llm.dialects.endings import Ending, ending_of
from voiceagent.llm.dialects.layout import ANY_ORDER, MessageLayout
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.http import HttpOptions
from voiceagent.llm.lenient import (
    Json,
    field,
    first_count,
    id_of,
    index_of,
    json_text,
    object_of,
    objects_of,
    text_of,
    word_of,
)

OPTIONAL = ("stream_options", "parallel_tool_calls", "reasoning_effort", "temperature")
"""Fields that an answer can do without, by the name under which servers refuse them."""


@dataclass(frozen=True, slots=True)
class ChatCompletions:
    """The dialect of OpenAI and of all servers that call themselves compatible with it, whose differences `without`,
    `max_tokens_field`, `wants_reasoning` and `layout` are."""

    options: HttpOptions
    url: str
    probe: str
    key_header: str = "Authorization"
    without: frozenset[str] = frozenset()
    max_tokens_field: str = "max_tokens"
    wants_reasoning: bool = False
    """DeepSeek refuses a tool call in a prompt without the reasoning that led to it."""
    layout: MessageLayout = ANY_ORDER
    recall: Recall = dataclasses.field(default_factory=Recall)

    def headers(self, key: str) -> dict[str, str]:
        if not key:
            return {}
        return {self.key_header: f"Bearer {key}" if self.key_header == "Authorization" else key}

    def body(self, request: LlmRequest) -> Json:
        options = self.options
        body: Json = {"model": options.model, "messages": [*map(self._message, self.layout.of(request.messages))]}
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

    def mended(self, refusal: bytes, sent: Mapping[str, JsonValue]) -> "tuple[str, ChatCompletions] | None":
        if (name := refused_field(refusal, sent, OPTIONAL)) is not None and name not in self.without:
            return name, replace(self, without=self.without | {name})
        if self.max_tokens_field == "max_tokens" in sent and b"max_tokens" in refusal:
            return "max_tokens", replace(self, max_tokens_field="max_completion_tokens")
        if (laid_out := self.layout.mended(refusal)) is not None:
            return laid_out[0], replace(self, layout=laid_out[1])
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
    """The reader of one answer. Of several choices the first one is read."""

    def __init__(self, recall: Recall) -> None:
        self.ending: Ending | None = None
        self.word = ""
        self.ended = False
        self.usage = Usage()
        self._recall = recall
        self._calls = CallAssembler()
        self._reasoning: list[str] = []
        """In the field `reasoning_content`, which DeepSeek and Moonshot want to see again."""
        self._choice: int | None = None
        self._streamed = False
        """Parts have come, so that a whole message says the same once more."""

    def read(self, event: Json) -> Iterator[LlmEvent]:
        if usage := event.get("usage") or object_of(event.get("x_groq")).get("usage"):
            self._count(object_of(usage))
        for choice in objects_of(event.get("choices")):
            if usage := choice.get("usage"):
                self._count(object_of(usage))
            index = index_of(choice.get("index")) or 0
            self._choice = index if self._choice is None else self._choice
            if index != self._choice:
                continue
            delta = choice.get("delta")
            if not delta and not self._streamed:
                delta = field(choice, "message", "text")
            elif delta:
                self._streamed = True
            yield from self._delta(delta if isinstance(delta, dict) else {"content": delta})
            word = word_of(choice.get("finish_reason"))
            if (ending := ending_of(word)) is not None:
                self.ending, self.word = ending, word

    def rest(self) -> Iterator[LlmEvent]:
        if self.ending is None and not self._calls.whole:
            raise EngineError("llm", "bad_response", "the language model's stream ended within a tool call")
        for number, call in enumerate(self._calls.take()):
            if number == 0 and self._reasoning:
                self._recall.keep(call.id, {"reasoning_content": "".join(self._reasoning)})
            yield call

    def _delta(self, delta: Json) -> Iterator[LlmEvent]:
        reasoning = text_of(delta.get("reasoning_content"))
        if thought := reasoning or text_of(field(delta, "reasoning", "thinking")):
            yield Thinking(thought)
        if reasoning:
            self._reasoning.append(reasoning)
        content = delta.get("content")
        for part in content if isinstance(content, list) else [content]:
            yield from _of_part(part)
        if refusal := text_of(delta.get("refusal")):
            yield TextDelta(refusal)
        for call in (*objects_of(delta.get("tool_calls")), *objects_of(delta.get("function_call"))):
            function = object_of(call.get("function")) or call
            name, arguments = function.get("name"), function.get("arguments")
            self._calls.add(index_of(call.get("index")), id_of(call.get("id")), word_of(name), json_text(arguments))
            yield Thinking()

    def _count(self, usage: Json) -> None:
        details = object_of(usage.get("prompt_tokens_details"))
        counted = Usage(
            first_count(usage, "prompt_tokens", "input_tokens"),
            first_count(usage, "completion_tokens", "output_tokens"),
            first_count(details, "cached_tokens") or first_count(usage, "prompt_cache_hit_tokens", "cached_tokens"),
        )
        if counted.input or counted.output:
            self.usage = counted


def _of_part(part: JsonValue) -> Iterator[LlmEvent]:
    """Mistral's reasoning models send lists of parts instead of text."""
    if isinstance(part, dict) and ("thinking" in part or "reason" in word_of(part.get("type"))):
        yield Thinking(text_of(field(part, "thinking", "reasoning")) or text_of(part))
    elif text := text_of(part):
        yield TextDelta(text)


def _tool(tool: ToolSpec) -> Json:
    parameters: Json = dict(tool.parameters or {"type": "object", "properties": {}})
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }


def _object_text(call: ToolCall) -> str:
    return json.dumps(arguments_object(call), ensure_ascii=False)
