"""uvicorn's WebSocket connection, made to hand messages on as they come.

uvicorn puts each message into a queue and stops reading until the application has taken it: a task to wake, two system
calls and a walk through the event loop's books for every 20 ms of every client's audio. Here the application may have
messages given to it as they are read, and of those that it leaves in the queue some may wait.
"""

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from voiceagent.server.transport import GIVE_TO, Taker

MESSAGES = 64
"""So many may wait: more than a second of audio."""
LARGE = 64 * 1024
"""Bytes of a message after which nothing more is read until it was taken; beside it at most MESSAGES * LARGE wait."""


class ReadAhead(WebSocketsSansIOProtocol):
    _taker: Taker | None = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # it is no handshake that was refused
            self.scope["extensions"][GIVE_TO] = {"give_to": self._give_to}

    def _give_to(self, taker: Taker | None) -> None:
        self._taker = taker

    def send_receive_event_to_app(self) -> None:
        if self._taker is not None and self.queue.empty() and self._taken(self._taker):
            self.frames = []
            return
        large = sum(map(len, self.frames)) > LARGE
        self.read_paused = True  # so that uvicorn takes reading for stopped already
        super().send_receive_event_to_app()
        if large or self.queue.qsize() >= MESSAGES:
            self.transport.pause_reading()

    def _taken(self, taker: Taker) -> bool:
        if len(self.frames) > 1 or self.close_sent:
            return False
        data = self.frames[0]
        if self.curr_msg_data_type == "bytes":
            return taker(data)
        try:
            return taker(str(data, "utf-8"))
        except UnicodeDecodeError:  # uvicorn knows what to tell the client
            return False

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.queue.empty():
            self.transport.resume_reading()
        return message
