"""Traces of turns: one for each, whichever language model answers, from a real turn over a socket."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak, quiet
from tests.support.wire_client import client_of
from voiceagent.llm.base import Caller
from voiceagent.server.resources import make_llm
from voiceagent.session.events import AudioCommitted, IdleTimeoutTriggered, TurnTimed
from voiceagent.session.timeline import Timeline, now
from voiceagent.settings import load
from voiceagent.tracing.spans import MOST_PENDING, RequestSpan, TraceRecorder

MS = 1_000_000
"""Nanoseconds."""
STAGES = ("vad", "endpointing", "asr", "tts", "playout")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """As an application sets it up."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield memory
    provider.shutdown()


def start(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


def end(span: ReadableSpan) -> int:
    assert span.end_time is not None
    return span.end_time


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


OPENAI = """
[llm]
engine = "openai"
base_url = "{good}"
api_key = "k"
model = "m"
"""
FAILOVER = """
[llm]
engine = "failover"
[[llm.endpoints]]
name = "broken"
base_url = "{broken}"
api_key = "k"
model = "m"
weight = 3
[[llm.endpoints]]
name = "good"
base_url = "{good}"
api_key = "k"
model = "m"
weight = 0
[llm.failover]
check_seconds = 0
"""
GATEWAY = FAILOVER.replace('"failover"', '"gateway"')


@pytest.mark.real
@pytest.mark.parametrize(
    ("toml", "attempts"),
    [(OPENAI, []), (FAILOVER, ["unavailable", "ok"]), (GATEWAY, ["unavailable", "ok"])],
    ids=["openai", "failover", "gateway"],
)
async def test_turn_is_one_trace_whose_times_add_up(
    engines_for: EnginesFor,
    speak: Speak,
    exporter: InMemorySpanExporter,
    tmp_path: Path,
    toml: str,
    attempts: list[str],
) -> None:
    path = tmp_path / "voiceagent.toml"
    async with (
        ScriptedLlm([Reply(status=503, error={})]) as broken,
        ScriptedLlm([Reply("Paris.", first_token_seconds=0.1)]) as good,
    ):
        text = toml.format(broken=broken.base_url, good=good.base_url)
        path.write_text(f"{text}\n[guard]\nmask = true\n", "utf-8")
        settings = load(path)
        engines = replace(engines_for("http://unused"), llm=make_llm(settings))
        question = np.concatenate([quiet(0.2), speak("What is the capital of France?"), quiet(1.2)])
        async with running(settings, engines) as (_, url), client_of(url) as client:
            for at in range(0, len(question), 2400):  # at the pace of speech, or the times of its stages mean nothing
                await client.say(question[at : at + 2400])
                await asyncio.sleep(0.1)
            async with asyncio.timeout(20):
                while not named(exporter, "turn"):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    spans = exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans if span.context is not None}) == 1
    [turn] = [span for span in spans if span.name == "turn"]
    children = {span.name: span for span in spans if span is not turn}
    assert set(children) == {*STAGES, "chat m"}
    assert turn.parent is None
    for span in children.values():
        assert span.parent is not None
        assert turn.context is not None
        assert span.parent.span_id == turn.context.span_id
        assert start(turn) <= start(span) <= end(span) <= end(turn) + MS, span.name
    told = cast(Mapping[str, int], turn.attributes)
    assert (turn.attributes or {})["voiceagent.channel"] == "realtime"
    parts = sum(value for name, value in told.items() if name.startswith("voiceagent.part."))
    assert parts == told["voiceagent.response_ms"]
    vad, playout, chat = children["vad"], children["playout"], children["chat m"]
    assert start(vad) == start(turn)
    assert end(vad) == start(children["endpointing"])
    assert (start(playout) - end(vad)) / MS == pytest.approx(parts, abs=1.5)
    assert end(playout) == end(turn)
    first_token = start(chat) + cast(Mapping[str, float], chat.attributes)["gen_ai.response.time_to_first_chunk"] * 1e9
    assert first_token <= start(children["tts"]) <= start(playout)
    assert end(chat) - start(chat) >= 100 * MS
    codes = [(event.attributes or {})["voiceagent.code"] for event in chat.events]
    assert codes == attempts
    assert told["voiceagent.turn"] == 1


# -- turns of one session ------------------------------------------------------------------------------------------


def request(turn: int, name: str = "chat", session: str = "s-1") -> RequestSpan:
    return RequestSpan(Caller(session=session, turn=turn), name, now(), now() + 0.5, {})


def timed(item: str) -> TurnTimed:
    return TurnTimed(item, "r", Timeline(onset=now(), speech_end=now() + 0.2, first_audio=now() + 0.5, heard=now() + 1))


def parent_of(exporter: InMemorySpanExporter, name: str) -> str | None:
    """What turn the only span of that name belongs to, by its item."""
    [span] = named(exporter, name)
    if span.parent is None:
        return None
    [turn] = [one for one in named(exporter, "turn") if one.context and one.context.span_id == span.parent.span_id]
    return str((turn.attributes or {})["voiceagent.item"])


async def test_requests_belong_to_their_turn_whenever_they_end(exporter: InMemorySpanExporter) -> None:
    tracing = TraceRecorder(trace.get_tracer("test"))
    session = tracing.session("s-1", channel="web", tenant="acme")
    tracing.request(request(0, "greeting"))
    tracing.request(request(1, "thrown away"))
    session.on_event(AudioCommitted("one", None))
    assert named(exporter, "greeting")  # it has no turn to wait for
    tracing.request(request(1, "answer"))
    session.on_event(IdleTimeoutTriggered("idle", 0, 1))
    session.on_event(AudioCommitted("idle", None))
    session.on_event(AudioCommitted("two", None))
    tracing.request(request(2, "second"))
    session.on_event(timed("one"))
    tracing.request(request(1, "hung up"))
    session.on_event(timed("two"))
    tracing.request(request(2, "another's", session="s-2"))
    assert {name: parent_of(exporter, name) for name in ("greeting", "thrown away", "answer", "second", "hung up")} == {
        "greeting": None,
        "thrown away": "one",
        "answer": "one",
        "second": "two",
        "hung up": "one",
    }
    assert parent_of(exporter, "another's") is None


async def test_what_was_never_answered_is_shown_when_the_session_ends(exporter: InMemorySpanExporter) -> None:
    tracing = TraceRecorder(trace.get_tracer("test"))
    session = tracing.session("s-1", channel="web", tenant="acme")
    session.on_event(AudioCommitted("one", None))
    tracing.request(request(1, "unheard"))
    assert not exporter.get_finished_spans()
    session.on_end("client left")
    assert parent_of(exporter, "unheard") is None
    tracing.request(request(1, "late"))
    assert parent_of(exporter, "late") is None


async def test_requests_that_wait_for_their_turn_are_bounded(exporter: InMemorySpanExporter) -> None:
    tracing = TraceRecorder(trace.get_tracer("test"))
    session = tracing.session("s-1", channel="web", tenant="acme")
    for _ in range(100):
        tracing.request(request(1))
    assert len(named(exporter, "chat")) == 100 - MOST_PENDING
    for number in range(100):
        session.on_event(AudioCommitted(f"item {number}", None))
    session.on_end("client left")
    assert len(named(exporter, "chat")) == 100
