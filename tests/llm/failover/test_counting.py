"""What counts against an endpoint, what goes to the next one, and what is charged."""

from collections.abc import Sequence

import pytest

from tests.llm.dialects.test_whole_answers import piece
from tests.support.llm.failover import HI, answer, failover_over
from tests.support.llm.server import ScriptedLlm
from tests.support.llm.vendors import VENDORS
from tests.support.llm.wires import Reply, event
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmRequest, TextDelta, Thinking, ToolCall, ToolSpec
from voiceagent.llm.failover.breaker import State
from voiceagent.llm.failover.limits.tokens import prompt_tokens, text_tokens

PRICES = {"price_in": 1.0, "price_out": 2.0}
FIRST = {"a": {"weight": 1.0}, "b": {"weight": 0.0}}
EMPTY = {
    "filtered": Reply(finish_reason="content_filter"),
    "cut": Reply(finish_reason="length"),
    "stopped": Reply(""),
    "blank": Reply(["\n", "  "]),
    "only thought": Reply(thoughts="Hm, hm."),
    "only thought, filtered": Reply(thoughts="Hm.", finish_reason="content_filter"),
    "only thought, cut": Reply(thoughts="Hm.", finish_reason="length"),
    "only thought, in tags": Reply("<think>Hm.</think>"),
    "a call of nothing": Reply('<tool_call>{"name": "none", "arguments": {}}</tool_call>'),
}
FILTERED = {
    "error": {"code": "content_filter", "message": "secret", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
}
REFUSALS = {
    "Azure's filter": (400, FILTERED, "content_filter"),
    "Alibaba's": (
        400,
        {"error": {"code": "data_inspection_failed", "message": "inappropriate content"}},
        "content_filter",
    ),
    "OpenRouter's": (
        403,
        {"error": {"code": 403, "message": "requires moderation; your input was flagged"}},
        "content_filter",
    ),
    "OpenAI's context": (400, {"error": {"code": "context_length_exceeded"}}, "context_length"),
    "vLLM's": (
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens."},
        "context_length",
    ),
    "llama.cpp's": (400, {"error": {"code": 400, "type": "exceed_context_size_error"}}, "context_length"),
    "llama.cpp's older": (
        500,
        {"error": {"code": 500, "message": "the request exceeds the available context size"}},
        "context_length",
    ),
    "Anthropic's": (
        400,
        {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
        "context_length",
    ),
    "Anthropic's size": (413, {"error": {"type": "request_too_large"}}, "context_length"),
    "Gemini's": (
        400,
        {"error": {"code": 400, "message": "The input token count (9) exceeds the maximum"}},
        "context_length",
    ),
    "nginx's": (413, "too large", "context_length"),
}


@pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY)
async def test_an_answer_of_nothing_goes_to_the_next_endpoint(empty: Reply) -> None:
    async with failover_over([empty], ["Hello."], own=FIRST) as (edge, servers, outcomes):
        text, end = await answer(edge)
        assert (text, end.reason, end.endpoint) == ("Hello.", "stop", "b")
        assert [len(server.requests) for server in servers] == [1, 1]
        assert [outcome.resumed for outcome in outcomes] == [False, False]


@pytest.mark.parametrize("name", ["filtered", "cut", "only thought, filtered", "only thought, cut"])
async def test_where_no_endpoint_says_more_the_reason_is_told(name: str) -> None:
    async with failover_over([EMPTY[name]], [EMPTY[name]], own=FIRST) as (edge, servers, _):
        text, end = await answer(edge)
        assert (text, end.reason) == ("", "content_filter" if "filtered" in name else "length")
        assert [len(server.requests) for server in servers] == [1, 1]
        assert edge.status().failed == 0


@pytest.mark.parametrize("name", ["stopped", "blank", "only thought"])
async def test_nothing_from_any_endpoint_without_a_reason_is_an_error(name: str) -> None:
    async with failover_over([EMPTY[name]], [EMPTY[name]], own=FIRST) as (edge, servers, _):
        with pytest.raises(EngineError, match="answered nothing"):
            await answer(edge)
        assert [len(server.requests) for server in servers] == [1, 1]


@pytest.mark.parametrize("name", ["filtered", "cut", "only thought, filtered"])
async def test_what_a_request_brings_about_opens_no_breaker(name: str) -> None:
    async with failover_over([EMPTY[name]], ["Hello."], own=FIRST) as (edge, _, outcomes):
        for _ in range(12):
            assert (await answer(edge))[0] == "Hello."
        status = edge.status().endpoints[0]
        assert (status.breaker, status.failure_rate) == (State.CLOSED, 0.0)
        assert len([outcome for outcome in outcomes if outcome.endpoint == "a"]) == 12


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_about_the_request_opens_no_breaker(refusal: tuple[int, object, str]) -> None:
    status, error, code = refusal
    async with failover_over([Reply(status=status, error=error)], ["Hello."], own=FIRST) as (edge, _, outcomes):
        for _ in range(5):
            assert (await answer(edge))[0] == "Hello."
        assert [outcome.code for outcome in outcomes if outcome.endpoint == "a"] == [code] * 5
        assert edge.status().endpoints[0].breaker is State.CLOSED
    async with failover_over([Reply(status=status, error=error)]) as (edge, _, _):
        with pytest.raises(EngineError) as caught:
            await answer(edge)
        assert caught.value.code == code
        assert "secret" not in caught.value.message


async def test_such_a_refusal_within_the_stream_opens_none_either() -> None:
    raw = [event({"error": {"code": "content_filter", "message": "secret"}})]
    async with failover_over([Reply(raw=raw)], ["Hello."], own=FIRST) as (edge, _, outcomes):
        for _ in range(5):
            assert (await answer(edge))[0] == "Hello."
        assert outcomes[0].code == "content_filter"
        assert edge.status().endpoints[0].breaker is State.CLOSED


async def test_a_request_that_only_one_endpoint_calls_bad_still_counts_against_it() -> None:
    refusal = Reply(status=404, error={"error": {"code": "model_not_found"}})
    async with failover_over([refusal], ["Hello."], own=FIRST) as (edge, _, _):
        for _ in range(3):
            await answer(edge)
        assert edge.status().endpoints[0].breaker is not State.CLOSED


@pytest.mark.parametrize("reason", ["error", "abort", None])
async def test_an_answer_that_only_seems_to_end_goes_on_elsewhere(reason: str | None) -> None:
    half = [piece("openai", "One two three four "), piece("openai", "five", with_reason=False)]
    end = [piece("openai", "", reason), b"data: [DONE]\n\n"] if reason else []
    rest = "three four five six seven."
    async with failover_over([Reply(raw=[*half, *end])], [rest], own=FIRST) as (edge, _, outcomes):
        text, completed = await answer(edge)
        assert (text, completed.reason, completed.endpoint) == ("One two three four five six seven.", "stop", "b")
        assert [outcome.code == "ok" for outcome in outcomes] == [False, True]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_usage_that_is_not_told_is_estimated_and_charged(dialect: str) -> None:
    end = {"openai": "stop", "anthropic": "end_turn", "gemini": "STOP"}[dialect]
    chunks = [piece(dialect, "One two three."), piece(dialect, "", end)]
    async with ScriptedLlm([Reply(raw=chunks)], VENDORS[dialect].wire) as server:
        own = {"a": {"dialect": dialect, "base_url": server.base_url, **PRICES}}
        async with failover_over(["unused"], own=own) as (edge, _, outcomes):
            _, completed = await answer(edge)
    tokens = prompt_tokens(HI), text_tokens("One two three.")
    assert (completed.input_tokens, completed.output_tokens) == tokens
    assert completed.cost == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)
    assert (outcomes[0].estimated, outcomes[0].cost) == (True, completed.cost)


