"""The engine over real servers on loopback that fail in every way."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.llm_failover_server import Behaviour, Server, story
from tests.support.llm.failover import HI, answer, failover_of, failover_over
from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.llm.wires import MessagesWire
from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.base import Caller, Completed, LlmEngine, LlmRequest, Message, TextDelta, ToolCall
from voiceagent.llm.dialects.anthropic import AnthropicLlm, AnthropicLlmOptions
from voiceagent.llm.dialects.openai import OpenAILlm, OpenAILlmOptions
from voiceagent.llm.failover.breaker import State
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.options import FailoverOptions
from voiceagent.llm.failover.pool import Pool
from voiceagent.llm.failover.reports import Outcome
from voiceagent.llm.failover.request import FailoverRequest
from voiceagent.models.store import ModelStore

SPARE = {"b": {"weight": 0}}
"""The second endpoint only gets what the first cannot do."""
SLOW = Reply("Slow.", first_token_seconds=30.0)


def caller(session: str) -> LlmRequest:
    return replace(HI, caller=Caller(session=session, tenant="shop"))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503])
async def test_an_endpoint_that_refuses_is_passed_over(status: int) -> None:
    async with failover_over([Reply(status=status)], ["Hello."], own=SPARE) as (engine, servers, outcomes):
        text, completed = await answer(engine)
        assert (text, completed.endpoint) == ("Hello.", "b")
        assert [outcome.code for outcome in outcomes] == [outcomes[0].code, "ok"]
        assert outcomes[0].ttft is None
        assert servers[0].requests[0].messages == servers[1].requests[0].messages


async def test_when_all_fail_the_last_error_is_the_callers() -> None:
    async with failover_over([Reply(status=500)], [Reply(status=429)], own=SPARE) as (engine, _, outcomes):
        with pytest.raises(EngineError) as caught:
            await answer(engine)
        assert caught.value.code == "rate_limited"
        assert [outcome.endpoint for outcome in outcomes] == ["a", "b"]
        assert engine.status().failed == 1


async def test_a_dead_port_costs_nothing() -> None:
    async with ScriptedLlm(["Hello."]) as server:
        engine = failover_of(["http://127.0.0.1:9/v1", server.base_url], own=SPARE)
        await engine.open()
        try:
            for _ in range(4):
                assert (await answer(engine))[0] == "Hello."
            status = engine.status().endpoints[0]
            assert (status.requests, status.breaker) == (3, State.OPEN)
            assert status.errors == {"unavailable": 3}
        finally:
            await engine.close()


async def test_a_black_hole_costs_its_deadline_once_whoever_waits() -> None:
    async with black_hole() as hole, ScriptedLlm(["Hello."]) as server:
        engine = failover_of([hole, server.base_url], own={"a": {"first_token_seconds": 0.3}, **SPARE})
        outcomes: list[Outcome] = []
        engine.subscribe(outcomes.append)
        await engine.open()
        try:
            answers = await asyncio.gather(*(answer(engine) for _ in range(20)))
            assert {completed.endpoint for _, completed in answers} == {"b"}
            before = engine.status().endpoints[0].requests
            await answer(engine)
            assert engine.status().endpoints[0].requests == before
            assert engine.status().endpoints[0].in_flight == 0
        finally:
            await engine.close()


async def test_retry_after_is_obeyed() -> None:
    server = Server(Behaviour(limited=1.0, retry_after="30"))
    async with ScriptedLlm(["Hello."]) as other:
        engine = failover_of([f"http://127.0.0.1:{await server.start()}/v1", other.base_url], own=SPARE)
        await engine.open()
        try:
            for _ in range(3):
                await answer(engine)
            status = engine.status().endpoints[0]
            assert status.requests == 1
            assert 25 < status.reopens_in <= 30
        finally:
            await engine.close()
            await server.close()


TEXT = "One two three four five."


@pytest.mark.parametrize("broken", [Reply(TEXT, reset_after=3), Reply(TEXT, stall_after=3)])
async def test_an_answer_that_breaks_off_goes_on_elsewhere(broken: Reply) -> None:
    prices = {"a": {"next_token_seconds": 0.2, "price_in": 1.0}, "b": {"weight": 0, "price_out": 2.0}}
    async with failover_over([broken], ["two three four five."], own=prices) as (engine, servers, outcomes):
        said, completed = await answer(engine)
        assert (said, completed.endpoint) == (TEXT, "b")
        assert servers[1].requests[0].messages[-2] == {"role": "assistant", "content": "One two three"}
        first, second = outcomes
        assert (first.estimated, second.resumed, second.code) == (True, True, "ok")
        assert completed.cost == pytest.approx(first.cost + second.cost)
        assert first.cost > 0
        assert engine.status().resumed == 1


async def test_chinese_goes_on_elsewhere() -> None:
    async with failover_over([Reply("法国的首都是巴黎。", reset_after=7)], ["国的首都是巴黎。"], own=SPARE) as (
        engine,
        _,
        _,
    ):
        assert (await answer(engine))[0] == "法国的首都是巴黎。"


async def test_an_answer_breaks_off_at_every_endpoint_and_still_comes() -> None:
    text = "One two three four five six."
    first: list[Reply | str] = [Reply(text, reset_after=2), "two three four five six."]
    async with failover_over(first, [Reply(text, reset_after=4)], own=SPARE) as (engine, _, outcomes):
        assert (await answer(engine))[0] == text
        assert [outcome.endpoint for outcome in outcomes] == ["a", "b", "a"]


async def test_with_no_other_endpoint_the_same_is_asked_again() -> None:
    text = "One two three four."
    async with failover_over([Reply(text, reset_after=2), text]) as (engine, _, _):
        assert (await answer(engine))[0] == text


async def test_it_gives_up_after_so_many_resumes() -> None:
    script = [Reply("One two three.", reset_after=2)]
    async with failover_over(script, failover={"resumes": 2}) as (engine, _, outcomes):
        events = engine.reply(HI)
        assert [await anext(events), await anext(events)] == [TextDelta("One"), TextDelta(" two")]
        with pytest.raises(EngineError):
            await anext(events)
        assert len(outcomes) == 3


def call_then_reset() -> Reply:
    """One call is whole, as a second has begun; then the connection breaks. In Anthropic's format, whose calls come one
    by one."""
    events: list[dict[str, object]] = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "c1", "name": "look"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c2", "name": "look"}},
        {"type": "message_stop"},
    ]
    return Reply(raw=[f"data: {json.dumps(event)}\n\n".encode() for event in events], reset_after=3)


async def test_a_tool_call_is_not_made_twice() -> None:
    async with ScriptedLlm([call_then_reset()], MessagesWire()) as server, ScriptedLlm() as other:
        models = ModelStore(Path("no models here"))
        names = ({"name": "a"}, {"name": "b", "weight": 0})
        options = FailoverOptions.model_validate({"endpoints": names, "failover": {"check_seconds": 0}})
        engines: list[LlmEngine] = [
            AnthropicLlm(AnthropicLlmOptions.model_validate({"base_url": server.base_url, "model": "m"}), models),
            OpenAILlm(OpenAILlmOptions(base_url=other.base_url), models),
        ]
        endpoints = [Endpoint(*pair, None, options) for pair in zip(options.endpoints, engines, strict=True)]
        for engine in engines:
            await engine.open()
        pool = Pool(options, endpoints)
        events = [event async for event in FailoverRequest(pool, HI, pool.endpoints).events()]
        for engine in engines:
            await engine.close()
        assert [event.id for event in events if isinstance(event, ToolCall)] == ["c1"]
        assert isinstance(events[-1], Completed)
        assert (events[-1].reason, events[-1].endpoint) == ("tool_calls", "a")
        assert not other.requests


async def test_an_endpoint_that_answers_nothing_is_passed_over() -> None:
    async with failover_over([Reply("")], ["Hello."], own=SPARE) as (engine, _, outcomes):
        assert (await answer(engine))[0] == "Hello."
        assert outcomes[0].code == "empty"


async def test_a_bad_request_is_the_endpoints_fault_only_if_another_takes_it() -> None:
    async with failover_over([Reply(status=400)], ["Hello."], own=SPARE) as (engine, _, _):
        for _ in range(3):
            await answer(engine)
        assert engine.status().endpoints[0].breaker is State.OPEN
    async with failover_over([Reply(status=400)], [Reply(status=400)]) as (engine, _, _):
        for _ in range(4):
            with pytest.raises(EngineError):
                await answer(engine)
        assert {endpoint.breaker for endpoint in engine.status().endpoints} == {State.CLOSED}


async def test_a_late_first_token_is_hedged_and_the_slower_hung_up_on() -> None:
    quick: list[Reply | str] = ["Quick."] * 30
    hedge = {"share": 0.1, "least_ms": 30}
    quick.append(SLOW)
    async with failover_over(quick, ["Hello."], own=SPARE, failover={"hedge": hedge}) as (engine, servers, outcomes):
        for _ in range(30):
            assert (await answer(engine))[0] == "Quick."
        text, completed = await answer(engine)
        assert (text, completed.endpoint) == ("Hello.", "b")
        await servers[0].disconnected(1)
        lost, won = outcomes[-2:]
        assert (lost.code, lost.endpoint, won.hedged) == ("cancelled", "a", True)
        status = engine.status()
        assert (status.hedged, status.endpoints[1].hedges) == (1, 1)
        assert (status.endpoints[0].in_flight, status.endpoints[0].breaker) == (0, State.CLOSED)


async def test_a_hedge_goes_to_the_same_endpoint_when_there_is_no_other() -> None:
    script: list[Reply | str] = [*["Quick."] * 30, SLOW, "Again."]
    async with failover_over(script) as (engine, servers, _):
        for _ in range(30):
            await answer(engine)
        assert (await answer(engine))[0] == "Again."
        await servers[0].disconnected(1)


async def test_a_session_keeps_its_endpoint() -> None:
    balance = {"sticky_margin": 10.0}  # however busy this machine is
    async with failover_over(["a"], ["b"], ["c"], balance=balance) as (engine, _, outcomes):
        for _ in range(4):
            for session in "xyz":
                await answer(engine, caller(session))
        homes = {session: {o.endpoint for o in outcomes if o.caller.session == session} for session in "xyz"}
        assert all(len(endpoints) == 1 for endpoints in homes.values())
        assert engine.status().sessions == 3


async def test_only_a_routes_endpoints_are_asked() -> None:
    async with failover_over([Reply(status=500)], ["b"], ["c"]) as (engine, servers, _):
        route = engine.among(["a", "c"])
        for _ in range(6):
            assert (await answer(route))[0] == "c"
        assert not servers[1].requests
        with pytest.raises(ConfigError, match="there is no endpoint 'z'"):
            engine.among(["z"])


async def test_an_endpoint_that_comes_back_is_found_by_a_check() -> None:
    server = Server(Behaviour(broken=1.0))
    async with ScriptedLlm(["Hello."]) as other:
        options = {"check_seconds": 0.1, "breaker": {"failures": 1, "open_seconds": 0.1}}
        engine = failover_of(
            [f"http://127.0.0.1:{await server.start()}/v1", other.base_url], own=SPARE, failover=options
        )
        outcomes: list[Outcome] = []
        engine.subscribe(outcomes.append)
        await engine.open()
        try:
            assert (await answer(engine))[1].endpoint == "b"
            server.behaviour = Behaviour()
            await until(lambda: engine.status().endpoints[0].breaker is State.CLOSED)
            assert (await answer(engine))[1].endpoint == "a"
            checks = [outcome for outcome in outcomes if outcome.check]
            assert {outcome.endpoint for outcome in checks} >= {"a"}
            assert all(outcome.caller == Caller() for outcome in checks)
        finally:
            await engine.close()
            await server.close()


async def test_without_checks_a_request_finds_out() -> None:
    breaker = {"failures": 1, "open_seconds": 0.05}
    script: list[Reply | str] = [Reply(status=500), "I am back."]
    async with failover_over(script, ["Hello."], own=SPARE, failover={"breaker": breaker}) as (engine, _, _):
        assert (await answer(engine))[1].endpoint == "b"
        await asyncio.sleep(0.06)
        assert (await answer(engine))[1].endpoint == "a"
        assert engine.status().endpoints[0].breaker is State.CLOSED


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.02, 0.05, 0.1, 0.2])
async def test_a_cancelled_reply_leaves_nothing_open(moment: float) -> None:
    """Whenever it comes: while a first token is awaited, in mid-answer, while it goes on elsewhere."""
    servers = [
        Server(Behaviour(first_token=0.03, token=0.01, reset=1.0, reset_after=4)),
        Server(Behaviour(first_token=0.03, token=0.02)),
    ]
    engine = failover_of([f"http://127.0.0.1:{await server.start()}/v1" for server in servers], own=SPARE)
    await engine.open()
    try:
        request = LlmRequest((Message("user", "turn 1 of 50 words"),))
        talk = asyncio.create_task(answer(engine, request))
        await asyncio.sleep(moment)
        talk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await talk
        assert sum(endpoint.in_flight for endpoint in engine.status().endpoints) == 0
        left = [task for task in asyncio.all_tasks() if task.get_name().startswith("llm")]
        assert not left
        await until(lambda: not any(connection.busy for server in servers for connection in server.connections))
    finally:
        await engine.close()
        for server in servers:
            await server.close()


async def test_closing_the_generator_hangs_up() -> None:
    async with failover_over([Reply("One two three.", stall_after=2)]) as (engine, servers, outcomes):
        async with aclosing(engine.reply(HI)) as events:
            await anext(events)
        await servers[0].disconnected(1)
        assert [outcome.code for outcome in outcomes] == ["cancelled"]
        assert engine.status().endpoints[0].failure_rate == 0


async def test_closing_the_edge_breaks_off_what_is_under_way() -> None:
    async with ScriptedLlm([SLOW]) as server:
        engine: FailoverLlm = failover_of([server.base_url])
        await engine.open()
        waiting = asyncio.create_task(answer(engine))
        await server.requested(1)
        await engine.close()
        with pytest.raises(EngineError, match="were closed"):
            await waiting


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_talks_over_endpoints_that_break_all_the_time(seed: int) -> None:
    """Every answer comes whole, to the word."""
    bad = Behaviour(first_token=0.002, broken=0.1, reset=0.3, reset_after=4, limited=0.05, retry_after="0.05")
    servers = [Server(bad, seed), Server(bad, seed + 10), Server(Behaviour(first_token=0.01), seed)]
    urls = [f"http://127.0.0.1:{await server.start()}/v1" for server in servers]
    engine = failover_of(urls, failover={"resumes": 8, "breaker": {"failures": 20, "share": 1.0, "open_seconds": 0.05}})
    await engine.open()

    async def talk(number: int) -> None:
        said, _ = await answer(engine, LlmRequest((Message("user", f"turn {number} of 12 words"),)))
        assert said == story(number, 12)

    try:
        async with asyncio.TaskGroup() as talks:
            for number in range(60):
                talks.create_task(talk(number))
    finally:
        await engine.close()
        for server in servers:
            await server.close()


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match=r"endpoints.* a: .*modle"):
        failover_of(["http://127.0.0.1:1/v1"], own={"a": {"modle": "m"}})
    with pytest.raises(ConfigError, match=r"a: .*'nonsense' is not installed"):
        failover_of(["http://127.0.0.1:1/v1"], own={"a": {"dialect": "nonsense"}})
