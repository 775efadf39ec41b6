"""Proxy: the configured language model as OpenAI's chat completions over HTTP, for programs that are not voice agents.

It knows nothing of the server it runs in: who may ask, further pages and series are handed in."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from voiceagent.errors import EngineError, Refused
from voiceagent.gateway.proxy.request import MODEL, Asked, caller_of, parse
from voiceagent.gateway.proxy.response import Chunks, Problem, ProxyError, Whole, encode, sse
from voiceagent.llm.base import LlmEngine, LlmEvent

log = logging.getLogger(__name__)

MOST_BODY = 256 * 1024
"""Bytes of a request: some 60 000 tokens. Reading and counting the tokens of more would hold the loop for too long."""
BODY_SECONDS = 15.0
"""How long a client may take to send it."""
ANSWER_SECONDS = 600.0
"""How long an answer may take; each token has the engine's own deadline."""
END_SECONDS = 3.0
"""How long requests that are ended at last, when the server goes down, may take for it."""
GONE, BROKEN_OFF = 499, 599
"""Counted where there is no HTTP status for it: the client hung up; the answer failed after it had begun."""


class ProxyResponse:
    """`id` names the request, `status` is what became of it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.id = request_id
        self.started = False
        self.status = 500
        self._send = send

    @property
    def answer_id(self) -> str:
        return f"chatcmpl-{self.id}"

    async def start(self, content_type: str, status: int = 200, retry_after: int = 0) -> None:
        self.started, self.status = True, status
        headers = {"content-type": content_type, "cache-control": "no-store", "x-request-id": self.id}
        if retry_after:
            headers["retry-after"] = str(retry_after)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def body(self, data: bytes, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def fail(self, problem: Problem) -> None:
        """An HTTP error; where the answer has begun, the stream's last event."""
        if self.started:
            self.status = BROKEN_OFF
            await self.body(sse(problem.body), more=False)
            return
        await self.start("application/json", problem.status, problem.retry_after)
        await self.body(encode(problem.body), more=False)


class ProxyMetrics:
    """The proxy's series, and those of the engine (`collectors`)."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        registry = self._registry = CollectorRegistry()
        self.in_flight = Gauge("voiceagent_proxy_in_flight", "Requests under way", registry=registry)
        self.requests = Counter(
            "voiceagent_proxy_requests_total",
            "Requests for a completion, by HTTP status; 499: the client hung up, 599: the answer broke off",
            ["status"],
            registry=registry,
        )
        self.loop_lag = Gauge(
            "voiceagent_loop_lag_seconds", "Longest delay of the event loop lately", registry=registry
        )
        for collector in collectors:
            registry.register(collector)

    def page(self) -> tuple[bytes, str]:
        """The page and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class ProxyAccess(Protocol):
    """Who may ask, and how much at once."""

    draining: bool
    """Nobody may any more: the server is going down."""

    @property
    def requests(self) -> int:
        """Under way."""
        ...

    def tenant(self, request: Request) -> str:
        """Who asks. Raises ProxyError 401 and 403."""
        ...

    def slot(self, tenant: str) -> AbstractContextManager[None]:
        """A slot for one request. Raises ProxyError 429 and 503."""
        ...


