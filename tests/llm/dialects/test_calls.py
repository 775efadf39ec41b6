"""Tool calls as servers really stream them, what is kept of them, and refusals."""

from collections.abc import Mapping

import pytest
from pydantic import JsonValue

from tests.support.llm.wires import event
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEvent, TextDelta, Thinking, ToolCall
from voiceagent.llm.dialects.base import Answer, merged
from voiceagent.llm.dialects.chat import ChatReader
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.refusal import status_error


def chunk(*calls: object, finish_reason: str | None = None, **delta: object) -> bytes:
    tool_calls = {"tool_calls": list(calls)} if calls else {}
    return event({"choices": [{"delta": {**delta, **tool_calls}, "finish_reason": finish_reason}]})


def call(name: str | None = None, arguments: object = None, **rest: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **rest}


def read(*chunks: bytes) -> list[LlmEvent]:
    answer = Answer(ChatReader(Recall()))
    found = [event for chunk in chunks for event in answer.feed(chunk)]
    return [event for event in (*found, *answer.finish()) if event != Thinking()]


def calls(*chunks: bytes) -> list[tuple[str, str]]:
    *found, completed = read(*chunks)
    assert isinstance(completed, Completed)
    assert completed.reason == "tool_calls"
    made = [event for event in found if isinstance(event, ToolCall)]
    assert len({one.id for one in made}) == len(made)
    assert all(one.id for one in made)
    return [(one.name, one.arguments) for one in made]


A, B = ("a", '{"x":1}'), ("b", '{"y":2}')


@pytest.mark.parametrize(
    "chunks",
    {
        "OpenAI": [
            chunk(call("a", "", index=0, id="c1")),
            chunk(call(None, '{"x"', index=0)),
            chunk(call(None, ":1}", index=0)),
            chunk(call("b", "", index=1, id="c2")),
            chunk(call(None, '{"y":2}', index=1)),
            chunk(finish_reason="tool_calls"),
        ],
        "interleaved": [
            chunk(call("a", '{"x"', index=0, id="c1"), call("b", '{"y"', index=1, id="c2")),
            chunk(call(None, ":1}", index=0), call(None, ":2}", index=1)),
            chunk(finish_reason="tool_calls"),
        ],
        "Ollama: whole, all of index 0, reason stop": [
            chunk(call("a", '{"x":1}', index=0, id="c1")),
            chunk(call("b", '{"y":2}', index=0, id="c2")),
            chunk(finish_reason="stop"),
        ],
        "whole, all of index 0, no id": [
            chunk(call("a", '{"x":1}', index=0)),
            chunk(call("b", '{"y":2}', index=0), finish_reason="stop"),
        ],
        "Gemini's compatible one: no index, with the reason": [
            chunk(call("a", '{"x":1}', id="c1"), call("b", '{"y":2}', id="c2"), finish_reason="tool_calls"),
        ],
        "neither index nor id": [
            chunk(call("a", '{"x":1}')),
            chunk(call("b", '{"y":2}')),
            chunk(finish_reason="function_call"),
        ],
        "no index, parts by id": [
            chunk(call("a", "", id="c1")),
            chunk(call("b", "", id="c2")),
            chunk(call(None, '{"x":1}', id="c1")),
            chunk(call(None, '{"y":2}', id="c2")),
            chunk(finish_reason="tool_calls"),
        ],
        "Qwen: empty ids later": [
            chunk(call("a", '{"x":', index=0, id="c1")),
            chunk(call("", "1}", index=0, id="")),
            chunk(call("b", '{"y":', index=1, id="c2")),
            chunk(call("", "2}", index=1, id="")),
            chunk(finish_reason="tool_calls"),
        ],
        "name and id repeated": [
            chunk(call("a", '{"x"', index=0, id="c1")),
            chunk(call("a", ":1}", index=0, id="c1")),
            chunk(call("b", '{"y"', index=1)),
            chunk(call("b", ":2}", index=1)),
            chunk(finish_reason="tool_calls"),
        ],
        "vLLM: an id of its own for each delta": [
            chunk(call("a", None, index=0, id="c1")),
            chunk(call(None, '{"x":1}', index=0, id="c2")),
            chunk(call("b", None, index=1, id="c3")),
            chunk(call(None, '{"y":2}', index=1, id="c4")),
            chunk(finish_reason="tool_calls"),
        ],
        "arguments as an object": [
            chunk(call("a", {"x": 1}, index=0, id="c1"), call("b", {"y": 2}, index=1)),
            chunk(finish_reason="tool_calls"),
        ],
        "no reason, just the end": [
            chunk(call("a", '{"x":1}', index=0), call("b", '{"y":2}', index=1)),
            b"data: [DONE]\n\n",
        ],
    }.items(),
    ids=lambda item: item[0],
)
def test_calls_as_servers_send_them(chunks: tuple[str, list[bytes]]) -> None:
    made = [(name, arguments.replace(" ", "")) for name, arguments in calls(*chunks[1])]
    assert made == [A, B]


