"""Anthropic's messages API (`POST /v1/messages`), and the servers that speak it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from pydantic import Field, JsonValue

from voiceagent.llm.base import Effort, LlmRequest, Message, NamedTool, ToolSpec
from voiceagent.llm.dialects.anthropic_stream import MessagesReader
from voiceagent.llm.dialects.base import alternating, instructions, refused_field
from voiceagent.llm.dialects.calls import arguments_object
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.http import HttpOptions, key_from
from voiceagent.llm.lenient import Json
from voiceagent.llm.remote import RemoteLlm
from voiceagent.models.store import ModelStore
from voiceagent.section import KeySecret, WebAddress

ANTHROPIC_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
MAX_TOKENS = 1024
"""The API wants a limit; this is about seven minutes of speech."""
OPTIONAL = ("temperature",)

BUDGETS: Mapping[Effort, int] = {"low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768}
"""Tokens to think with; 1,024 is the least the API takes. `minimal` is not to think."""
EFFORTS: Mapping[Effort, str] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
"""For models that refuse budgets and take an effort."""

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")


class AnthropicLlmOptions(HttpOptions):
    """Anthropic's messages protocol."""

    home: ClassVar[str] = ANTHROPIC_URL
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"

    base_url: WebAddress = Field(default_factory=lambda: os.environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_URL)
    """The endpoint; `ANTHROPIC_BASE_URL`, or Anthropic's own, without one."""
    api_key: KeySecret | None = Field(default_factory=lambda: key_from("ANTHROPIC_API_KEY"))
    """The key; `ANTHROPIC_API_KEY` without one."""
    model: str = Field(default="claude-haiku-4-5", min_length=1)
    """The model to ask for."""
    prompt_cache: bool = False
    """Marks tools and instructions to be kept by the server, which pays where they are long."""


class AnthropicLlm(RemoteLlm):
    Options = AnthropicLlmOptions

    def __init__(self, options: AnthropicLlmOptions, models: ModelStore) -> None:
        super().__init__(options, Messages(options))


@dataclass(frozen=True, slots=True)
class Messages:
    """The dialect. `thinking` are the ways left to ask for an effort: older models refuse `adaptive`, newer ones
    `budget`."""

    options: AnthropicLlmOptions
    without: frozenset[str] = frozenset()
    thinking: tuple[str, ...] = ("budget", "adaptive", "none")
    recall: Recall = field(default_factory=Recall)

    @property
    def url(self) -> str:
        return f"{self._start}/messages"

    @property
    def probe(self) -> str:
        return f"{self._start}/models"

    @property
    def _start(self) -> str:
        return f"{self.options.base_url.removesuffix('/v1')}/v1"

    def headers(self, key: str) -> dict[str, str]:
        version = {"anthropic-version": VERSION}
        return {"x-api-key": key, **version} if key else version

    def body(self, request: LlmRequest) -> Json:
        options = self.options
        limit = request.max_tokens or options.max_tokens or MAX_TOKENS
        turns = alternating(request.messages, self._parts)
        body: Json = {"model": options.model, "max_tokens": limit, "stream": True}
        body["messages"] = [{"role": side, "content": _ordered(parts)} for side, parts in turns]
        if system := instructions(request.messages):
            text: Json = {"type": "text", "text": system}
            if options.prompt_cache:
                text["cache_control"] = {"type": "ephemeral"}
            body["system"] = [text]
        if request.tools:
            body |= {"tools": [_tool(tool) for tool in request.tools], "tool_choice": self._choice(request)}
        elif called := sorted({call.name for message in request.messages for call in message.tool_calls}):
            # Calls in the messages without any tools are refused by some servers.
            body |= {"tools": [_tool(ToolSpec(name, "", {"type": "object"})) for name in called]}
            body |= {"tool_choice": {"type": "none"}}
        thinking = self._thinking(request, limit)
        if options.temperature is not None and not thinking and "temperature" not in self.without:
            body["temperature"] = options.temperature  # thinking goes with no other than the default
        return body | thinking

    def mended(self, refusal: bytes, sent: Mapping[str, JsonValue]) -> "tuple[str, Messages] | None":
        words = (b"thinking", b"budget_tokens", b"output_config", b"effort")
        if "thinking" in sent and any(word in refusal for word in words) and len(self.thinking) > 1:
            return f"thinking by {self.thinking[0]}", replace(self, thinking=self.thinking[1:])
        if (name := refused_field(refusal, sent, OPTIONAL)) is not None and name not in self.without:
            return name, replace(self, without=self.without | {name})
        return None

    def reader(self) -> MessagesReader:
        return MessagesReader(self.recall)

    def _parts(self, message: Message) -> list[Json]:
        """Blank text is refused by the API, as are blanks at the end of a beginning it is to continue."""
        text: list[Json] = [{"type": "text", "text": message.content.rstrip()}] if message.content.strip() else []
        if message.role == "tool":
            return [{"type": "tool_result", "tool_use_id": _id(message.tool_call_id), "content": [*text]}]
        calls: list[Json] = [
            {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": arguments_object(call)}
            for call in message.tool_calls
        ]
        return [*self._thoughts(message), *text, *calls]

    def _thoughts(self, message: Message) -> list[Json]:
        """The signed thinking before a message's tool calls, where it is known."""
        kept = self.recall.of(message.tool_calls[0].id).get("thinking") if message.tool_calls else None
        return [block for block in kept if isinstance(block, dict)] if isinstance(kept, list) else []

    def _choice(self, request: LlmRequest) -> Json:
        match request.tool_choice:
            case "none":
                return {"type": "none"}
            case NamedTool(name):
                choice: Json = {"type": "tool", "name": name}
            case "required":
                choice = {"type": "any"}
            case _:
                choice = {"type": "auto"}
        return choice if request.parallel_tools else {**choice, "disable_parallel_tool_use": True}

    def _thinking(self, request: LlmRequest, limit: int) -> Json:
        """The limit counts the thinking too, so that comes on top of it."""
        way, effort = self.thinking[0], request.effort
        if way == "none" or effort is None or effort not in BUDGETS or not self._may_think(request):
            return {}
        total = limit + BUDGETS[effort]
        if way == "budget":
            return {"thinking": {"type": "enabled", "budget_tokens": BUDGETS[effort]}, "max_tokens": total}
        return {
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": EFFORTS[effort]},
            "max_tokens": total,
        }

    def _may_think(self, request: LlmRequest) -> bool:
        """Neither where a call is forced nor where the thinking before the last calls is unknown does the API allow
        it."""
        if request.tools and request.tool_choice not in ("auto", "none"):
            return False
        if request.messages and request.messages[-1].role == "tool":
            calling = [message for message in request.messages if message.tool_calls]
            return bool(calling and self._thoughts(calling[-1]))
        return True


def _ordered(parts: list[Json]) -> list[JsonValue]:
    """Results first: they must follow the calls at once, even if the user spoke meanwhile."""
    return [*sorted(parts, key=lambda part: part["type"] != "tool_result")]


def _tool(tool: ToolSpec) -> Json:
    schema: Json = dict(tool.parameters or {"type": "object", "properties": {}})
    described: Json = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": schema}


def _id(call_id: str) -> str:
    """Other vendors' ids may have characters that the API refuses."""
    return _NOT_IN_IDS.sub("_", call_id)
