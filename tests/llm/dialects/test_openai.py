"""OpenAILlm against a real HTTP server on loopback."""

import asyncio
import gzip
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.llm.server import Reply, Script, ScriptedLlm
from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.base import LLM_ENGINES, Completed, LlmRequest, Message, TextDelta, Thinking
from voiceagent.llm.dialects.openai import OpenAILlm, OpenAILlmOptions
from voiceagent.models.store import ModelStore

HI = LlmRequest((Message("system", "Be brief."), Message("user", "你好, hello")))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


def engine(base_url: str, **options: object) -> OpenAILlm:
    return OpenAILlm(
        OpenAILlmOptions.model_validate({"base_url": base_url, **options}), ModelStore(Path("no models here"))
    )


@asynccontextmanager
async def talking(script: Script, **options: object) -> AsyncIterator[tuple[OpenAILlm, ScriptedLlm]]:
    async with ScriptedLlm(script) as server:
        llm = engine(server.base_url, **options)
        await llm.open()
        try:
            yield llm, server
        finally:
            await llm.close()


async def answer(llm: OpenAILlm, request: LlmRequest = HI) -> tuple[str, Completed]:
    *deltas, completed = [event async for event in llm.reply(request)]
    assert isinstance(completed, Completed)
    assert all(isinstance(delta, TextDelta | Thinking) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), completed


async def failure(llm: OpenAILlm) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await answer(llm)
    assert caught.value.stage == "llm"
    return caught.value


async def test_streams_an_answer_in_order_with_its_usage() -> None:
    script = [Reply("Hello 世界, how are you?", token_seconds=0.001, input_tokens=12, cached_tokens=7)]
    async with talking(script, api_key="sk-1", model="m", temperature=0.5, extra_body={"seed": 1}) as (llm, server):
        assert await answer(llm) == ("Hello 世界, how are you?", Completed("stop", 12, 7, 7))
        (request,) = server.requests
        assert request.headers["authorization"] == "Bearer sk-1"
        assert request.body == {
            "model": "m",
            "temperature": 0.5,
            "seed": 1,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好, hello"}],
        }


async def test_extra_headers_win() -> None:
    async with talking(["Hi."], api_key="sk-1", extra_headers={"authorization": "Key 2", "X-Org": "o"}) as (
        llm,
        server,
    ):
        await answer(llm)
        assert server.requests[0].headers["authorization"] == "Key 2"
        assert server.requests[0].headers["x-org"] == "o"


async def test_the_request_may_limit_the_answer() -> None:
    async with talking(["Hi."], max_tokens=50) as (llm, server):
        await answer(llm)
        await answer(llm, LlmRequest(HI.messages, max_tokens=7))
        assert [request.body["max_tokens"] for request in server.requests] == [50, 7]


async def test_half_a_character_in_the_request_is_replaced() -> None:
    async with talking(["Hi."]) as (llm, server):
        await answer(llm, LlmRequest((Message("user", "a\ud83d"),)))
        assert server.requests[0].messages == [{"role": "user", "content": "a?"}]


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop")],
)
async def test_finish_reasons(finish_reason: str, reason: str) -> None:
    async with talking([Reply("Hi.", finish_reason=finish_reason)]) as (llm, _):
        _, completed = await answer(llm)
        assert completed.reason == reason


def data(*chunks: object) -> list[bytes]:
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]


def content(text: str | None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}}]}


async def test_reasoning_is_not_spoken() -> None:
    raw = data(
        {"choices": [{"delta": {"role": "assistant", "content": None, "reasoning_content": "Hm."}}]},
        content("<th"),
        content("ink>Hmm"),
        content("</think>\n\n"),
        content("Hi."),
        {"choices": [{"finish_reason": "stop"}], "usage": None},
    )
    async with talking([Reply(raw=raw)]) as (llm, _):
        assert (await answer(llm))[0] == "Hi."


