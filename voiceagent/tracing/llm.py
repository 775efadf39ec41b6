"""Tracing layer: a span of each request to the language model, with the GenAI attribute names, and in it an event for
each attempt at an endpoint."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import httpx
import msgspec

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, Message, TextDelta, Thinking, ToolCall
from voiceagent.llm.failover.options import EndpointOptions
from voiceagent.llm.failover.reports import Observer, Outcome
from voiceagent.llm.layers import LlmLayer
from voiceagent.tracing.spans import RequestSpan, TraceRecorder

PROVIDERS = {"azure": "azure.ai.openai", "gemini": "gcp.gemini"}
"""The names of the conventions, where they differ from the dialect's."""
ADDRESSES = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
MOST_CONTENT = 100_000
"""Characters of words that a span may hold; what is longer is left out."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint in the conventions' words."""

    provider: str
    model: str
    address: str
    port: int | None

    @classmethod
    def of(cls, dialect: str, options: Mapping[str, object]) -> "Target":
        """`dialect` is an engine's name or "azure", `options` are that engine's, as they are configured."""
        url = httpx.URL(str(options.get("base_url") or ADDRESSES.get(dialect, "")))
        port = url.port or {"https": 443, "http": 80}.get(url.scheme)
        if options.get("azure_api_version"):
            dialect = "azure"
        return cls(PROVIDERS.get(dialect, dialect), str(options.get("model") or ""), url.host, port)


@runtime_checkable
class HasEndpoints(Protocol):
    """An engine over many endpoints."""

    @property
    def endpoints(self) -> tuple[EndpointOptions, ...]: ...

    def subscribe(self, observer: Observer) -> None: ...


class TracedLlm(LlmLayer):
    """An LlmEngine that makes a span of each request."""

    def __init__(
        self, inner: LlmEngine, tracing: TraceRecorder, target: Target, whole: LlmEngine | None = None
    ) -> None:
        """`whole` is the engine of which `inner` is a part, if it is one. `target` is what it asks, unless it has
        endpoints."""
        super().__init__(inner)
        self.tracing = tracing
        self._targets: Mapping[str, Target] = {"": target}
        engine = whole or inner
        if isinstance(engine, HasEndpoints):
            self._targets = {one.name: Target.of(one.dialect, one.dialect_options) for one in engine.endpoints}
            engine.subscribe(self.observe)
        self._under_way: dict[int, _RequestTrace] = {}
        """By the identity of their callers, which each request has of its own."""

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does."""
        request = replace(request, caller=replace(request.caller))
        key = id(request.caller)
        trace = self._under_way[key] = _RequestTrace(request, self._targets, self.tracing.content)
        try:
            async with aclosing(self._inner.reply(request)) as events:
                async for event in events:
                    trace.event(event)
                    yield event
        except EngineError as error:
            trace.failed(error)
            raise
        finally:
            self._under_way.pop(key, None)
            self.tracing.request(trace.end())

    def observe(self, outcome: Outcome) -> None:
        """An attempt at an endpoint is over: an event of its request's span."""
        if (trace := self._under_way.get(id(outcome.caller))) is not None:
            trace.attempt(outcome)


class _RequestTrace:
    """What a span will hold, gathered while the answer comes."""

    def __init__(self, request: LlmRequest, targets: Mapping[str, Target], content: bool) -> None:
        self._targets, self._content = targets, content
        self._now = asyncio.get_running_loop().time
        began = self._now()
        self._span = RequestSpan(request.caller, "chat", began, began, {**_asked(request)})
        self._outcome = "cancelled"
        self._first: float | None = None
        self._text: list[str] = []
        self._calls: list[ToolCall] = []
        if content:
            self._words("gen_ai.input.messages", [_message(message) for message in request.messages])

    def event(self, event: LlmEvent) -> None:
        if self._first is None and not isinstance(event, Thinking):
            self._first = self._now() - self._span.began
        match event:
            case TextDelta(text) if self._content:
                self._text.append(text)
            case ToolCall() if self._content:
                self._calls.append(event)
            case Completed():
                self._completed(event)

    def attempt(self, outcome: Outcome) -> None:
        attributes: dict[str, str | float] = {
            "voiceagent.endpoint": outcome.endpoint,
            "voiceagent.kind": "hedge" if outcome.hedged else "resume" if outcome.resumed else "first",
            "voiceagent.code": outcome.code,
            "voiceagent.seconds": outcome.seconds,
        }
        if outcome.ttft is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = outcome.ttft
        self._span.events.append(("voiceagent.attempt", self._now(), attributes))

    def failed(self, error: EngineError) -> None:
        self._outcome = self._span.error = error.code
        self._span.attributes["error.type"] = error.code

    def end(self) -> RequestSpan:
        span = self._span
        span.ended = self._now()
        span.attributes["voiceagent.outcome"] = self._outcome
        if self._first is not None:
            span.attributes["gen_ai.response.time_to_first_chunk"] = self._first
        if self._content and (self._text or self._calls):
            answer = Message("assistant", "".join(self._text), tuple(self._calls))
            self._words("gen_ai.output.messages", [{**_message(answer), "finish_reason": self._outcome}])
        return span

    def _completed(self, end: Completed) -> None:
        self._outcome = end.reason
        target = self._targets.get(end.endpoint)
        attributes = self._span.attributes
        attributes["gen_ai.response.finish_reasons"] = [end.reason]
        attributes["gen_ai.usage.input_tokens"] = end.input_tokens
        attributes["gen_ai.usage.output_tokens"] = end.output_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = end.cached_tokens
        attributes["voiceagent.cost"] = end.cost
        attributes["voiceagent.endpoint"] = end.endpoint
        if target is None:
            return
        self._span.name = f"chat {target.model}".strip()
        for name, value in (
            ("gen_ai.provider.name", target.provider),
            ("gen_ai.system", target.provider),  # the older name of it, which many tools still look for
            ("gen_ai.request.model", target.model),
            ("server.address", target.address),
            ("server.port", target.port),
        ):
            if value:
                attributes[name] = value

    def _words(self, name: str, messages: list[dict[str, object]]) -> None:
        try:
            text = msgspec.json.encode(messages).decode()
        except UnicodeEncodeError:  # half a surrogate pair
            return
        if len(text) <= MOST_CONTENT:
            self._span.attributes[name] = text


def _asked(request: LlmRequest) -> dict[str, str | int | bool]:
    caller = request.caller
    attributes: dict[str, str | int | bool] = {"gen_ai.operation.name": "chat", "gen_ai.request.stream": True}
    if caller.session:
        attributes["gen_ai.conversation.id"] = caller.session
    if caller.tenant:
        attributes["voiceagent.tenant"] = caller.tenant
    if request.max_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = request.max_tokens
    attributes["voiceagent.turn"] = caller.turn
    attributes["voiceagent.speculative"] = caller.speculative
    return attributes


def _message(message: Message) -> dict[str, object]:
    """In the conventions' shape."""
    parts: list[dict[str, object]] = []
    if message.role == "tool":
        parts.append({"type": "tool_call_response", "id": message.tool_call_id, "response": message.content})
    elif message.content:
        parts.append({"type": "text", "content": message.content})
    parts += [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    return {"role": message.role, "parts": parts}
