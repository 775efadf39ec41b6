"""uvicorn's WebSocket connection, made to read on while messages wait.

uvicorn stops reading after each message until the application has taken it: two system calls and a walk through the
event loop's books for every 20 ms of every client's audio. Here a few messages may wait.
"""

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MESSAGES = 64
"""So many may wait: more than a second of audio."""
LARGE = 64 * 1024
"""Bytes of a message after which nothing more is read until it was taken; beside it at most MESSAGES * LARGE wait."""


class ReadAhead(WebSocketsSansIOProtocol):
    def send_receive_event_to_app(self) -> None:
        large = sum(map(len, self.frames)) > LARGE
        self.read_paused = True  # so that uvicorn takes reading for stopped already
        super().send_receive_event_to_app()
        if large or self.queue.qsize() >= MESSAGES:
            self.transport.pause_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.queue.empty():
            self.transport.resume_reading()
        return message
