"""When an answer is whole, in every dialect: by a reason that is no failure, or by the end mark, and not before."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.support.llm.vendors import HI, VENDORS, Vendor, events, failure, talking
from tests.support.llm.wires import Reply, event
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEvent, TextDelta, ToolCall
from voiceagent.llm.dialects.endings import BROKEN, ending_of

DONE = b"data: [DONE]\n\n"
BROKEN_WORDS = {
    "openai": ("error", "abort", "aborted", "cancelled", "insufficient_system_resource", "network_error", "timeout"),
    "anthropic": ("error", "pause_turn", "abort"),
    "gemini": ("OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "NO_IMAGE"),
}
REASONS = {
    "openai": {
        "stop": "stop",
        "eos": "stop",
        "end_turn": "stop",
        "STOP": "stop",
        "length": "length",
        "model_length": "length",
        "max_tokens": "length",
        "content_filter": "content_filter",
        "sensitive": "content_filter",
        "tool_calls": "stop",
    },
    "anthropic": {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "stop": "stop",
        "max_tokens": "length",
        "length": "length",
        "model_context_window_exceeded": "length",
        "refusal": "content_filter",
    },
    "gemini": {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "BLOCKLIST": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "SPII": "content_filter",
        "LANGUAGE": "content_filter",
        "stop": "stop",
    },
}
NO_REASON: tuple[object, ...] = ("", "null", None, 0, [], {})


def piece(name: str, text: str = "", reason: object = None, *, with_reason: bool = True) -> bytes:
    """A piece of an answer in the dialect, with a reason to end in it."""
    match name:
        case "openai":
            choice = {"index": 0, "delta": {"content": text} if text else {}}
            return event({"choices": [choice | ({"finish_reason": reason} if with_reason else {})]})
        case "anthropic":
            delta = {"type": "text_delta", "text": text}
            said = event({"type": "content_block_delta", "index": 0, "delta": delta}) if text else b""
            end = event({"type": "message_delta", "delta": {"stop_reason": reason}}) if with_reason else b""
            return said + end
        case _:
            candidate: dict[str, object] = {"content": {"parts": [{"text": text}] if text else []}}
            return event({"candidates": [candidate | ({"finishReason": reason} if with_reason else {})]})


def text_of(found: Sequence[LlmEvent]) -> str:
    return "".join(event.text for event in found if isinstance(event, TextDelta))


@pytest.fixture(params=VENDORS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def vendor(name: str) -> Vendor:
    return VENDORS[name]


def good(name: str) -> str:
    return next(iter(REASONS[name]))


async def said_before_the_failure(vendor: Vendor, chunks: Sequence[bytes]) -> tuple[str, EngineError]:
    said: list[LlmEvent] = []

    async def read() -> None:
        async for one in llm.reply(HI):
            said.append(one)  # noqa: PERF401 - what came before the error counts

    async with talking(vendor, [Reply(raw=list(chunks))]) as (llm, _):
        with pytest.raises(EngineError) as caught:
            await read()
    return text_of(said), caught.value


async def test_words_for_the_end(name: str, vendor: Vendor) -> None:
    script = [Reply(raw=[piece(name, "Hi."), piece(name, "", word)]) for word in REASONS[name]]
    async with talking(vendor, script) as (llm, _):
        for reason in REASONS[name].values():
            found = await events(llm)
            assert (text_of(found), found[-1]) == ("Hi.", Completed(reason))  # type: ignore[arg-type]


@pytest.mark.parametrize("done", [False, True])
async def test_a_failure_as_the_reason_breaks_the_answer_off(name: str, vendor: Vendor, done: bool) -> None:
    for word in BROKEN_WORDS[name]:
        for chunks in ([piece(name, "Half a"), piece(name, "", word)], [piece(name, "Half a", word)]):
            said, error = await said_before_the_failure(vendor, [*chunks, *([DONE] if done else [])])
            assert said == "Half a"
            assert error.code in ("bad_response", "unavailable", "timeout")


async def test_a_stream_that_closes_without_an_end_has_broken_off(name: str, vendor: Vendor) -> None:
    said, error = await said_before_the_failure(vendor, [piece(name, "Half a"), piece(name, " sen", with_reason=False)])
    assert (said, error.code) == ("Half a sen", "bad_response")


async def test_an_end_mark_alone_will_do(name: str, vendor: Vendor) -> None:
    marks = [DONE, b"data: [DONE]"] + ([event({"type": "message_stop"})] if name == "anthropic" else [])
    async with talking(vendor, [Reply(raw=[piece(name, "Hi."), mark]) for mark in marks]) as (llm, _):
        for _ in marks:
            assert await events(llm) == [TextDelta("Hi."), Completed()]


@pytest.mark.parametrize("reason", NO_REASON)
async def test_what_is_no_reason_does_not_end_anything(name: str, vendor: Vendor, reason: object) -> None:
    chunks = [piece(name, "One ", reason), piece(name, "two.", reason)]
    whole = [*chunks, piece(name, "", good(name))]
    async with talking(vendor, [Reply(raw=chunks), Reply(raw=whole)]) as (llm, _):
        assert (await failure(llm)).code == "bad_response"
        assert text_of(await events(llm)) == "One two."


async def test_a_reason_on_every_piece(name: str, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As slow as may be: once content went on after a reason, nothing hurries."""
    monkeypatch.setattr("voiceagent.llm.remote.ENDING_SECONDS", 0.05)
    chunks = [piece(name, word, good(name)) for word in ("One ", "two ", "three ", "four.")]
    seconds = 0.01 if name == "anthropic" else 0.08  # where a reason is an event of its own
    async with talking(vendor, [Reply(raw=chunks, token_seconds=seconds)]) as (llm, _):
        assert text_of(await events(llm)) == "One two three four."


