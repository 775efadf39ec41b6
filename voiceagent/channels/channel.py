"""Channel: one world of clients on the server's port, and the server as a channel sees it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from voiceagent.channels.base import CallController, WireProtocol
from voiceagent.channels.transport import Transport
from voiceagent.plugins import PluginKind
from voiceagent.session.options import SessionOptions

ANYONE = "anyone"
"""The tenant of clients that connect where no API keys are configured."""
SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""Browsers cannot set headers: they send the API key as a WebSocket subprotocol with this prefix."""


@dataclass
class Denied(Exception):
    """A client that is not accepted. `status` is the HTTP status of the answer, `code` a short stable word for clients
    and metrics; `retry_after` is in seconds, 0 where trying again is of no use."""

    status: int
    code: str
    message: str
    retry_after: int = 0


@dataclass(frozen=True, slots=True)
class Client:
    """An authenticated client. `tenant` is the name of its API key, or of whatever else is accounted for it; `user`
    names the person whose memory the session has, within that tenant; `subprotocol` is the WebSocket subprotocol to
    accept."""

    protocol: WireProtocol
    session_id: str
    tenant: str
    user: str | None = None
    subprotocol: str | None = None
    control: CallController | None = None

    @property
    def kind(self) -> str:
        """The protocol's name, such as `realtime`."""
        return self.protocol.name


class ChannelHost(Protocol):
    """The server, as channels see it."""

    @property
    def keys_required(self) -> bool:
        """Whether API keys are configured, so that clients need one."""
        ...

    @property
    def session_seconds(self) -> float:
        """The longest session, in seconds."""
        ...

    @property
    def port(self) -> int:
        """The port that the server is configured to listen on."""
        ...

    def new_id(self, kind: str) -> str:
        """An unguessable id with this prefix, such as `item_5f0c…`."""
        ...

    def defaults(self) -> SessionOptions:
        """The options of a session whose client asks for nothing."""
        ...

    def check_origin(self, origin: str | None) -> None:
        """Check the origin that a web page's browser sends. Raises Denied 403."""
        ...

    def check_key(self, authorization: str | None, subprotocols: Sequence[str] = ()) -> str:
        """The tenant whose API key is presented; ANYONE where none are configured. Raises Denied 401."""
        ...

    def slot(self, tenant: str) -> AbstractContextManager[None]:
        """A slot for one session. Raises Denied when there is none, or the engines are not loaded."""
        ...

    async def serve(self, transport: Transport, client: Client) -> None:
        """The whole session of a client, until it is over. Only within `slot`."""
        ...

    async def accept(self, websocket: WebSocket, authenticate: Callable[[], Client]) -> None:
        """Everything for a WebSocket client: `authenticate` says who it is or raises Denied, which becomes the HTTP
        answer to the upgrade; then a slot, and the session."""
        ...


@dataclass(frozen=True, slots=True)
class Channel:
    """What the server runs for a channel. `routes` are served on the server's port. `run`, if any, lives as long as the
    server does; it is cancelled at the end."""

    routes: Sequence[BaseRoute] = ()
    run: Callable[[], Awaitable[None]] | None = None


class ChannelPlugin(Protocol):
    """A channel of another package. Constructed from its Options and the ChannelHost."""

    def channel(self) -> Channel:
        """Its routes and its own work."""
        ...


CHANNELS = PluginKind("channels", ChannelPlugin)
"""The channels of other packages that a configuration may name."""


def presented_key(authorization: str | None, subprotocols: Sequence[str]) -> str:
    """The key from the Authorization header or the browser's subprotocol, "" when there is neither."""
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""
    for subprotocol in subprotocols:
        if subprotocol.startswith(SUBPROTOCOL_KEY):
            return subprotocol.removeprefix(SUBPROTOCOL_KEY)
    return ""


def error_response(denied: Denied) -> JSONResponse:
    """The HTTP answer to a client that is denied, in the shape that OpenAI's clients read."""
    kind = "invalid_request_error" if denied.status < 500 else "server_error"
    error = {"type": kind, "code": denied.code, "message": denied.message, "param": None}
    headers = {"retry-after": str(denied.retry_after)} if denied.retry_after else None
    return JSONResponse({"error": error}, denied.status, headers)


def answering(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A handler of HTTP requests whose Denied become HTTP errors."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Denied as denied:
            return error_response(denied)

    return answer
