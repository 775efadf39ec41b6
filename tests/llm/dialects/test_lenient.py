"""What servers send that nobody needs, and what of it must not be lost: in every dialect."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.llm.dialects.test_whole_answers import piece, text_of
from tests.support.llm.vendors import HI, VENDORS, Vendor, events, failure, talking
from tests.support.llm.wires import Reply, event
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmRequest, Message, TextDelta, Thinking, ToolCall
from voiceagent.llm.dialects.base import Answer
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.lenient import SurrogateJoiner, carries_answer, count_of, decoded
from voiceagent.llm.lenient import text_of as plain_text
from voiceagent.llm.remote import RemoteLlm

END = {"openai": "stop", "anthropic": "end_turn", "gemini": "STOP"}
NOISE = (
    b"data: null\n\n", b"data: ping\n\n", b"data:\n\n", b"data: \n\n", b"data: 7\n\n", b"data: []\n\n", b"data: {}\n\n",
    b'data: "x"\n\n', b"data: {\n\n", b"data: {not json\n\n", b"data: true\n\n", b'data: {"type": "ping"}\n\n',
    b"event: ping\n\n", b": keepalive\n\n", b"retry: 100\n\n", b"\n\n\n", b'data: {"choices": null}\n\n',
    b'data: {"choices": [null]}\n\n', b'data: {"candidates": [{}]}\n\n', b'data: {"delta": null}\n\n',
    b'data: {"error": null, "choices": []}\n\n', b'data: {"type": "content_block_delta", "delta": 5}\n\n',
    b'data: {"usage": "x"}\n\n', b'data: {"usageMetadata": []}\n\n', b"garbage\n\n",
)  # fmt: skip


@pytest.fixture(params=VENDORS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def vendor(name: str) -> Vendor:
    return VENDORS[name]


async def test_noise_before_between_and_after(name: str, vendor: Vendor) -> None:
    said = [piece(name, "One ", with_reason=False), piece(name, "two.", with_reason=False), piece(name, "", END[name])]
    script = [Reply(raw=[noise, said[0], noise, said[1], noise, said[2], noise]) for noise in NOISE]
    async with talking(vendor, script) as (llm, server):
        for noise in NOISE:
            assert text_of(await events(llm)) == "One two.", noise
        assert len(server.requests) == len(NOISE)  # nothing is paid for twice


async def test_a_damaged_event_with_a_part_of_the_answer_is_no_noise(name: str, vendor: Vendor) -> None:
    holes = {
        "openai": b'data: {"choices": [{"delta": {"content": "tw\n\n',
        "anthropic": b'data: {"type": "content_block_delta", "delta": {"text": "tw\n\n',
        "gemini": b'data: {"candidates": [{"content": {"parts": [{"text": "tw\n\n',
    }
    chunks = [piece(name, "One ", with_reason=False), holes[name], piece(name, "", END[name])]
    whole = [*chunks[::2], holes[name]]
    async with talking(vendor, [Reply(raw=chunks), Reply(raw=whole)]) as (llm, _):
        assert (await failure(llm)).code == "bad_response"
        assert text_of(await events(llm)) == "One "


async def test_events_that_nothing_parts(name: str, vendor: Vendor) -> None:
    chunks = [
        piece(name, "One ", with_reason=False),
        piece(name, "two.", with_reason=False),
        piece(name, "", END[name]),
    ]
    close = b"".join(chunks).replace(b"\n\n", b"\n")
    async with talking(vendor, [Reply(raw=[close]), Reply(raw=[b"".join(chunks).rstrip()])]) as (llm, _):
        assert text_of(await events(llm)) == "One two."
        assert text_of(await events(llm)) == "One two."


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        ({"delta": {"content": {"type": "text", "text": "Hi."}}}, "Hi."),
        ({"delta": {"content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "."}]}}, "Hi."),
        ({"delta": {"content": ["Hi", "."]}}, "Hi."),
        ({"delta": {"content": 5}}, "5"),
        ({"delta": {"content": "Hi.", "tool_calls": None, "function_call": None}}, "Hi."),
        ({"delta": {"content": "Hi.", "tool_calls": {}, "role": 3}, "index": "0"}, "Hi."),
        ({"delta": {"content": "Hi."}, "index": None, "logprobs": float("nan")}, "Hi."),
        ({"delta": {"content": "Hi."}, "logprobs": {"content": [{"logprob": float("-inf")}]}}, "Hi."),
        ({"delta": {"content": "Hi.", "reasoning_content": {"a": 1}, "audio": [1]}}, "Hi."),
        ({"delta": "Hi."}, "Hi."),
        ({"message": {"role": "assistant", "content": "Hi."}}, "Hi."),
        ({"text": "Hi."}, "Hi."),
        ({"delta": {"refusal": "I may not."}}, "I may not."),
    ],
)
async def test_content_however_it_is_wrapped(chunk: Mapping[str, object], text: str) -> None:
    chunks = [event({"id": 7, "created": "x", "choices": [chunk]}), piece("openai", "", "stop")]
    async with talking(VENDORS["openai"], [Reply(raw=chunks)]) as (llm, _):
        assert text_of(await events(llm)) == text


async def test_a_whole_message_at_the_end_of_its_parts_says_nothing_new() -> None:
    again = event({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]})
    async with talking(VENDORS["openai"], [Reply(raw=[piece("openai", "Hi."), again])]) as (llm, _):
        assert text_of(await events(llm)) == "Hi."


@pytest.mark.parametrize(
    "parts", [{"text": "Hi."}, [{"text": "Hi."}], ["Hi."], [{"text": {"text": "Hi."}}, None, 7.5e400, {"text": None}]]
)
async def test_parts_of_any_shape(parts: object) -> None:
    chunks = [event({"candidates": [{"content": {"parts": None}}]}), event({"candidates": [{"content": None}]})]
    chunks.append(
        event({"candidates": [{"content": {"parts": parts, "role": 1}, "index": "0", "finishReason": "STOP"}]})
    )
    async with talking(VENDORS["gemini"], [Reply(raw=chunks)]) as (llm, _):
        assert text_of(await events(llm)) == "Hi."


async def test_names_with_underscores() -> None:
    call = {"function_call": {"name": "weather", "args": {"city": "Oslo"}, "id": 3}}
    chunk = {"candidates": [{"content": {"parts": [{"text": "Hi."}, call]}, "finish_reason": "STOP"}],
             "usage_metadata": {"prompt_token_count": 5, "candidates_token_count": "2"}}  # fmt: skip
    async with talking(VENDORS["gemini"], [Reply(raw=[event(chunk)])]) as (llm, _):
        assert await events(llm) == [
            TextDelta("Hi."),
            ToolCall("call", "weather", '{"city": "Oslo"}'),
            Completed("tool_calls", 5, 2),
        ]


async def test_blocks_of_any_shape() -> None:
    tool = {"type": "tool_use", "id": 9, "name": "weather", "input": None}
    arguments = {"type": "input_json_delta", "partial_json": {"city": "Oslo"}}
    counts = {"output_tokens": "3.0", "input_tokens": 4.0}
    start, delta, stop = ({"type": f"content_block_{what}"} for what in ("start", "delta", "stop"))
    said: list[Mapping[str, object]] = [
        {"type": "message_start", "message": {"usage": []}},
        {**start, "index": "0", "content_block": {"type": "thinking", "signature": None}},
        {**delta, "index": "0", "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {**delta, "index": 0.0, "delta": {"type": "signature_delta", "signature": None}},
        {**stop, "index": "0"},
        {**start, "content_block": {"type": "text", "text": None}},
        {**delta, "delta": {"type": "text_delta", "text": ["Hi", "."]}},
        stop,
        {**start, "index": 2, "content_block": tool},
        {**delta, "index": 2, "delta": arguments},
        {**stop, "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": counts},
    ]
    chunks = [*map(event, said), b"data: [DONE]\n\n"]
    async with talking(VENDORS["anthropic"], [Reply(raw=chunks)]) as (llm, _):
        assert await events(llm) == [
            Thinking("Hm."),
            TextDelta("Hi."),
            ToolCall("call", "weather", '{"city": "Oslo"}'),
            Completed("tool_calls", 4, 3),
        ]


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 12.0, "completion_tokens": "3", "prompt_tokens_details": []}, (12, 3, 0)),
        (
            {"prompt_tokens": "12", "completion_tokens": 3.0, "prompt_tokens_details": {"cached_tokens": "4"}},
            (12, 3, 4),
        ),
        ({"prompt_tokens": 12, "completion_tokens": None, "prompt_tokens_details": None}, (12, 0, 0)),
        ({"prompt_tokens": float("nan"), "completion_tokens": 3}, (0, 3, 0)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (0, 0, 0)),
        ({"input_tokens": 12, "output_tokens": 3}, (12, 3, 0)),
        ([], (0, 0, 0)),
        ("none", (0, 0, 0)),
        (12, (0, 0, 0)),
    ],
)
async def test_usage_of_any_kind_never_fails_an_answer(usage: object, counts: tuple[int, int, int]) -> None:
    chunks = [piece("openai", "Hi."), event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})]
    async with talking(VENDORS["openai"], [Reply(raw=chunks)]) as (llm, server):
        assert await events(llm) == [TextDelta("Hi."), Completed("stop", *counts)]
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "call",
    [
        {"index": "0", "id": 17, "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
        {"index": 0.0, "id": None, "type": None, "function": {"name": "weather", "arguments": {"city": "Oslo"}}},
        {"id": "c", "name": "weather", "arguments": {"city": "Oslo"}},
        {"function": {"name": "functions.weather", "arguments": '{"city": "Oslo"}'}},
        {"function": {"name": "weather<|channel|>commentary", "arguments": '{"city": "Oslo"}'}},
    ],
)
@pytest.mark.parametrize("listed", [True, False])
async def test_calls_of_any_shape(call: Mapping[str, object], listed: bool) -> None:
    delta = {"tool_calls": [call, None] if listed else call}
    chunks = [event({"choices": [{"delta": delta}]}), piece("openai", "", "tool_calls")]
    async with talking(VENDORS["openai"], [Reply(raw=chunks)]) as (llm, _):
        assert await events(llm) == [ToolCall("call", "weather", '{"city": "Oslo"}'), Completed("tool_calls")]


async def test_the_old_way_to_call_a_function() -> None:
    parts = [{"name": "weather", "arguments": ""}, {"arguments": '{"city"'}, {"arguments": ': "Oslo"}'}]
    chunks = [event({"choices": [{"delta": {"function_call": part}}]}) for part in parts]
    async with talking(VENDORS["openai"], [Reply(raw=[*chunks, piece("openai", "", "function_call")])]) as (llm, _):
        assert await events(llm) == [ToolCall("call", "weather", '{"city": "Oslo"}'), Completed("tool_calls")]


WHOLE: Mapping[str, Mapping[str, object]] = {
    "openai": {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"content": "Hi.", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]},
            "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    },
    "anthropic": {
        "type": "message", "stop_reason": "tool_use", "usage": {"input_tokens": 5, "output_tokens": 2},
        "content": [{"type": "text", "text": "Hi."},
                    {"type": "tool_use", "id": "c", "name": "weather", "input": {"city": "Oslo"}}],
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "Hi."},
                        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2},
    },
}  # fmt: skip


async def test_a_document_in_reply_to_a_request_for_a_stream(name: str, vendor: Vendor) -> None:
    document = json.dumps(WHOLE[name], indent=2).encode()
    forms = [[document], [b"\n ", document[:20], document[20:]], [b"\xef\xbb\xbf" + document + b"\n"]]
    if name == "gemini":
        forms += [[b"[" + document + b"]"]]
    async with talking(vendor, [Reply(raw=form) for form in forms]) as (llm, server):
        for _ in forms:
            assert await events(llm) == [
                TextDelta("Hi."),
                ToolCall("call", "weather", '{"city": "Oslo"}'),
                Completed("tool_calls", 5, 2),
            ]
        assert len(server.requests) == len(forms)


async def test_a_document_that_is_cut_off_or_tells_of_an_error(name: str, vendor: Vendor) -> None:
    cut = json.dumps(WHOLE[name]).encode()[:-9]
    broken = json.dumps({"error": {"code": 503, "message": "secret"}}).encode()
    async with talking(vendor, [Reply(raw=[cut]), Reply(raw=[broken])]) as (llm, _):
        assert (await failure(llm)).code == "bad_response"
        assert (await failure(llm)).code == "unavailable"


async def test_halves_of_a_character_are_joined(name: str, vendor: Vendor) -> None:
    def escaped(text: str, reason: object = None) -> bytes:
        return piece(name, "HERE", reason, with_reason=reason is not None).replace(b"HERE", text.encode())

    ends = piece(name, "", END[name])
    script = [
        [escaped("Hi \\ud83d"), escaped("\\ude00 there"), ends],
        [escaped("Hi \\ud83d\\ude00 there"), ends],
        [escaped("Hi \\ud83d"), b": ping\n\n", escaped("\\ude00 there", END[name])],
        [escaped("Hi \\ud83d"), escaped(" there"), ends],
        [escaped("Hi \\ude00"), escaped(" there"), ends],
        [escaped("Hi there\\ud83d"), ends],
    ]
    expected = ["Hi 😀 there", "Hi 😀 there", "Hi 😀 there", "Hi \ufffd there", "Hi \ufffd there", "Hi there\ufffd"]
    async with talking(vendor, [Reply(raw=chunks) for chunks in script]) as (llm, _):
        for text in expected:
            assert text_of(await events(llm)) == text


@given(
    st.text(alphabet=st.characters(codec=None), max_size=12).map(lambda text: text + "\ud83d\ude00a\ude00"),
    st.integers(0, 14),
)
def test_joined_text_can_always_be_encoded(text: str, cut: int) -> None:
    joiner = SurrogateJoiner()
    joined = joiner.push(text[:cut]) + joiner.push(text[cut:]) + joiner.finish()
    joined.encode()
    assert joined.endswith("😀a\ufffd")


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ('{"a": NaN, "b": -Infinity}', 1),
        ("{\"a\": None, 'b'", 0),
        ('{"a": None, "b": True}', 1),
        ('{"a": nan, "b": "None, nan",}', 1),
        ('{"a": "line\nbreak"}', 1),
        ('{"a": 1}{"b": 2}\n{"c": 3}', 3),
        ("\ufeff{}", 1),
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_json_and_what_is_nearly_json(data: str, values: int) -> None:
    assert len(decoded(data)) == values


def test_what_is_in_strings_is_left_alone() -> None:
    assert decoded('{"a": "None, nan ,}", "b": None}') == [{"a": "None, nan ,}", "b": None}]
    values: list[JsonValue] = ["12", 12.4, "x", -1, 10**30, None, True, [1]]
    assert list(map(count_of, values)) == [12, 12, 0, 0, 0, 0, 0, 0]
    assert plain_text({"content": [{"text": "a"}, "b", None, 1]}) == "ab1"
    assert not carries_answer('{"content": "", "text": null, "parts": []')


Answers = Mapping[bytes, tuple[bytes, bytes]]


@asynccontextmanager
async def bare(vendor: Vendor, answers: Answers) -> AsyncIterator[tuple[RemoteLlm, list[bytes], str]]:
    """A server that answers a POST to a path with a head and a body."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0))
        method, path = head.split(b" ")[:2]
        if method == b"POST":
            asked.append(path)
            given, body = next(answer for end, answer in answers.items() if path.partition(b"?")[0].endswith(end))
        else:
            given, body = b"200 OK", b""
        writer.write(b"HTTP/1.1 " + given + b"\r\nconnection: close\r\n\r\n" + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        llm = vendor.make(url)
        await llm.open()
        try:
            yield llm, asked, url
        finally:
            await llm.close()


def stream(name: str) -> bytes:
    return piece(name, "Hi.", with_reason=False) + piece(name, "", END[name])


def raw_deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    "form", ["gzip", "gzip unsaid", "two gzips", "deflate", "raw deflate", "said only", "document"]
)
async def test_compression_that_nobody_asked_for(name: str, vendor: Vendor, form: str) -> None:
    body = stream(name)
    half = len(body) // 2
    said, sent = {
        "gzip": ("gzip", gzip.compress(body)),
        "gzip unsaid": ("", gzip.compress(body)),
        "two gzips": ("gzip", gzip.compress(body[:half]) + gzip.compress(body[half:])),
        "deflate": ("deflate", zlib.compress(body)),
        "raw deflate": ("deflate", raw_deflated(body)),
        "said only": ("gzip", body),
        "document": ("gzip", gzip.compress(json.dumps(WHOLE[name]).encode())),
    }[form]
    header = b"\r\ncontent-encoding: " + said.encode() if said else b""
    async with bare(vendor, {b"": (b"200 OK" + header, sent)}) as (llm, asked, _):
        assert text_of(await events(llm)) == "Hi."
        assert len(asked) == 1


