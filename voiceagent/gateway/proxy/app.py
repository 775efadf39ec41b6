"""The edge as a server of its own: OpenAI's chat completions over HTTP, for programs that are not voice agents."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from voiceagent.channels.channel import Denied, answering, error_response
from voiceagent.errors import EngineError, Refused
from voiceagent.gateway.proxy.answer import Chunks, Problem, Whole
from voiceagent.gateway.proxy.reply import GONE, ProxyMetrics, ProxyResponse
from voiceagent.gateway.proxy.request import MODEL, Asked, caller_of, parse
from voiceagent.llm.base import LlmEngine, LlmEvent
from voiceagent.server.admission import Admission
from voiceagent.server.llm_pages import llm_pages
from voiceagent.server.metrics import watch_lag
from voiceagent.settings import Settings

log = logging.getLogger(__name__)

MOST_BODY = 256 * 1024
"""Bytes of a request: some 60 000 tokens. Reading and counting the tokens of more would hold the loop for too long."""
BODY_SECONDS = 15.0
"""How long a client may take to send it."""
ANSWER_SECONDS = 600.0
"""How long an answer may take; each token has the engine's own deadline."""
END_SECONDS = 3.0
"""How long requests that are ended at last, when the server goes down, may take for it."""


class Proxy:
    """`app` is the ASGI application; its lifespan opens and closes the engine. `[limits]` says who may ask
    (`api_keys`), and how much at once (`sessions`, `sessions_per_key`)."""

    def __init__(self, settings: Settings, llm: LlmEngine) -> None:
        self.settings = settings
        self.admission = Admission(settings.limits)
        self.loaded = asyncio.Event()
        """Set when the engine is open, or could not be opened."""
        self.failure: Exception | None = None
        self._llm = llm
        self._open = False
        self._metrics = ProxyMetrics(llm)
        self._working: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", _Completions(self), methods=["POST"]),
                Route("/v1/models", answering(self._models)),
                Route("/v1/models/{model}", answering(self._model)),
                Route("/healthz", self._healthz),
                Route("/metrics", self._page_of_metrics),
                *llm_pages(llm, settings, self.admission),
            ],
            exception_handlers={HTTPException: _http_error},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        lag = asyncio.create_task(watch_lag(self._metrics.loop_lag), name="loop lag")
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
        self.admission.draining = True
        await self._until_idle(self.settings.server.drain_seconds)
        for task in self._working:
            task.cancel()
        await self._until_idle(END_SECONDS)

    async def _until_idle(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    # -- pages ------------------------------------------------------------------------------------------------------

    async def _healthz(self, request: Request) -> Response:
        requests = self.admission.sessions
        if not self._open:
            return JSONResponse({"status": "loading" if self.failure is None else "failed"}, 503)
        if self.admission.draining:
            return JSONResponse({"status": "draining", "requests": requests}, 503)
        return JSONResponse({"status": "ok", "requests": requests})

    async def _page_of_metrics(self, request: Request) -> Response:
        body, content_type = self._metrics.page()
        return Response(body, headers={"content-type": content_type})

    async def _models(self, request: Request) -> Response:
        self.tenant(request)
        return JSONResponse({"object": "list", "data": [_MODEL]})

    async def _model(self, request: Request) -> Response:
        self.tenant(request)
        if request.path_params["model"] != MODEL:
            raise Denied(404, "model_not_found", f"the model served here is {MODEL!r}")
        return JSONResponse(_MODEL)

    def tenant(self, request: Request) -> str:
        """Raises Denied 401 and 403."""
        self.admission.check_origin(request.headers.get("origin"))
        return self.admission.check_key(request.headers.get("authorization"))

    # -- completions ------------------------------------------------------------------------------------------------

    async def complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request for a completion, to its end: `send` gets an HTTP answer, unless the client is gone."""
        reply = ProxyResponse(send, secrets.token_hex(12))
        try:
            if not await self._answered(Request(scope, receive), reply):
                reply.status = GONE
        except ClientDisconnect:
            reply.status = GONE
        except (Denied, Refused, EngineError) as error:
            await reply.fail(Problem.of(error))
        except Exception as error:
            log.error("request %s failed (%s)", reply.id, type(error).__name__)
            await reply.fail(Problem.of(Denied(500, "internal_error", "something went wrong here")))
        finally:
            self._metrics.requests.labels(str(reply.status)).inc()

    async def _answered(self, request: Request, reply: ProxyResponse) -> bool:
        """Whether the client stayed. Raises Denied, Refused, EngineError and ClientDisconnect."""
        tenant = self.tenant(request)
        if not self._open:
            raise Denied(503, "server_loading", "the language model is not open", retry_after=2)
        with self.admission.slot(tenant), self._metrics.in_flight.track_inprogress():
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
    return error_response(Denied(status, code, "there is no such page" if status == 404 else "not allowed here"))


_MODEL = {"id": MODEL, "object": "model", "created": 0, "owned_by": "voiceagent"}
