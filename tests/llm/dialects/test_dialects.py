"""The same from OpenAI's, Anthropic's and Gemini's wire formats: words, reasoning, tool calls, usage, errors."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.llm.vendors import HI, VENDORS, Vendor, events, failure, talking, together
from tests.support.llm.wires import Failure, Reply
from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, Message, TextDelta, Thinking, ToolCall
from voiceagent.llm.dialects.base import Answer
from voiceagent.llm.dialects.recall import Recall

CALLS = (("weather", '{"city": "北京"}'), ("weather", '{"city": "Oslo"}'))


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for start, end in itertools.product(("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE"), ("API_KEY", "BASE_URL")):
        monkeypatch.delenv(f"{start}_{end}", raising=False)


async def test_words_reasoning_calls_and_usage(vendor: Vendor) -> None:
    reply = Reply("Let me see, 好的.", "Hm, weather.", CALLS, input_tokens=20, cached_tokens=8)
    async with talking(vendor, [reply]) as (llm, _):
        found = await events(llm)
    assert found == [
        Thinking("Hm, weather."),
        TextDelta("Let me see, 好的."),
        *(ToolCall("call", name, arguments) for name, arguments in CALLS),
        Completed("tool_calls", 20, reply.output_tokens, 8),
    ]


async def test_an_answer_of_a_call_alone(vendor: Vendor) -> None:
    async with talking(vendor, [Reply(calls=[("now", "{}")])]) as (llm, _):
        assert await events(llm) == [ToolCall("call", "now", "{}"), Completed("tool_calls")]


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_reasons_to_end(vendor: Vendor, reason: str) -> None:
    async with talking(vendor, [Reply("Hi.", finish_reason=reason)]) as (llm, _):
        assert await events(llm) == [TextDelta("Hi."), Completed(reason, 0, 1)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "bad_request"),
        (429, "rate_limited"),
        (500, "unavailable"),
        (504, "timeout"),
        (529, "unavailable"),
    ],
)
async def test_statuses(vendor: Vendor, status: int, code: str) -> None:
    refusal = Reply(status=status, error={"error": {"message": "secret"}}, headers={"Retry-After": "7"})
    async with talking(vendor, [refusal]) as (llm, _):
        error = await failure(llm)
    assert (error.code, error.retry_after) == (code, 7.0)


@pytest.mark.parametrize("code", ["rate_limited", "unavailable", "bad_request"])
async def test_errors_within_the_stream_come_after_what_was_said(vendor: Vendor, code: Failure) -> None:
    async with talking(vendor, [Reply("Well", failure=code)]) as (llm, _):
        stream = llm.reply(HI)
        assert await anext(stream) == TextDelta("Well")
        with pytest.raises(EngineError) as caught:
            await anext(stream)
    assert (caught.value.code, "secret" in caught.value.message) == (code, False)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(raw=[]), "bad_response"),
        (Reply(raw=[b"data: {not json\n\n"]), "bad_response"),
        (Reply(raw=[b"data: 7\n\n"]), "bad_response"),
        (Reply(raw=[b"data: " + b"x" * 1_100_000]), "bad_response"),
        (Reply("Hi there", reset_after=1), "unavailable"),
    ],
)
async def test_streams_that_cannot_be_read(vendor: Vendor, reply: Reply, code: str) -> None:
    async with talking(vendor, [reply]) as (llm, _):
        assert (await failure(llm)).code == code


async def test_an_answer_that_ends_without_a_word_on_it_has_broken_off(vendor: Vendor) -> None:
    async with talking(vendor, [Reply("Hi.", finish_reason=None, done=False)]) as (llm, _):
        assert (await failure(llm)).code == "bad_response"


async def test_deadlines_and_hanging_up(vendor: Vendor) -> None:
    slow = [Reply("Hi", first_token_seconds=30), Reply("a b c d e", stall_after=3), Reply("a b c d e", stall_after=5)]
    async with talking(vendor, slow, first_token_seconds=0.2, next_token_seconds=0.2) as (llm, server):
        assert (await failure(llm)).code == "timeout"
        assert (await failure(llm)).code == "timeout"
        await server.disconnected(2)
        async with aclosing(llm.reply(HI)) as stream:
            await anext(stream)
        await server.disconnected(3)


async def test_a_cancelled_reader_hangs_up(vendor: Vendor) -> None:
    async with talking(vendor, [Reply("one two", first_token_seconds=60)]) as (llm, server):
        reading = asyncio.create_task(events(llm))
        await server.requested(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await server.disconnected(1)


async def test_half_a_character_in_the_request_is_replaced(vendor: Vendor) -> None:
    async with talking(vendor, ["Hi."]) as (llm, server):
        await events(llm, LlmRequest((Message("user", "a\ud83d"),)))
        assert "a?" in str(server.requests[0].messages)


async def test_the_vendor_itself_wants_a_key(vendor: Vendor) -> None:
    options = vendor.engine.Options
    with pytest.raises(ConfigError, match=options.key_variable):
        await vendor.make(options.home, api_key=None).open()


def split(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    return [content[start:end] for start, end in itertools.pairwise(edges)]


def read(vendor: Vendor, pieces: Sequence[bytes]) -> list[LlmEvent]:
    answer = Answer(vendor.reader(Recall()))
    found = [event for piece in pieces for event in answer.feed(piece)]
    return together([*found, *answer.finish()])


WHOLE = Reply("Let me see, 好的.", "Hm, 天气.", CALLS, input_tokens=20, cached_tokens=8)
STREAMS = {
    name: b"".join(vendor.wire.chunks(WHOLE, {"stream_options": {"include_usage": True}}))
    for name, vendor in VENDORS.items()
}


@given(name=st.sampled_from(sorted(VENDORS)), cuts=st.lists(st.integers(min_value=0), max_size=30))
def test_every_split_of_a_stream_gives_the_same(name: str, cuts: list[int]) -> None:
    found = read(VENDORS[name], split(STREAMS[name], cuts))
    assert found == read(VENDORS["openai"], [STREAMS["openai"]])


@given(
    name=st.sampled_from(sorted(VENDORS)),
    place=st.integers(min_value=0),
    length=st.integers(0, 20),
    put=st.binary(max_size=20) | st.sampled_from([b"null", b"[]", b"{}", b'"', b"-1", b"true", b'\\ud800"']),
)
def test_a_damaged_stream_gives_an_error_of_its_own_or_an_answer(
    name: str, place: int, length: int, put: bytes
) -> None:
    content = STREAMS[name]
    place %= len(content)
    try:
        found = read(VENDORS[name], [content[:place] + put + content[place + length :]])
    except EngineError as error:
        assert error.code in ("bad_response", "unavailable")  # noqa: PT017 - any answer will do, too
    else:
        assert isinstance(found[-1], Completed)


@given(name=st.sampled_from(sorted(VENDORS)), end=st.integers(min_value=0))
def test_a_stream_cut_off_never_gives_a_call_that_was_not_whole(name: str, end: int) -> None:
    found: list[LlmEvent] = []
    answer = Answer(VENDORS[name].reader(Recall()))
    content = STREAMS[name]
    try:
        found += [*answer.feed(content[: end % len(content)])]
        found += [*answer.finish()]
    except EngineError as error:
        assert error.code == "bad_response"  # noqa: PT017
    calls = [event for event in together(found) if isinstance(event, ToolCall)]
    assert calls in ([], *([ToolCall("call", *call) for call in CALLS[:count]] for count in (1, 2)))
