"""uvicorn's two protocols with the bounds and deadlines they lack against clients that are broken, gone or hostile."""

import asyncio
import socket
from asyncio import TimerHandle
from typing import Protocol, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from voiceagent.channels.transport import SET_MESSAGE_HANDLER, WITHOUT_PINGS, MessageHandler

# uvicorn's WebSocket connection, made to hand messages on as they come.
#
# uvicorn puts each message into a queue and stops reading until the application has taken it: a task to wake, two
# system calls and a walk through the event loop's books for every 20 ms of every client's audio. Here the application
# may have messages given to it as they are read, and of those that it leaves in the queue some may wait.

MESSAGES = 64
"""So many may wait: more than a second of audio."""
LARGE = 64 * 1024
"""Bytes of a message after which nothing more is read until it was taken; beside it at most MESSAGES * LARGE wait."""

KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}
"""Seconds without a packet until the first probe, between two of them, and probes without an answer that end it."""


class ReadAhead(WebSocketsSansIOProtocol):
    _handler: MessageHandler | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # it is no handshake that was refused
            self.scope["extensions"][SET_MESSAGE_HANDLER] = {"set": self._set_message_handler}
            self.scope["extensions"][WITHOUT_PINGS] = {"use": self._without_pings}

    def _without_pings(self) -> None:
        """Let the system look whether the client is still there, and keep middle boxes awake."""
        self.ping_interval = None
        stream: socket.socket | None = self.transport.get_extra_info("socket")
        if stream is not None:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                if hasattr(socket, name):  # not on every system
                    stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def _set_message_handler(self, handler: MessageHandler | None) -> None:
        self._handler = handler

    def send_receive_event_to_app(self) -> None:
        if self._handler is not None and self.queue.empty() and self._handled(self._handler):
            self.frames = []
            return
        large = sum(map(len, self.frames)) > LARGE
        self.read_paused = True  # so that uvicorn takes reading for stopped already
        super().send_receive_event_to_app()
        if large or self.queue.qsize() >= MESSAGES:
            self.transport.pause_reading()

    def _handled(self, handler: MessageHandler) -> bool:
        if len(self.frames) > 1 or self.close_sent:
            return False
        data = self.frames[0]
        if self.curr_msg_data_type == "bytes":
            return handler(data)
        try:
            return handler(str(data, "utf-8"))
        except UnicodeDecodeError:  # uvicorn knows what to tell the client
            return False

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.queue.empty():
            self.transport.resume_reading()
        return message


REQUEST_SECONDS = 10.0
"""How long a client may take for a request's head."""
LINGER_SECONDS = 2.0
"""How long a finished connection stays for a client that reads slowly or still sends."""
READ_BYTES = 8 * 1024
"""Most that is taken from a socket at once: fourteen hundred empty frames, 7 ms of parsing. asyncio's own 256 kB hold
forty thousand."""
UNREAD_BYTES = 256 * 1024
"""Pongs and the like that may wait for a client that pings and does not read."""


class _Reading(Protocol):
    max_size: int


class HttpConnection(H11Protocol):
    """A client that has not sent a whole request in REQUEST_SECONDS is let go."""

    _deadline: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # asyncio's own; other loops have other bounds
            cast(_Reading, transport).max_size = READ_BYTES
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is None and self._is_waiting():
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def _is_waiting(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return (cycle is None or cycle.response_complete) and self.transport.get_protocol() is self

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_waiting():
            self.transport.abort()


class WebSocketConnection(ReadAhead):
    """Whatever the client does or omits, the socket is gone LINGER_SECONDS after the conversation."""

    _lingering: TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self.conn.parser_exc is None:  # what follows a broken frame is thrown away
            super().data_received(data)

    def handle_ping(self) -> None:
        if self.transport.is_closing():
            return
        super().handle_ping()
        if self.transport.get_write_buffer_size() > UNREAD_BYTES:
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Tell the client what was wrong with its frame. Closing at once, while it still sends, would reset the
        connection, and the client would never read the reason."""
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_sent = True
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused with an answer: uvicorn would log that none was given

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:  # closing alone waits until the client has read everything
            self._lingering = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._lingering is not None:
            self._lingering.cancel()