class Proxy:
    """`app` is the ASGI application; its lifespan opens and closes the engine."""

    def __init__(
        self,
        llm: LlmEngine,
        access: ProxyAccess,
        *,
        drain_seconds: float,
        watch_lag: Callable[[Gauge], Coroutine[None, None, None]],
        collectors: Iterable[Collector] = (),
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        """`drain_seconds`: how long requests may go on once the server is to end. `watch_lag` keeps the gauge of the
        event loop's delay until it is cancelled. `collectors` have the engine's series, `routes` are further pages."""
        self.access = access
        self.drain_seconds = drain_seconds
        self.loaded = asyncio.Event()
        """Set when the engine is open, or could not be opened."""
        self.failure: Exception | None = None
        self._llm = llm
        self._open = False
        self._metrics = ProxyMetrics(collectors)
        self._watch_lag = watch_lag
        self._working: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", _Completions(self), methods=["POST"]),
                Route("/v1/models", _answering(self._models)),
                Route("/v1/models/{model}", _answering(self._model)),
                Route("/healthz", self._healthz),
                Route("/metrics", self._page_of_metrics),
                *routes,
            ],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        lag = asyncio.create_task(self._watch_lag(self._metrics.loop_lag), name="loop lag")
        try:
            await self._llm.open()
            self._open = True
        except Exception as error:
            self.failure = error
        self.loaded.set()
        try:
            yield
        finally:
            self._open = False
            lag.cancel()
            await asyncio.gather(lag, return_exceptions=True)
            await self._llm.close()

    async def drain(self) -> None:
        """Refuse new requests, let those under way finish until the deadline, then end them."""
        self.access.draining = True
        await self._until_idle(self.drain_seconds)
        for task in self._working:
            task.cancel()
        await self._until_idle(END_SECONDS)

    async def _until_idle(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    # -- pages ------------------------------------------------------------------------------------------------------

    async def _healthz(self, request: Request) -> Response:
        requests = self.access.requests
        if not self._open:
            return JSONResponse({"status": "loading" if self.failure is None else "failed"}, 503)
        if self.access.draining:
            return JSONResponse({"status": "draining", "requests": requests}, 503)
        return JSONResponse({"status": "ok", "requests": requests})

    async def _page_of_metrics(self, request: Request) -> Response:
        body, content_type = self._metrics.page()
        return Response(body, headers={"content-type": content_type})

    async def _models(self, request: Request) -> Response:
        self.access.tenant(request)
        return JSONResponse({"object": "list", "data": [_MODEL]})

    async def _model(self, request: Request) -> Response:
        self.access.tenant(request)
        if request.path_params["model"] != MODEL:
            raise ProxyError(404, "model_not_found", f"the model served here is {MODEL!r}")
        return JSONResponse(_MODEL)

    # -- completions ------------------------------------------------------------------------------------------------

    async def complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request for a completion, to its end: `send` gets an HTTP answer, unless the client is gone."""
        reply = ProxyResponse(send, secrets.token_hex(12))
        try:
            if not await self._answered(Request(scope, receive), reply):
                reply.status = GONE
        except ClientDisconnect:
            reply.status = GONE
        except (ProxyError, Refused, EngineError) as error:
            await reply.fail(Problem.of(error))
        except Exception as error:
            log.error("request %s failed (%s)", reply.id, type(error).__name__)
            await reply.fail(Problem.of(ProxyError(500, "internal_error", "something went wrong here")))
        finally:
            self._metrics.requests.labels(str(reply.status)).inc()

    async def _answered(self, request: Request, reply: ProxyResponse) -> bool:
        """Whether the client stayed. Raises ProxyError, Refused, EngineError and ClientDisconnect."""
        tenant = self.access.tenant(request)
        if not self._open:
            raise ProxyError(503, "server_loading", "the language model is not open", retry_after=2)
        with self.access.slot(tenant), self._metrics.in_flight.track_inprogress():
            asked = parse(await _body(request), caller_of(tenant, request.headers, reply.id))
            answer = _stream if asked.stream else _whole
            return await self._while_connected(answer(self._llm, asked, reply), request.receive)

    async def _while_connected(self, work: Coroutine[None, None, None], receive: Receive) -> bool:
        """Do it unless the client hangs up; then it ends at once, and this is False. Raises what the work raises."""
        working = asyncio.create_task(work, name="completion")
        gone = asyncio.create_task(_hang_up(receive), name="hang up")
        self._working.add(working)
        self._idle.clear()
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                return False
            if working.cancelled():
                raise Refused("server_draining", "the server is shutting down")
            working.result()
            return True
        finally:
            working.cancel()
            gone.cancel()
            await asyncio.gather(working, gone, return_exceptions=True)
            self._working.discard(working)
            if not self._working:
                self._idle.set()


class _Completions:
    """As Starlette wants an ASGI application for a route."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._proxy.complete(scope, receive, send)


async def _stream(llm: LlmEngine, asked: Asked, reply: ProxyResponse) -> None:
    """The answer's head goes out with its first event, so that what fails before has a status of its own."""
    chunks = Chunks(reply.answer_id, int(time.time()), asked.usage)
    async with aclosing(_events(llm, asked)) as events:
        async for event in events:
            if not reply.started:
                await reply.start("text/event-stream; charset=utf-8")
                await reply.body(chunks.begin())
            if data := chunks.event(event):
                await reply.body(data)
    await reply.body(b"", more=False)


async def _whole(llm: LlmEngine, asked: Asked, reply: ProxyResponse) -> None:
    whole = Whole()
    async with aclosing(_events(llm, asked)) as events:
        async for event in events:
            whole.event(event)
    await reply.start("application/json")
    await reply.body(whole.encode(reply.answer_id, int(time.time())), more=False)


async def _events(llm: LlmEngine, asked: Asked) -> AsyncGenerator[LlmEvent, None]:
    """The engine's, within ANSWER_SECONDS. Raises EngineError."""
    loop = asyncio.get_running_loop()
    until = loop.time() + ANSWER_SECONDS
    async with aclosing(llm.reply(asked.request)) as events:
        while True:
            try:
                async with asyncio.timeout_at(until):
                    event = await anext(events, None)
            except TimeoutError:
                raise EngineError("llm", "timeout", f"the answer took longer than {ANSWER_SECONDS:g} s") from None
            if event is None:
                return
            yield event


async def _body(request: Request) -> bytes:
    """Raises Refused and ClientDisconnect."""
    too_large = Refused("request_too_large", f"a request may have {MOST_BODY} bytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MOST_BODY:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BODY:
                    raise too_large
    except TimeoutError:
        raise Refused("request_timeout", "the request was not sent in time") from None
    return bytes(body)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router itself refuses: an unknown path, a wrong method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
    return _page(ProxyError(status, code, "there is no such page" if status == 404 else "not allowed here"))


def _answering(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A page whose ProxyError become HTTP errors."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except ProxyError as error:
            return _page(error)

    return answer


def _page(error: ProxyError) -> Response:
    problem = Problem.of(error)
    headers = {"retry-after": str(problem.retry_after)} if problem.retry_after else None
    return JSONResponse(problem.body, problem.status, headers)


_MODEL = {"id": MODEL, "object": "model", "created": 0, "owned_by": "voiceagent"}