@pytest.mark.parametrize(
    "script",
    [
        Reply("Hi.", done=False),
        Reply("Hi.", finish_reason=None),
        Reply(raw=[*data(content("Hi.")), b"data: [DONE]\n\ndata: after the end\n\n"]),
        Reply(raw=[b"\xef\xbb\xbf: ping\r\n\r\n", *data({"choices": [], "x": 1}, content("Hi.")), b"data: [DONE]"]),
        Reply(raw=[*data(content("Hi."), {"choices": [{"finish_reason": "stop"}]}, {"error": {"code": 500}})]),
        Reply(raw=[*data(content("Hi."), {"choices": [{"finish_reason": "stop"}]}), b"data: x"], reset_after=2),
    ],
)
async def test_an_answer_may_end_in_many_ways(script: Reply) -> None:
    async with talking([script]) as (llm, _):
        text, completed = await answer(llm)
        assert (text, completed.reason) == ("Hi.", "stop")


async def test_a_whole_answer_does_not_wait_for_a_stream_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceagent.llm.remote.ENDING_SECONDS", 0.05)
    async with talking([Reply("Hi.", stall_after=3)]) as (llm, server):
        assert (await answer(llm))[0] == "Hi."
        await server.disconnected(1)


@pytest.mark.parametrize(
    ("script", "code", "word"),
    [
        (Reply(raw=[]), "bad_response", ""),
        (Reply(raw=[b'{"choices": [{"message": {"content": "not str']), "bad_response", ""),
        (Reply(raw=[b"data: {not json\n\n"]), "bad_response", ""),
        (Reply(raw=[b"data: 7\n\n"]), "bad_response", ""),
        (Reply(raw=[b"data: " + b"x" * 1_100_000]), "bad_response", ""),
        (Reply("Hi there", reset_after=1), "unavailable", ""),
        (Reply(raw=data(content("Hi"), {"error": {"code": 429, "message": "secret"}})), "rate_limited", ""),
        (Reply(raw=data({"error": {"type": "invalid_request_error"}})), "bad_request", "invalid_request_error"),
        (Reply(raw=data({"error": {"code": "insufficient_quota"}})), "rate_limited", "insufficient_quota"),
        (Reply(raw=data({"error": "secret"})), "unavailable", ""),
        (
            Reply(status=401, error={"error": {"code": "invalid_api_key", "message": "secret"}}),
            "unauthorized",
            "invalid_",
        ),
        (Reply(status=403, error="secret"), "unauthorized", "HTTP 403"),
        (Reply(status=404, error={"error": "secret"}), "bad_request", "HTTP 404"),
        (Reply(status=400, error={"error": {"type": "secret words of a user"}}), "bad_request", "HTTP 400"),
        (Reply(status=429, error={"error": {}}), "rate_limited", "HTTP 429"),
        (Reply(status=503, error=None), "unavailable", "HTTP 503"),
        (Reply(status=504, error=None), "timeout", "HTTP 504"),
        (Reply(status=307, error=None), "bad_response", "HTTP 307"),
    ],
)
async def test_failures_are_typed_and_give_nothing_away(script: Reply, code: str, word: str) -> None:
    async with talking([script]) as (llm, _):
        error = await failure(llm)
        assert error.code == code
        assert word in error.message
        assert "secret" not in error.message


async def test_deadlines() -> None:
    pings = Reply(raw=[b": ping\n\n"] * 1000, token_seconds=0.01)
    slow = [
        Reply("Hi", first_token_seconds=30),
        pings,
        Reply("Hi there", stall_after=1),
        Reply("Hi there", stall_after=0),
    ]
    async with talking(slow, first_token_seconds=0.1, next_token_seconds=0.1) as (llm, server):
        for _ in slow:
            assert (await failure(llm)).code == "timeout"
        await server.disconnected(4)