async def test_the_last_reason_counts(name: str, vendor: Vendor) -> None:
    chunks = [piece(name, "One ", good(name)), piece(name, "two", BROKEN_WORDS[name][0])]
    said, _ = await said_before_the_failure(vendor, chunks)
    assert said == "One two"
    async with talking(vendor, [Reply(raw=[*chunks, piece(name, " three.", good(name))])]) as (llm, _):
        assert text_of(await events(llm)) == "One two three."


async def test_an_error_between_pieces_that_all_have_a_reason(name: str, vendor: Vendor) -> None:
    chunks = [piece(name, "One ", good(name)), piece(name, "two", good(name)), event({"error": {"code": 500}})]
    said, error = await said_before_the_failure(vendor, chunks)
    assert (said, error.code) == ("One two", "unavailable")


async def test_calls_are_taken_when_all_of_them_are_there() -> None:
    def call(arguments: str, reason: str | None, **first: object) -> bytes:
        part = {"index": 0, **first, "function": {"arguments": arguments, **({"name": "weather"} if first else {})}}
        return event({"choices": [{"delta": {"tool_calls": [part]}, "finish_reason": reason}]})

    chunks = [call('{"city"', "tool_calls", id="c1"), call(': "Oslo"}', "tool_calls")]
    async with talking(VENDORS["openai"], [Reply(raw=chunks)]) as (llm, _):
        assert await events(llm) == [ToolCall("call", "weather", '{"city": "Oslo"}'), Completed("tool_calls")]
    async with talking(VENDORS["openai"], [Reply(raw=[*chunks[:1], event({"choices": []})])]) as (llm, _):
        found = await events(llm)
        assert isinstance(found[-1], Completed)  # a reason was given: it is the model that wrote no JSON


async def test_a_call_in_a_broken_off_answer_is_not_made() -> None:
    function = {"name": "weather", "arguments": "{}"}
    made = event({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": function}]}}]})
    for end in ([], [event({"choices": [{"delta": {}, "finish_reason": "abort"}]})]):
        async with talking(VENDORS["openai"], [Reply(raw=[made, *end])]) as (llm, _):
            assert (await failure(llm)).code in ("bad_response", "unavailable")


async def test_a_reset_after_the_end_does_not_matter(name: str, vendor: Vendor) -> None:
    chunks = [piece(name, "Hi."), piece(name, "", good(name)), b": more"]
    async with talking(vendor, [Reply(raw=chunks, reset_after=2)]) as (llm, _):
        assert text_of(await asyncio.wait_for(events(llm), 10)) == "Hi."


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("stop_str", "stop"),
        ("whatever", "stop"),
        ("FINISH_REASON_UNSPECIFIED", None),
        ("None", None),
        ("max-tokens", "length"),
        ("IMAGE_SAFETY", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("function_call", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("server_error", BROKEN),
        ("Overloaded", BROKEN),
    ],
)
def test_endings_of_other_words(word: str, ending: str | None) -> None:
    assert ending_of(word) == ending