async def test_the_estimate_counts_thoughts_and_calls() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    chunks = [
        event({"choices": [{"delta": {"reasoning_content": "Let me think about this."}}]}),
        event({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}),
    ]
    request = LlmRequest(HI.messages, tools=(ToolSpec("weather"),))
    async with failover_over([Reply(raw=chunks)], own={"a": PRICES}) as (edge, _, _):
        *found, end = [one async for one in edge.reply(request)]
    assert isinstance(end, Completed)
    assert end.output_tokens == text_tokens('Let me think about this.weather{"city": "Oslo"}')
    assert [type(one) for one in found if one != Thinking()] == [Thinking, ToolCall]


async def test_usage_that_is_told_is_taken_as_it_is() -> None:
    async with failover_over([Reply("One two.", input_tokens=7)], own={"a": PRICES}) as (edge, _, outcomes):
        _, completed = await answer(edge)
    assert (completed.input_tokens, completed.output_tokens, outcomes[0].estimated) == (7, 2, False)


async def test_an_answer_of_nothing_is_paid_for_as_it_was_told() -> None:
    empty = Reply(thoughts="Hm, hm.", finish_reason="length", input_tokens=1000)
    own = {"a": PRICES, "b": {"weight": 0.0, **PRICES}}
    async with failover_over([empty], [Reply("Hello.", input_tokens=10)], own=own) as (
        edge,
        _,
        outcomes,
    ):
        _, completed = await answer(edge)
    assert outcomes[0].input_tokens == 1000
    assert completed.cost == pytest.approx(sum(outcome.cost for outcome in outcomes))


async def test_white_space_before_the_first_words_is_kept() -> None:
    async with failover_over([Reply(["\n", " Hello", "."])]) as (edge, _, _):
        found: Sequence[object] = [one async for one in edge.reply(HI) if isinstance(one, TextDelta)]
    assert found == [TextDelta("\n Hello"), TextDelta(".")]
