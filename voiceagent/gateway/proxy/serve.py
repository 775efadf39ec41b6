"""The proxy on a port, with a drain on SIGTERM."""

import asyncio
import logging
import socket
from asyncio import TimerHandle
from collections.abc import Callable
from types import FrameType

import uvicorn

from voiceagent.errors import ConfigError
from voiceagent.gateway.proxy.app import Proxy
from voiceagent.server.serve import listen
from voiceagent.server.uvicorn_ext import HttpConnection

log = logging.getLogger(__name__)

UNREAD_SECONDS = 20.0
"""How long a client may leave what was sent unread, once the buffers are full."""


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
        log.info("refusing new requests, letting %d finish", self._proxy.admission.sessions)
        await self._proxy.drain()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._proxy.failure is not None:
            self.should_exit = True


def make_server(proxy: Proxy) -> ProxyServer:
    """Raises ConfigError for TLS files that cannot be read."""
    settings = proxy.settings.server
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


async def serve(proxy: Proxy, on_ready: Callable[[str], None], listener: socket.socket | None = None) -> None:
    """Serve until told to stop. `on_ready` is told the base URL for OpenAI's clients. Raises what opening the engine
    raised, ConfigError above all."""
    settings = proxy.settings.server
    server = make_server(proxy)
    with listener or listen(settings.host, settings.port) as listening:
        helpers = [
            asyncio.create_task(server.drain_when_asked(), name="drain"),
            asyncio.create_task(_announce(proxy, listening, on_ready), name="announce"),
        ]
        try:
            await server.serve([listening])
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
    if proxy.failure is not None:
        raise proxy.failure


async def _announce(proxy: Proxy, listening: socket.socket, on_ready: Callable[[str], None]) -> None:
    await proxy.loaded.wait()
    if proxy.failure is None:
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        on_ready(f"{'https' if proxy.settings.server.tls_cert else 'http'}://{host}:{port}/v1")
