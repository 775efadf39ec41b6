"""Server of the gateway's proxy: the proxy on a port, with this server's keys and limits, and a drain on SIGTERM."""

import asyncio
import logging
import socket
from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.requests import Request

from voiceagent.channels.channel import Denied
from voiceagent.errors import ConfigError
from voiceagent.gateway.proxy.app import Proxy
from voiceagent.gateway.proxy.response import ProxyError
from voiceagent.llm.base import LlmEngine
from voiceagent.llm.layers import layers
from voiceagent.server.admission import Admission
from voiceagent.server.llm.pages import llm_pages
from voiceagent.server.metrics import Observable, watch_lag
from voiceagent.server.serve import listen
from voiceagent.server.settings import LimitSection, ServerSection
from voiceagent.server.uvicorn_ext import HttpConnection
from voiceagent.settings import Settings

log = logging.getLogger(__name__)

UNREAD_SECONDS = 20.0
"""How long a client may leave what was sent unread, once the buffers are full."""


class LimitedAccess:
    """Who may ask by `[limits]`: its keys and origins, and as many requests at once as sessions."""

    def __init__(self, limits: LimitSection) -> None:
        self.admission = Admission(limits)

    @property
    def draining(self) -> bool:
        return self.admission.draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self.admission.draining = value

    @property
    def requests(self) -> int:
        return self.admission.sessions

    def tenant(self, request: Request) -> str:
        """Raises ProxyError 401 and 403."""
        with _denied():
            self.admission.check_origin(request.headers.get("origin"))
            return self.admission.check_key(request.headers.get("authorization"))

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        """Raises ProxyError 429 and 503."""
        with _denied(), self.admission.slot(tenant):
            yield


@contextmanager
def _denied() -> Iterator[None]:
    try:
        yield
    except Denied as denied:
        raise ProxyError(denied.status, denied.code, denied.message, denied.retry_after) from None


class ProxyConnection(HttpConnection):
    """A client that does not read its answer is let go, which ends its request."""

    _unread: TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._settle()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def _settle(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class ProxyServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT requests may finish and new ones are refused; a second one ends at once."""

    def __init__(self, config: uvicorn.Config, proxy: Proxy) -> None:
        super().__init__(config)
        self._proxy = proxy
        self._drain_asked = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain_asked.is_set() or not self.started:
            self.force_exit = self.should_exit
            self.should_exit = True
            return
        # A signal handler runs between any two instructions of the loop's thread: only tell the loop.
        asyncio.get_running_loop().call_soon_threadsafe(self._drain_asked.set)

    async def drain_when_asked(self) -> None:
        await self._drain_asked.wait()
        log.info("refusing new requests, letting %d finish", self._proxy.access.requests)
        await self._proxy.drain()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._proxy.failure is not None:
            self.should_exit = True


def make_proxy(settings: Settings, llm: LlmEngine) -> Proxy:
    """The proxy of a language model, with the keys and limits of the settings."""
    access = LimitedAccess(settings.limits)
    return Proxy(
        llm,
        access,
        drain_seconds=settings.server.drain_seconds,
        watch_lag=watch_lag,
        collectors=[layer for layer in layers(llm) if isinstance(layer, Observable)],
        routes=llm_pages(llm, settings, access.admission),
    )


def make_server(proxy: Proxy, settings: ServerSection) -> ProxyServer:
    """Raises ConfigError for TLS files that cannot be read."""
    config = uvicorn.Config(
        proxy.app,
        ws="none",
        http=ProxyConnection,
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=5,
    )
    try:
        config.load()
    except OSError as error:
        raise ConfigError(f"[server] tls_cert, tls_key: {error.strerror or error}") from None
    return ProxyServer(config, proxy)


async def serve(settings: Settings, llm: LlmEngine, on_ready: Callable[[str], None]) -> None:
    """Serve until asked to stop. `on_ready` is called with the base URL for OpenAI's clients. Raises what opening the
    engine raised, ConfigError above all."""
    proxy = make_proxy(settings, llm)
    server = make_server(proxy, settings.server)
    with listen(settings.server.host, settings.server.port) as listening:
        helpers = [
            asyncio.create_task(server.drain_when_asked(), name="drain"),
            asyncio.create_task(_announce(proxy, settings.server, listening, on_ready), name="announce"),
        ]
        try:
            await server.serve([listening])
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
    if proxy.failure is not None:
        raise proxy.failure


async def _announce(
    proxy: Proxy, settings: ServerSection, listening: socket.socket, on_ready: Callable[[str], None]
) -> None:
    await proxy.loaded.wait()
    if proxy.failure is None:
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        on_ready(f"{'https' if settings.tls_cert else 'http'}://{host}:{port}/v1")