async def test_a_refusal_that_is_compressed_is_read() -> None:
    refusal = gzip.compress(b'{"error": {"code": "context_length_exceeded"}}')
    async with bare(VENDORS["openai"], {b"": (b"400 Bad\r\ncontent-encoding: gzip", refusal)}) as (llm, _, _):
        assert (await failure(llm)).code == "context_length"


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Temporary", b"308 Permanent"])
async def test_a_redirect_to_the_same_server(name: str, vendor: Vendor, status: bytes) -> None:
    answers = {b"/there": (b"200 OK", stream(name)), b"": (status + b"\r\nlocation: /there?x=1", b"moved")}
    async with bare(vendor, answers) as (llm, asked, _):
        assert text_of(await events(llm)) == "Hi."
        assert asked[1:] == [b"/there?x=1"]


@pytest.mark.parametrize("location", [b"http://localhost:1/x", b"//127.0.0.2/x", b"http://127.0.0.1:1/x", b""])
async def test_a_redirect_elsewhere_is_not_followed(name: str, vendor: Vendor, location: bytes) -> None:
    async with bare(vendor, {b"": (b"307 There\r\nlocation: " + location, b"")}) as (llm, asked, _):
        assert (await failure(llm)).code == "bad_response"
        assert len(asked) == 1


