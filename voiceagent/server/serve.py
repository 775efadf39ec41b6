"""Server on a port: runs the app with uvicorn, with a drain on SIGTERM."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from voiceagent.errors import ConfigError
from voiceagent.server.app import VoiceServer
from voiceagent.server.uvicorn_ext import HttpConnection, WebSocketConnection

log = logging.getLogger(__name__)

PING_SECONDS = 20.0
"""Between two WebSocket pings, which keep middle boxes awake."""


class DrainingServer(uvicorn.Server):
    """On the first SIGTERM or SIGINT sessions may finish and new ones are refused; a second one ends at once."""

    def __init__(self, config: uvicorn.Config, voice: VoiceServer) -> None:
        super().__init__(config)
        self._voice = voice
        self._drain_asked = asyncio.Event()
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @property
    def url(self) -> str:
        """Where OpenAI Realtime clients connect, once started."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self._voice.settings.server.tls_cert else 'ws'}://{host}:{port}/v1/realtime"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain_asked.is_set() or not self.started:
            self.force_exit = self.should_exit
            self.should_exit = True
            return
        log.info(
            "%s: refusing new sessions, letting %d finish", signal.Signals(sig).name, self._voice.admission.sessions
        )
        # A signal handler runs between any two instructions of the loop's thread: only tell the loop.
        asyncio.get_running_loop().call_soon_threadsafe(self._drain_asked.set)

    async def drain_when_asked(self) -> None:
        await self._drain_asked.wait()
        await self._voice.drain()
        self.should_exit = True

    async def announce(self, on_ready: Callable[[str], None]) -> None:
        """Say where it listens, once sessions can begin; stop when they never can."""
        await self.listening.wait()
        await self._voice.loaded.wait()
        if self._voice.failure is None:
            # What is loaded stays. Looking through it again, a full collection holds the loop for 35 ms.
            gc.collect()
            gc.freeze()
            on_ready(self.url)
        else:
            self.should_exit = True


def make_server(voice: VoiceServer) -> DrainingServer:
    settings = voice.settings.server
    config = uvicorn.Config(
        voice.app,
        host=settings.host,
        port=settings.port,
        ws=WebSocketConnection,
        ws_max_size=voice.settings.limits.message_bytes,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=None,  # pings keep middle boxes awake; a client that does not answer them is not ended for it
        ws_per_message_deflate=False,
        http=HttpConnection,
        lifespan="on",
        log_config=None,
        log_level="warning",  # below it the websockets library logs headers, and with them keys
        access_log=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=5,
    )
    try:
        config.load()
    except OSError as error:
        raise ConfigError(f"[server] tls_cert, tls_key: {error.strerror or error}") from None
    return DrainingServer(config, voice)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken, unknown or not allowed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off. Otherwise every answer but its first few bytes waits
    # for the client's acknowledgement, which comes with its next 20 ms of audio.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        return listener
    except OSError as error:
        listener.close()
        raise ConfigError(f"[server] cannot listen on {host}, port {port}: {error.strerror or error}") from None


async def serve(voice: VoiceServer, on_ready: Callable[[str], None]) -> None:
    """Serve until told to stop. `on_ready` is told the URL once the engines are loaded.
    Raises what loading them raised, ConfigError above all."""
    server = make_server(voice)
    listener = listen(voice.settings.server.host, voice.settings.server.port)
    helpers = [
        asyncio.create_task(server.drain_when_asked(), name="drain"),
        asyncio.create_task(server.announce(on_ready), name="announce"),
    ]
    try:
        await server.serve([listener])
    finally:
        listener.close()
        for helper in helpers:
            helper.cancel()
    if voice.failure is not None:
        raise voice.failure
