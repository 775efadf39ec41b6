"""Webhooks against a real HTTP server on loopback."""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller
from voiceagent.tools.settings import WebhookSection
from voiceagent.tools.toolbox import RESULT_CHARS, Toolbox
from voiceagent.tools.webhooks import CUT, MOST_BYTES, Webhook

ME = Caller(session="s1", user="anna", tenant="shop")
Handler = Callable[[Request], Awaitable[Response]]


class Seen:
    """What came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []


@asynccontextmanager
async def serving(handler: Handler, port: int = 0) -> AsyncIterator[tuple[str, Seen]]:
    seen = Seen()

    async def take(request: Request) -> Response:
        seen.bodies.append(await request.body())
        seen.headers.append(dict(request.headers))
        return await handler(request)

    app = Starlette(routes=[Route("/hook", take, methods=["POST", "PUT", "PATCH"])])
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook", seen
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def tool(url: str, **section: object) -> AsyncIterator[Callable[..., Coroutine[None, None, str]]]:
    """A function that calls the tool with JSON text and gives what the model is told."""
    hook = Webhook(WebhookSection.model_validate({"name": "order", "description": "Orders.", "url": url, **section}))
    box = Toolbox([hook])
    await box.open()

    async def call(arguments: str = "{}") -> str:
        return str(await box.run(hook, arguments, ME))

    try:
        yield call
    finally:
        await box.close()


async def answer(request: Request) -> Response:
    return PlainTextResponse("好的")


async def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", " t0ken ")
    section = {"headers": {"X-Shop": "s3cret"}, "headers_env": {"Authorization": "SHOP_TOKEN"}, "method": "PUT"}
    async with serving(answer) as (url, seen), tool(url, secret="k3y", **section) as call:
        assert await call('{"pizza": "辣", "count": 2}') == "好的"
        assert await call() == "好的"
    first, second = map(json.loads, seen.bodies)
    call_id = first.pop("call_id")
    assert first == {
        "name": "order",
        "arguments": {"pizza": "辣", "count": 2},
        "session": "s1",
        "user": "anna",
        "tenant": "shop",
    }
    headers = seen.headers[0]
    assert headers["idempotency-key"] == call_id != second["call_id"]
    assert (headers["x-shop"], headers["authorization"]) == ("s3cret", "t0ken")
    assert headers["content-type"] == "application/json"
    signed = f"{headers['x-voiceagent-timestamp']}.".encode() + seen.bodies[0]
    assert headers["x-voiceagent-signature"] == hmac.new(b"k3y", signed, hashlib.sha256).hexdigest()


async def test_without_a_secret_nothing_is_signed() -> None:
    async with serving(answer) as (url, seen), tool(url) as call:
        await call()
    assert not [name for name in seen.headers[0] if name.startswith("x-voiceagent")]


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (JSONResponse({"ok": [1, "二"]}), '{"ok":[1,"二"]}'),
        (JSONResponse("a text"), "a text"),
        (PlainTextResponse('"half'), '"half'),
        (Response(status_code=204), ""),
        (Response(b"\xff\xfe", media_type="text/plain"), "\ufffd\ufffd"),
        (JSONResponse({"error": "sold out"}, 409), 'error: the service refused it (HTTP 409): {"error":"sold out"}'),
        (PlainTextResponse("no\n", 404), "error: the service refused it (HTTP 404): no"),
        (Response("<p>secret</p>", 400, media_type="text/html"), "error: the service refused it (HTTP 400)"),
        (PlainTextResponse("secret", 500), "error: the service refused it (HTTP 500)"),
        (RedirectResponse("http://elsewhere.invalid/"), "error: the service refused it (HTTP 307)"),
        (PlainTextResponse("x" * 9_999, 400), f"error: the service refused it (HTTP 400): {'x' * 500}"),
    ],
)
async def test_answers(response: Response, told: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        return response

    async with serving(handler) as (url, _), tool(url) as call:
        assert await call() == told
    assert "secret" not in caplog.text


async def test_an_answer_that_is_too_long_is_cut() -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse("啊" * 1_000_000)

    async with serving(handler) as (url, _), tool(url) as call:
        told = await call()
        assert told == "啊" * (MOST_BYTES // 3) + CUT
        assert len(told) < RESULT_CHARS
        assert await call() == told  # the connection that was cut off is not used again


async def test_only_a_connection_that_cannot_be_made_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with tool(f"http://127.0.0.1:{port}/hook") as call:
        calling = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        async with serving(answer, port) as (_, seen):
            assert await calling == "好的"
            assert len(seen.bodies) == 1
        assert await call() == "error: the service cannot be reached"


async def test_a_request_that_was_sent_is_never_sent_again() -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, tool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook") as call:
        assert await call() == "error: the service cannot be reached"
    assert connections == 1


async def test_a_server_that_hangs_costs_the_deadline() -> None:
    gone = asyncio.Event()

    async def handler(request: Request) -> Response:
        while not await request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gone.set()
        return PlainTextResponse("late")

    async with serving(handler) as (url, _), tool(url, policy={"deadline_seconds": 0.2}) as call:
        assert await call() == "error: no answer within 0.2 s"
        async with asyncio.timeout(5):
            await gone.wait()  # the server was hung up on


async def test_twenty_calls_at_once() -> None:
    together = asyncio.Barrier(20)

    async def handler(request: Request) -> Response:
        await together.wait()
        return JSONResponse((await request.json())["arguments"]["number"])

    async with serving(handler) as (url, _), tool(url) as call:
        results = await asyncio.gather(*(call(f'{{"number": {number}}}') for number in range(20)))
    assert results == [str(number) for number in range(20)]


async def test_the_schema_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    path.write_text('{"type": "object", "properties": {"a": {"type": "string"}}}', "utf-8")
    hook = Webhook(WebhookSection(name="a", description="A.", url="http://127.0.0.1:1/x/", parameters=path))
    await hook.open()
    await hook.close()
    assert hook.spec.parameters == {"type": "object", "properties": {"a": {"type": "string"}}}
    bare = Webhook(WebhookSection(name="a", description="A.", url="https://127.0.0.1:1"))
    await bare.open()
    await bare.close()
    assert bare.spec.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"parameters": "/nosuch/file.json"}, "cannot be read as JSON"),
        ({"parameters": {"type": "array"}}, "must be the JSON schema of an object"),
        ({"secret_env": "NOSUCH_VARIABLE"}, "the environment has no NOSUCH_VARIABLE"),
        ({"headers_env": {"X": "NOSUCH_VARIABLE"}}, "the environment has no NOSUCH_VARIABLE"),
        ({"headers_env": {"X": "BAD_VARIABLE"}}, "cannot be sent in an HTTP header"),
    ],
)
async def test_what_cannot_be_opened(section: dict[str, object], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD_VARIABLE", "ключ")
    with pytest.raises(ConfigError, match=told):
        async with tool("http://127.0.0.1:1/", **section):
            pass


@pytest.mark.parametrize(
    "section",
    [
        {"name": "two words"},
        {"url": "ftp://example.com"},
        {"url": "http://"},
        {"description": ""},
        {"method": "GET"},
        {"headers": {"X": "a\nb"}},
        {"headers": {"X Y": "a"}},
        {"secret": "a", "secret_env": "B"},
        {"policy": {"deadline_seconds": 0}},
        {"policy": {"on_interrupt": "maybe"}},
        {"colour": "red"},
    ],
)
def test_what_cannot_be_configured(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WebhookSection.model_validate({"name": "a", "description": "A.", "url": "http://h/", **section})