async def test_redirects_end(vendor: Vendor) -> None:
    async with bare(vendor, {b"a": (b"307 There\r\nlocation: /b", b""), b"": (b"307 There\r\nlocation: /a", b"")}) as (
        llm,
        asked,
        _,
    ):
        assert (await failure(llm)).code == "bad_response"
        assert len(asked) == 4


async def test_any_success_is_one(name: str, vendor: Vendor) -> None:
    async with bare(vendor, {b"": (b"201 Created", stream(name))}) as (llm, _, _):
        assert text_of(await events(llm)) == "Hi."


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "choices", "delta", "content", "tool_calls", "function", "arguments", "finish_reason", "usage", "index", "type",
    "content_block", "message", "stop_reason", "partial_json", "candidates", "parts", "text", "functionCall", "args",
    "finishReason", "usageMetadata", "promptFeedback", "thought", "signature", "id", "name", "thinking",
)  # fmt: skip


@given(
    name=st.sampled_from(sorted(VENDORS)),
    chunks=st.lists(
        st.recursive(
            JSON_VALUES,
            lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4) | st.lists(inner, max_size=2),
            max_leaves=12,
        ),
        max_size=6,
    ),
)
def test_events_of_any_shape_never_break_the_reader(name: str, chunks: list[object]) -> None:
    answer = Answer(VENDORS[name].reader(Recall()))
    try:
        for chunk in chunks:
            list(answer.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n"))
        list(answer.finish())
    except EngineError:
        pass


async def test_half_a_character_in_a_call_is_replaced() -> None:
    function = {"name": "weather", "arguments": "HERE"}
    made = event({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]})
    chunks = [made.replace(b"HERE", b"\\ud83d"), piece("openai", "", "stop")]
    async with talking(VENDORS["openai"], [Reply(raw=chunks)]) as (llm, _):
        found = await events(llm, LlmRequest((Message("user", "x"),), tools=HI.tools))
    assert found[0] == ToolCall("call", "weather", "\ufffd")