async def test_a_dead_endpoint_neither_stops_the_start_nor_hides(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    llm = engine(f"http://127.0.0.1:{port}/v1", api_key="sk-secret")
    with caplog.at_level(logging.INFO):
        await llm.open()
    assert "127.0.0.1" in caplog.text
    assert "sk-secret" not in caplog.text
    assert (await failure(llm)).code == "unavailable"
    await llm.close()
    assert (await failure(llm)).code == "unavailable"


async def test_closing_the_generator_hangs_up_at_once() -> None:
    async with talking([Reply("one two three four", stall_after=2)]) as (llm, server):
        async with aclosing(llm.reply(HI)) as events:
            assert await anext(events) == TextDelta("one")
        await server.disconnected(1)


@pytest.mark.parametrize("script", [Reply("one two", first_token_seconds=60), Reply("one two", stall_after=1)])
async def test_cancelling_the_reader_hangs_up_at_once(script: Reply) -> None:
    async with talking([script]) as (llm, server):
        reading = asyncio.create_task(answer(llm))
        await server.requested(1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await server.disconnected(1)


async def test_a_refused_field_is_left_out_and_that_is_remembered() -> None:
    refuse_options = Reply(status=400, error={"error": {"message": "Unknown parameter: 'stream_options'."}})
    refuse_max = Reply(status=422, error={"detail": "Use max_completion_tokens instead of max_tokens"})
    async with talking([refuse_options, refuse_max, "Hi."], max_tokens=9) as (llm, server):
        assert (await answer(llm))[0] == "Hi."
        await answer(llm)
        tried = [sorted(set(request.body) - {"model", "messages", "stream"}) for request in server.requests]
        assert tried == [
            ["max_tokens", "stream_options"],
            ["max_tokens"],
            ["max_completion_tokens"],
            ["max_completion_tokens"],
        ]


async def test_a_refusal_that_no_other_dialect_mends_is_reported_and_not_remembered() -> None:
    refuse = Reply(status=400, error={"error": {"message": "max_tokens is too large", "code": "too_large"}})
    async with talking([refuse, refuse, "Hi."], max_tokens=9) as (llm, server):
        assert (await failure(llm)).code == "bad_request"
        await answer(llm)
        assert "max_tokens" in server.requests[-1].body


async def test_a_connection_is_used_again() -> None:
    async with talking(["Hi."]) as (llm, server):
        for _ in range(3):
            await answer(llm)
        assert len({request.client_port for request in server.requests}) == 1


Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def bare_server(handle: Handler) -> AsyncIterator[tuple[OpenAILlm, list[asyncio.StreamWriter]]]:
    """An engine and the connections of a server that reads one request a connection and answers in its own way."""
    connections: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0))
        await handle(head, reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        llm = engine(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await llm.open()
        try:
            yield llm, connections
        finally:
            await llm.close()
            await asyncio.gather(*(connection.wait_closed() for connection in connections))


async def test_a_kept_connection_that_has_been_closed_is_replaced() -> None:
    body = b"".join([*data(content("Hi.")), b"data: [DONE]\n\n"])

    async def once(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body if head.startswith(b"POST") else b"")
        await reader.read(1)  # the next request comes, and finds the door shut

    async with bare_server(once) as (llm, connections):
        for _ in range(3):
            assert (await answer(llm))[0] == "Hi."
    assert len(connections) >= 3


async def test_compression_is_not_wanted() -> None:
    """It would hold tokens back."""
    heads: list[bytes] = []

    async def compress(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n")
        body = gzip.compress(b"".join([*data(content("Hi.")), b"data: [DONE]\n\n"]))
        writer.write(body if head.startswith(b"POST") else b"")

    async with bare_server(compress) as (llm, _):
        assert (await answer(llm))[0] == "Hi."
    assert b"accept-encoding: identity" in heads[-1].lower()


async def test_the_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenAILlmOptions().base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-2\n")
    monkeypatch.setenv("OPENAI_MODEL", "mine")
    options = OpenAILlmOptions()
    assert (options.base_url, options.model) == ("http://localhost:1/v1", "mine")
    assert options.api_key is not None
    assert options.api_key.get_secret_value() == "sk-2"
    assert "sk-2" not in repr(options)


async def test_openai_itself_wants_a_key() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        await engine("https://api.openai.com/v1").open()


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://"},
        {"base_url": "http://[::1"},
        {"api_key": "密钥"},
        {"extra_headers": {"x": "a\nb"}},
        {"extra_headers": {"ö": "a"}},
        {"max_tokens": 0},
        {"modle": "m"},
    ],
)
def test_bad_options_name_the_key_but_no_secret(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        LLM_ENGINES.make("[llm]", {"engine": "openai", **options}, ModelStore(Path("no models here")))
    assert next(iter(options)) in str(caught.value)
    assert "密钥" not in str(caught.value)
