"""A real language model server on loopback that answers by a script. For any test that needs to know the answer.

async with ScriptedLlm(["Hello.", Reply("Slowly.", first_token_seconds=0.5)]) as server:
    ... talk to server.base_url ...
    assert server.requests[0].messages[-1]["content"] == "Hi"
    await server.disconnected(1)  # the client hung up on one answer
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.support.llm.wires import ChatWire, Json, Reply, Wire

WAIT_SECONDS = 10.0
CLOSE_SECONDS = 1.0
"""How long an answer that is being sent may go on when the server closes."""

__all__ = ["Recorded", "Reply", "Script", "ScriptedLlm"]


@dataclass(frozen=True)
class Recorded:
    """A request as it came; header names are in lower case, `client_port` tells connections apart."""

    body: Json
    headers: Mapping[str, str]
    messages: list[dict[str, str]]
    client_port: int
    target: str
    """Path and query."""


Script = Sequence[Reply | str] | Callable[[list[dict[str, str]]], Reply | str]


class ScriptedLlm:
    """Serves OpenAI's `POST /v1/chat/completions`, or what another `wire` speaks; every other path is 404.

    `script` is a list, one answer a request, the last one for all that follow; or a function from the request's
    messages to the answer. `requests` and `disconnects` (answers the client hung up on) tell what happened.
    """

    def __init__(self, script: Script = ("Hello.",), wire: Wire | None = None) -> None:
        self.requests: list[Recorded] = []
        self.disconnects = 0
        self._script = script
        self._wire = wire or ChatWire()
        self._changed = asyncio.Condition()
        # asyncio switches Nagle's delays off only where the socket names its protocol
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        app = Starlette(routes=[Route(self._wire.path, self._complete, methods=["POST"])])
        config = uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off", ws="none")
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}{self._wire.base}"

    async def requested(self, count: int) -> None:
        """Wait until this many requests have come."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def disconnected(self, count: int) -> None:
        """Wait until the client has hung up on this many answers."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.disconnects >= count)

    async def __aenter__(self) -> Self:
        await self._server.startup(sockets=[self._socket])
        return self

    async def __aexit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        for listener in self._server.servers:
            listener.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()
        if tasks := list(self._server.server_state.tasks):
            _, stuck = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
        self._socket.close()

    async def _complete(self, request: Request) -> Response:
        body, client = await request.json(), request.client
        assert client is not None
        messages = cast(list[dict[str, str]], self._wire.messages(body))
        target = f"{request.url.path}?{request.url.query}"
        async with self._changed:
            self.requests.append(Recorded(body, dict(request.headers), messages, client.port, target))
            self._changed.notify_all()
        if callable(self._script):
            reply = self._script(messages)
        else:
            reply = self._script[min(len(self.requests), len(self._script)) - 1]
        reply = Reply(reply) if isinstance(reply, str) else reply
        if reply.status != 200:
            return JSONResponse(reply.error, status_code=reply.status, headers=reply.headers)
        chunks = reply.raw if reply.raw is not None else self._wire.chunks(reply, body)
        return _Stream(reply, chunks, self._count_disconnect)

    async def _count_disconnect(self) -> None:
        async with self._changed:
            self.disconnects += 1
            self._changed.notify_all()


class _Reset(Exception):
    """Raised out of the application, it makes uvicorn cut the connection in the middle of the body."""


class _Stream(Response):
    """The answer's body; watches for the client hanging up meanwhile."""

    def __init__(self, reply: Reply, chunks: Iterable[bytes], on_disconnect: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._reply = reply
        self._chunks = chunks
        self._on_disconnect = on_disconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        watching = asyncio.create_task(_hang_up(receive))
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            else:
                await self._on_disconnect()
        finally:
            sending.cancel()
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await asyncio.sleep(self._reply.first_token_seconds)
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, chunk in enumerate(self._chunks):
            if number == self._reply.stall_after:
                await asyncio.Event().wait()
            if number == self._reply.reset_after:
                raise _Reset
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(self._reply.token_seconds)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
