"""Transport: carries messages between a client and its connection handler; a WebSocket, or whatever has messages."""

from collections.abc import Callable
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from voiceagent.channels.base import Frame

SET_MESSAGE_HANDLER = "voiceagent.set_message_handler"
"""An extension of the ASGI scope, offered by our own server: `set(handler)` has messages handed to it as they are read,
instead of through `receive`; None ends it."""

WITHOUT_PINGS = "voiceagent.without_pings"
"""An extension of the ASGI scope, offered by our own server: `use()`, before the connection is accepted, has it watched
by TCP's own keepalive instead of WebSocket pings."""

MessageHandler = Callable[[Frame], bool]
"""Handles a message, or returns False when it is to come through `receive`, as all do while one waits there."""


class ClientDisconnected(Exception):
    """Not an error: the client has left."""


class Transport(Protocol):
    """A connection that carries whole messages both ways."""

    async def receive(self) -> Frame:
        """The client's next message. Raises ClientDisconnected."""
        ...

    async def send(self, frame: Frame) -> None:
        """Raises ClientDisconnected."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """End the connection, if that is not over. Raises ClientDisconnected."""
        ...

    def set_message_handler(self, handler: MessageHandler | None) -> None:
        """Have messages handed to `handler` as they come, without waking a task, where that can be done."""
        ...


def without_pings(websocket: WebSocket) -> None:
    """Send this client no WebSocket pings, where the server can do without them. To be called before it is accepted."""
    offered = websocket.scope.get("extensions", {}).get(WITHOUT_PINGS)
    if offered is not None:
        offered["use"]()


class WebSocketTransport:
    """The transport of an accepted WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> Frame:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise ClientDisconnected
        frame: Frame = message["text"] if message.get("text") is not None else message["bytes"]
        return frame

    async def send(self, frame: Frame) -> None:
        try:
            if isinstance(frame, str):
                await self._websocket.send_text(frame)
            else:
                await self._websocket.send_bytes(frame)
        except (WebSocketDisconnect, RuntimeError):
            raise ClientDisconnected from None

    async def close(self, code: int, reason: str) -> None:
        if self._websocket.client_state is not WebSocketState.CONNECTED:
            return
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError):
            raise ClientDisconnected from None

    def set_message_handler(self, handler: MessageHandler | None) -> None:
        offered = self._websocket.scope.get("extensions", {}).get(SET_MESSAGE_HANDLER)
        if offered is not None:
            offered["set"](handler)
