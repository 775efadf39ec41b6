"""Bad requests to the proxy: each gets an error in OpenAI's shape, none reaches an endpoint or harms the server."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.llm.proxy import Proxied, proxied
from tests.support.llm.server import Reply
from voiceagent.errors import Refused
from voiceagent.gateway.proxy import app as proxy_module
from voiceagent.gateway.proxy.app import MOST_BODY
from voiceagent.gateway.proxy.request import MODEL, Asked, caller_of, parse
from voiceagent.gateway.proxy.response import DONE, Chunks, Whole
from voiceagent.llm.base import Caller, Completed, TextDelta, Thinking, ToolCall
from voiceagent.server.llm import proxy as llm_proxy

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SECRET = "correct horse battery staple"


async def seats_free(served: Proxied) -> None:
    async with asyncio.timeout(10):
        while served.proxy.access.requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def deep(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def body(**changes: object) -> dict[str, object]:
    return {"model": MODEL, "messages": HI, **changes}


MALFORMED: list[tuple[object, str, str | None]] = [
    # what is sent, the code, the parameter
    ([], "invalid_value", None),
    ("text", "invalid_value", None),
    (True, "invalid_value", None),
    ({}, "invalid_value", None),
    ({"messages": HI}, "invalid_value", None),
    ({"model": MODEL}, "invalid_value", None),
    (body(model=3), "invalid_value", "model"),
    (body(model="gpt-9"), "model_not_found", "model"),
    (body(messages=[]), "invalid_value", "messages"),
    (body(messages={}), "invalid_value", "messages"),
    (body(messages="Hi"), "invalid_value", "messages"),
    (body(messages=["Hi"]), "invalid_value", "messages[0]"),
    (body(messages=HI * 2001), "invalid_value", "messages"),
    (body(messages=[{"content": "Hi"}]), "invalid_value", "messages[0]"),
    (body(messages=[{"role": "user"}]), "invalid_value", "messages[0].content"),
    (body(messages=[{"role": "user", "content": None}]), "invalid_value", "messages[0].content"),
    (body(messages=[{"role": "user", "content": 3}]), "invalid_value", "messages[0].content"),
    (body(messages=[{"role": "robot", "content": SECRET}]), "invalid_value", "messages[0].role"),
    (body(messages=[{"role": "function", "name": "f", "content": ""}]), "invalid_value", "messages[0].role"),
    (body(messages=[{"role": "system", "content": "Be brief."}]), "invalid_value", "messages"),
    (body(messages=[{"role": "user", "content": ["Hi"]}]), "invalid_value", "messages[0].content[0]"),
    (body(messages=[{"role": "user", "content": [{"type": "text"}]}]), "invalid_value", "messages[0].content[0]"),
    (
        body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}]),
        "unsupported_content",
        "messages[0].content[0].type",
    ),
    (body(messages=[*HI, {"role": "tool", "content": "sun"}]), "invalid_value", "messages[1].tool_call_id"),
    (
        body(messages=[*HI, {"role": "tool", "tool_call_id": "c", "content": SECRET}]),
        "invalid_value",
        "messages[1].tool_call_id",
    ),
    (
        body(messages=[{"role": "user", "content": "Hi", "tool_calls": [CALL]}]),
        "invalid_value",
        "messages[0].tool_calls",
    ),
    (body(messages=[*HI, {"role": "assistant", "tool_calls": [{}]}]), "invalid_value", "messages[1].tool_calls[0]"),
    (
        body(messages=[*HI, {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}]),
        "invalid_value",
        "messages[1].tool_calls[0].type",
    ),
    (
        body(messages=[*HI, {"role": "assistant", "tool_calls": [{**CALL, "id": ""}]}]),
        "invalid_value",
        "messages[1].tool_calls[0]",
    ),
    (body(stream="yes"), "invalid_value", "stream"),
    (body(stream=True, stream_options=[]), "invalid_value", "stream_options"),
    (body(stream_options={"include_usage": True}), "invalid_value", "stream_options"),
    (body(max_tokens=0), "invalid_value", "max_tokens"),
    (body(max_tokens=-1), "invalid_value", "max_tokens"),
    (body(max_tokens=1.5), "invalid_value", "max_tokens"),
    (body(max_completion_tokens=10**9), "invalid_value", "max_completion_tokens"),
    (body(max_tokens=10**30), "invalid_value", "max_tokens"),
    (body(n=2), "unsupported_parameter", "n"),
    (body(stop=[SECRET]), "unsupported_parameter", "stop"),
    (body(logprobs=True), "unsupported_parameter", "logprobs"),
    (body(response_format={"type": "json_object"}), "unsupported_parameter", "response_format"),
    (body(modalities=["audio"]), "unsupported_parameter", "modalities"),
    (body(functions=[{"name": "f"}]), "unsupported_parameter", "functions"),
    (body(user="x" * 257), "invalid_value", "user"),
    (body(user="a\nb"), "invalid_value", "user"),
    (body(user=7), "invalid_value", "user"),
    (body(reasoning_effort="enormous"), "invalid_value", "reasoning_effort"),
    (body(tools=[{}]), "invalid_value", "tools[0]"),
    (body(tools=[{"type": "function"}]), "invalid_value", "tools[0].type"),
    (body(tools=[{"type": "web_search"}]), "invalid_value", "tools[0].type"),
    (body(tools=[{"type": "function", "function": {"name": "no blanks"}}]), "invalid_value", "tools[0]"),
    (body(tools=[{"type": "function", "function": {"name": "x" * 65}}]), "invalid_value", "tools[0]"),
    (body(tools=[TOOL, TOOL]), "invalid_value", "tools[1]"),
    (body(tools=[TOOL] * 129), "invalid_value", "tools"),
    (
        body(tools=[{"type": "function", "function": {"name": "f", "parameters": deep(80)}}]),
        "invalid_value",
        "tools[0].function.parameters",
    ),
    (body(tool_choice="always"), "invalid_value", "tool_choice"),
    (body(tool_choice="required"), "invalid_value", "tool_choice"),
    (body(tool_choice=3), "invalid_value", "tool_choice"),
    (body(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}), "invalid_value", "tool_choice"),
    (body(tools=[TOOL], tool_choice={"type": "function"}), "invalid_value", "tool_choice"),
]
RAW = [
    b"",
    b"{",
    b"\xff\xfe",
    b"\x00" * 100,
    b'{"model": "voiceagent", "messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"model": "voiceagent", "max_tokens": NaN, "messages": []}',
    b'{"unknown": ' + b"[" * 100_000,
    b'{"model": "voiceagent", "tools": ' + b'[{"a":' * 30_000,
    b"\x1f\x8b\x08\x00",
    b"model=voiceagent&messages=Hi",
]
HEADERS = [{"X-Session-Id": "a b"}, {"X-Session-Id": "x" * 129}, {"X-Priority": "urgent"}]


async def test_every_malformed_request_is_refused_and_the_server_goes_on() -> None:
    async with proxied(["Hello."]) as served:
        for sent, code, param in MALFORMED:
            response = await served.ask(sent)
            error = response.json()["error"]
            assert (error["code"], error["param"]) == (code, param), sent
            assert response.status_code == (404 if code == "model_not_found" else 400)
            assert error["type"] == "invalid_request_error"
            assert SECRET not in response.text
        for raw in RAW:
            response = await served.http.post("/v1/chat/completions", content=raw)
            assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json"), raw[:40]
        for headers in HEADERS:
            response = await served.http.post("/v1/chat/completions", json=body(), headers=headers)
            assert response.json()["error"]["param"] in headers
        assert not served.upstream[0].requests
        assert (await served.ask(body())).status_code == 200
        await seats_free(served)


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with proxied(["Hello."]) as served:
        large = b" " * (MOST_BODY + 1)

        async def pieces() -> object:
            for start in range(0, len(large), 65_536):
                yield large[start : start + 65_536]

        announced = await served.http.post("/v1/chat/completions", content=large)
        counted = await served.http.post("/v1/chat/completions", content=pieces())  # type: ignore[arg-type]
        for response in (announced, counted):
            assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
        await seats_free(served)


@pytest.mark.parametrize(
    "wire",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_a_client_that_is_gone_in_mid_request_leaves_nothing(wire: bytes) -> None:
    async with proxied(["Hello."]) as served:
        address = urlsplit(served.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(wire)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        await seats_free(served)
        assert not served.upstream[0].requests


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(
    "model messages stream stream_options max_tokens max_completion_tokens tools tool_choice parallel_tool_calls "
    "reasoning_effort user n stop logprobs response_format modalities functions".split()
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool", "robot"]) | JSON,
            "content": st.text(max_size=20) | JSON,
            "tool_calls": st.lists(st.just(CALL) | JSON, max_size=2) | JSON,
            "tool_call_id": st.just("c") | JSON,
        },
    ),
    max_size=5,
)


def parsed(raw: bytes) -> Asked | None:
    try:
        return parse(raw, Caller())
    except Refused:
        return None


@given(st.dictionaries(KEYS, JSON, max_size=5), st.just(HI) | MESSAGES | JSON)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_is_read_or_refused(changes: dict[str, object], messages: object) -> None:
    asked = parsed(json.dumps({"model": MODEL, "messages": messages, **changes}).encode())
    if asked is not None:
        assert asked.request.messages
        assert all(isinstance(message.content, str) for message in asked.request.messages)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    parsed(raw)


@given(st.dictionaries(st.sampled_from(["x-session-id", "x-priority"]), st.text(max_size=140)))
def test_any_headers_are_read_or_refused(headers: Mapping[str, str]) -> None:
    try:
        caller = caller_of("acme", headers, "request")
    except Refused:
        return
    assert caller.session


EVENTS = st.lists(
    st.builds(TextDelta, st.text(st.characters(), max_size=8))
    | st.builds(Thinking, st.text(max_size=8))
    | st.builds(ToolCall, st.text(max_size=4), st.text(max_size=4), st.text(max_size=8)),
    max_size=8,
)


@given(EVENTS)
def test_any_answer_reads_the_same_streamed_and_whole(events: list[TextDelta | Thinking | ToolCall]) -> None:
    chunks, whole = Chunks("id", 0, usage=True), Whole()
    wire = chunks.begin()
    for event in (*events, Completed(input_tokens=3)):
        wire += chunks.event(event)
        whole.event(event)
    assert wire.endswith(DONE)
    told = [json.loads(line[6:]) for line in wire.removesuffix(DONE).decode().split("\n\n") if line]
    deltas = [chunk["choices"][0]["delta"] for chunk in told if chunk["choices"]]
    message = json.loads(whole.encode("id", 0))["choices"][0]["message"]
    assert "".join(delta.get("content") or "" for delta in deltas) == (message["content"] or "")
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["function"] for call in calls] == [call["function"] for call in message.get("tool_calls", [])]
    assert told[-1]["usage"]["prompt_tokens"] == 3


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "BODY_SECONDS", 0.1)
    async with proxied(["Hello."]) as served:
        address = urlsplit(served.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        await seats_free(served)
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_proxy, "UNREAD_SECONDS", 0.2)
    endless = Reply(["word " * 20_000] * 500)
    async with proxied([endless]) as served:
        address = urlsplit(served.url)
        _, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
        content = json.dumps(body(stream=True)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n".encode()
        writer.write(head + content)
        await served.upstream[0].disconnected(1)
        await seats_free(served)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