def test_a_call_without_arguments() -> None:
    assert calls(chunk(call("now", "", index=0)), chunk(finish_reason="tool_calls")) == [("now", "{}")]


def test_wrong_arguments_are_passed_on_as_they_are() -> None:
    assert calls(chunk(call("a", "{oops", index=0)), chunk(finish_reason="tool_calls")) == [("a", "{oops")]


def test_a_call_in_an_answer_cut_short_is_still_told() -> None:
    *_, made, completed = read(chunk(call("a", '{"x', index=0)), chunk(finish_reason="length"))
    assert isinstance(made, ToolCall)
    assert completed == Completed("length")


@pytest.mark.parametrize("chunks", [[chunk(call(None, "{}", index=0)), chunk(finish_reason="stop")]])
def test_a_call_of_nothing_is_an_error(chunks: list[bytes]) -> None:
    with pytest.raises(EngineError, match="without a name"):
        read(*chunks)


@pytest.mark.parametrize(
    "delta", [{"reasoning_content": "Hm."}, {"reasoning": "Hm."}, {"content": "<think>Hm.</think>"}]
)
def test_reasoning(delta: Mapping[str, object]) -> None:
    assert read(event({"choices": [{"delta": delta}]}), chunk(content="Yes.", finish_reason="stop")) == [
        Thinking("Hm."),
        TextDelta("Yes."),
        Completed(),
    ]


def test_reasoning_in_parts_of_the_content() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes."}]
    found = read(chunk(content=parts, finish_reason="stop"))
    assert found == [Thinking("Hm."), TextDelta("Yes."), Completed()]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 3}},
        {"prompt_cache_hit_tokens": 3, "prompt_tokens_details": None},
        {"cached_tokens": 3},
    ],
)
@pytest.mark.parametrize("in_choice", [False, True])
def test_cached_tokens_by_any_name(usage: Mapping[str, object], in_choice: bool) -> None:
    counts = {"usage": {"prompt_tokens": 5, "completion_tokens": 2, **usage}}
    choice: dict[str, object] = {"delta": {"content": "Hi"}, "finish_reason": "stop", **(counts if in_choice else {})}
    assert read(event({"choices": [choice], **counts}))[-1] == Completed("stop", 5, 2, 3)


def test_what_is_kept_of_calls_is_bounded_and_the_oldest_goes_first() -> None:
    recall = Recall(limit=60)
    for number in range(4):
        recall.keep(f"c{number}", {"thoughtSignature": "x" * 10})
    assert [bool(recall.of(f"c{number}")) for number in range(4)] == [False, False, True, True]
    recall.keep("c3", {"thinking": [{"n": 1}, None, True]})
    recall.keep("big", {"thoughtSignature": "x" * 100})
    assert [recall.of(name) for name in ("c2", "c3", "big")] == [{}, {}, {}]


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, b"", 0.0),
        ({"retry-after": "3"}, b"", 3.0),
        ({"retry-after": "2.5"}, b"", 2.5),
        ({"retry-after": "3", "retry-after-ms": "250"}, b"", 0.25),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:39 GMT"}, b"", 20.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Sat, 01 Jan 2000 00:00:00 GMT"}, b"", 0.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, b"", 0.0),
        ({"retry-after": "-1"}, b"", 0.0),
        ({"retry-after": "soon"}, b"", 0.0),
        ({"retry-after": "999999999"}, b"", 86_400.0),
        ({}, b'[{"error": {"details": [{"retryDelay": "34.07s"}]}}]', 34.07),
    ],
)
def test_retry_after(headers: Mapping[str, str], body: bytes, seconds: float) -> None:
    assert status_error(429, headers, body).retry_after == seconds


@pytest.mark.parametrize(
    ("status", "body", "code", "word"),
    [
        (400, b'[{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}]', "bad_request", "INVALID_ARGUMENT"),
        (400, b'{"error": {"details": [{"reason": "API_KEY_INVALID"}]}}', "unauthorized", "HTTP 400"),
        (402, b'{"error": {"code": "billing"}}', "unauthorized", "billing"),
        (529, b'{"type": "error", "error": {"type": "overloaded_error"}}', "unavailable", "overloaded_error"),
        (500, b"[]", "unavailable", "HTTP 500"),
        (500, b"\xff", "unavailable", "HTTP 500"),
    ],
)
def test_refusals(status: int, body: bytes, code: str, word: str) -> None:
    error = status_error(status, {}, body)
    assert (error.code, word in error.message) == (code, True)


def test_extra_fields_are_merged_and_win() -> None:
    base: dict[str, JsonValue] = {"a": {"x": 1, "y": 2}, "b": 1}
    assert merged(base, {"a": {"y": 3}, "b": {"z": 1}}) == {"a": {"x": 1, "y": 3}, "b": {"z": 1}}
    assert base == {"a": {"x": 1, "y": 2}, "b": 1}
