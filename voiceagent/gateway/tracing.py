"""OpenTelemetry spans with the GenAI attribute names: one a request, with an event for each attempt at an endpoint.

The package `opentelemetry-api` is optional. Where spans go, the application says, or `opentelemetry-instrument`; where
nobody does, they cost nothing.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import httpx
import msgspec
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, Message, TextDelta, Thinking, ToolCall
from voiceagent.llm.failover.options import EndpointOptions
from voiceagent.llm.failover.outcome import Outcome
from voiceagent.section import Section

# What `[llm.telemetry]` says.


class TelemetrySettings(Section):
    """OpenTelemetry."""

    spans: bool = True
    """One a request, where `opentelemetry-api` is installed and the process has said where spans go."""
    content: bool = False
    """Adds what is asked and answered, after masking."""


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
    def of(cls, endpoint: EndpointOptions) -> "Target":
        url = httpx.URL(str(endpoint.dialect_options.get("base_url") or ADDRESSES.get(endpoint.dialect, "")))
        port = url.port or {"https": 443, "http": 80}.get(url.scheme)
        return cls(PROVIDERS.get(endpoint.dialect, endpoint.dialect), endpoint.model, url.host, port)


class TracedLlm:
    """An LlmEngine that makes a span of each request. Its parent is the caller's current span."""

    def __init__(
        self, engine: LlmEngine, tracer: Tracer, endpoints: Iterable[EndpointOptions], content: bool = False
    ) -> None:
        """With `content` spans hold what is asked and answered."""
        self._engine = engine
        self._tracer = tracer
        self._targets: Mapping[str, Target] = {endpoint.name: Target.of(endpoint) for endpoint in endpoints}
        self._content = content
        self._spans: dict[int, Span] = {}
        """Of the requests under way, by the identity of their callers, which each request has of its own."""

    @property
    def talk_tokens(self) -> int | None:
        return self._engine.talk_tokens

    async def open(self) -> None:
        await self._engine.open()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does."""
        span = self._tracer.start_span("chat", kind=SpanKind.CLIENT, attributes=_asked(request))
        request = replace(request, caller=replace(request.caller))
        key = id(request.caller)
        telling = _Telling(span, self._targets, self._content and span.is_recording())
        if span.is_recording():
            self._spans[key] = span
        try:
            telling.asked(request)
            async with aclosing(self._engine.reply(request)) as events:
                async for event in events:
                    telling.event(event)
                    yield event
        except EngineError as error:
            telling.failed(error)
            raise
        finally:
            self._spans.pop(key, None)
            telling.end()

    async def close(self) -> None:
        await self._engine.close()

    def observe(self, outcome: Outcome) -> None:
        """An attempt at an endpoint is over: an event of its request's span."""
        if (span := self._spans.get(id(outcome.caller))) is None:
            return
        kind = "hedge" if outcome.hedged else "resume" if outcome.resumed else "first"
        attributes: dict[str, str | float] = {
            "voiceagent.endpoint": outcome.endpoint,
            "voiceagent.kind": kind,
            "voiceagent.code": outcome.code,
            "voiceagent.seconds": outcome.seconds,
        }
        if outcome.ttft is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = outcome.ttft
        span.add_event("voiceagent.attempt", attributes)


class _Telling:
    """What a span is told while an answer comes."""

    def __init__(self, span: Span, targets: Mapping[str, Target], content: bool) -> None:
        self._span, self._targets, self._content = span, targets, content
        self._outcome = "cancelled"
        self._began = asyncio.get_running_loop().time()
        self._first: float | None = None
        self._text: list[str] = []
        self._calls: list[ToolCall] = []

    def asked(self, request: LlmRequest) -> None:
        if self._content:
            self._words("gen_ai.input.messages", [_message(message) for message in request.messages])

    def event(self, event: LlmEvent) -> None:
        if self._first is None and not isinstance(event, Thinking):
            self._first = asyncio.get_running_loop().time() - self._began
        match event:
            case TextDelta(text) if self._content:
                self._text.append(text)
            case ToolCall() if self._content:
                self._calls.append(event)
            case Completed():
                self._completed(event)

    def failed(self, error: EngineError) -> None:
        self._outcome = error.code
        self._span.set_attribute("error.type", error.code)
        self._span.set_status(Status(StatusCode.ERROR, error.code))

    def end(self) -> None:
        span = self._span
        span.set_attribute("voiceagent.outcome", self._outcome)
        if self._first is not None:
            span.set_attribute("gen_ai.response.time_to_first_chunk", self._first)
        if self._content and (self._text or self._calls):
            answer = Message("assistant", "".join(self._text), tuple(self._calls))
            self._words("gen_ai.output.messages", [{**_message(answer), "finish_reason": self._outcome}])
        span.end()

    def _completed(self, end: Completed) -> None:
        span, self._outcome = self._span, end.reason
        span.set_attribute("gen_ai.response.finish_reasons", [end.reason])
        span.set_attribute("gen_ai.usage.input_tokens", end.input_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", end.output_tokens)
        span.set_attribute("gen_ai.usage.cache_read.input_tokens", end.cached_tokens)
        span.set_attribute("voiceagent.cost", end.cost)
        span.set_attribute("voiceagent.endpoint", end.endpoint)
        if (target := self._targets.get(end.endpoint)) is None:
            return
        span.update_name(f"chat {target.model}".strip())
        for name, value in (
            ("gen_ai.provider.name", target.provider),
            ("gen_ai.system", target.provider),  # the older name of it, which many tools still look for
            ("gen_ai.request.model", target.model),
            ("server.address", target.address),
            ("server.port", target.port),
        ):
            if value:
                span.set_attribute(name, value)

    def _words(self, name: str, messages: list[dict[str, object]]) -> None:
        try:
            text = msgspec.json.encode(messages).decode()
        except UnicodeEncodeError:  # half a surrogate pair
            return
        if len(text) <= MOST_CONTENT:
            self._span.set_attribute(name, text)


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
