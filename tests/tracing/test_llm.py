"""Spans of requests, as an exporter gets them."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import cast

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.llm.failover import answer
from tests.support.llm.proxy import gateway_over
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.errors import EngineError
from voiceagent.llm.base import Caller, LlmRequest, Message
from voiceagent.llm.failover.options import EndpointOptions
from voiceagent.llm.layers import layers
from voiceagent.tracing.llm import Target, TracedLlm

CALLER = Caller(session="s-1", tenant="acme", user="zoë", turn=2)
ASKED = LlmRequest((Message("user", "My card is 4111 1111 1111 1111, 你好"),), max_tokens=50, caller=CALLER)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """As an application sets it up."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return memory


async def spans_of(
    exporter: InMemorySpanExporter,
    scripts: Sequence[Sequence[Reply]],
    own: Mapping[str, Mapping[str, object]] | None = None,
    **options: object,
) -> tuple[ReadableSpan, ...]:
    """Of one request."""
    servers = [ScriptedLlm(script) for script in scripts]
    for server in servers:
        await server.__aenter__()
    llm = gateway_over([server.base_url for server in servers], own, **options)
    await llm.open()
    try:
        await answer(llm, ASKED)
    except EngineError:
        pass
    finally:
        await llm.close()
        for server in servers:
            await server.__aexit__()
    return exporter.get_finished_spans()


async def test_a_span_tells_of_the_request_in_genai_names(exporter: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("test")
    with tracer.start_as_current_span("turn") as parent:
        spans = await spans_of(exporter, [[Reply("Hello there.", input_tokens=12, cached_tokens=4)]])
    [span] = [span for span in spans if span.name.startswith("chat")]
    assert (span.name, span.kind, span.status.status_code) == ("chat m", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.parent is not None
    assert span.parent.span_id == parent.get_span_context().span_id
    told = dict(span.attributes or {})
    port = told.pop("server.port")
    assert isinstance(port, int)
    assert cast(float, told.pop("gen_ai.response.time_to_first_chunk")) > 0
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "s-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "server.address": "127.0.0.1",
        "voiceagent.tenant": "acme",
        "voiceagent.turn": 2,
        "voiceagent.speculative": False,
        "voiceagent.endpoint": "a",
        "voiceagent.outcome": "stop",
        "voiceagent.cost": 0.0,
    }
    assert "你好" not in span.to_json()
    assert "4111" not in span.to_json()


async def test_each_attempt_is_an_event(exporter: InMemorySpanExporter) -> None:
    failed, broken = Reply(status=503, error={}), Reply("One two three", reset_after=2)
    own: Mapping[str, Mapping[str, object]] = {"a": {"weight": 3}, "b": {"weight": 0.2}, "c": {"weight": 0}}
    [span] = await spans_of(exporter, [[failed], [broken], [Reply("One two four")]], own)
    attempts = [dict(event.attributes or {}) for event in span.events]
    told = [(one["voiceagent.endpoint"], one["voiceagent.kind"], one["voiceagent.code"]) for one in attempts]
    assert told[:2] == [("a", "first", "unavailable"), ("b", "first", "unavailable")]
    assert {kind for _, kind, _ in told[2:]} == {"resume"}
    assert told[-1] == ("c", "resume", "ok")


async def test_a_failure_is_the_spans_status(exporter: InMemorySpanExporter) -> None:
    [span] = await spans_of(exporter, [[Reply(status=503, error={})]])
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "unavailable"


async def test_words_are_in_a_span_only_when_asked_for_and_masked(exporter: InMemorySpanExporter) -> None:
    [span] = await spans_of(
        exporter, [[Reply("It is [CARD_1].")]], tracing={"content": True}, guard={"mask": True, "note": ""}
    )
    told = span.attributes or {}
    assert json.loads(cast(str, told["gen_ai.input.messages"])) == [
        {"role": "user", "parts": [{"type": "text", "content": "My card is [CARD_1], 你好"}]}
    ]
    assert json.loads(cast(str, told["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "It is [CARD_1]."}], "finish_reason": "stop"}
    ]


async def test_requests_side_by_side_keep_their_attempts_apart(exporter: InMemorySpanExporter) -> None:
    async with ScriptedLlm([Reply("One.", first_token_seconds=0.05)]) as server:
        llm = gateway_over([server.base_url])
        await llm.open()
        await asyncio.gather(*(answer(llm, ASKED) for _ in range(10)))
        await llm.close()
    assert [len(span.events) for span in exporter.get_finished_spans()] == [1] * 10


async def test_one_who_hangs_up_ends_the_span(exporter: InMemorySpanExporter) -> None:
    async with ScriptedLlm([Reply("One " * 100, token_seconds=0.05)]) as server:
        llm = gateway_over([server.base_url])
        await llm.open()
        events = llm.reply(ASKED)
        await anext(events)
        await events.aclose()
        await llm.close()
    [span] = exporter.get_finished_spans()
    assert (span.attributes or {})["voiceagent.outcome"] == "cancelled"
    assert [dict(event.attributes or {})["voiceagent.code"] for event in span.events] == ["cancelled"]


async def test_without_a_provider_nothing_is_recorded() -> None:
    async with ScriptedLlm(["Hello."]) as server:
        llm = gateway_over([server.base_url])
        await llm.open()
        assert (await answer(llm, ASKED))[0] == "Hello."
        await llm.close()


async def test_without_the_package_the_engine_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    async with ScriptedLlm(["Hello."]) as server:
        llm = gateway_over([server.base_url])
        assert not any(isinstance(layer, TracedLlm) for layer in layers(llm))
        await llm.open()
        assert (await answer(llm, ASKED))[0] == "Hello."
        await llm.close()


@pytest.mark.parametrize(
    ("keys", "target"),
    [
        ({"dialect": "anthropic", "model": "c"}, Target("anthropic", "c", "api.anthropic.com", 443)),
        ({"dialect": "gemini", "model": "g"}, Target("gcp.gemini", "g", "generativelanguage.googleapis.com", 443)),
        (
            {"dialect": "azure", "model": "d", "base_url": "https://x.openai.azure.com"},
            Target("azure.ai.openai", "d", "x.openai.azure.com", 443),
        ),
        ({"base_url": "http://[fd00::7]:8080/v1", "model": "q"}, Target("openai", "q", "fd00::7", 8080)),
        ({"dialect": "embedded"}, Target("embedded", "", "", None)),
    ],
)
def test_endpoints_in_the_conventions_words(keys: Mapping[str, object], target: Target) -> None:
    endpoint = EndpointOptions.model_validate({"name": "a", **keys})
    assert Target.of(endpoint.dialect, endpoint.dialect_options) == target
