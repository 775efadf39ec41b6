"""What a door sees of the server behind it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from voiceagent.channels.base import CallController, WireProtocol
from voiceagent.channels.transport import Transport
from voiceagent.server.admission import Denied
from voiceagent.session.options import SessionOptions

if TYPE_CHECKING:
    from voiceagent.admin.board import Board
    from voiceagent.recordings.store import RecordingStore
    from voiceagent.server.admission import Admission
    from voiceagent.settings import Settings


@dataclass(frozen=True, slots=True)
class Client:
    """A client that may come in. `tenant` is the name of its API key, or whatever stands for who pays; `user` names the
    person whose memory the talk has, within that tenant; `subprotocol` is the one to accept."""

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
    """The server. `new_id("item")` makes an unguessable id with that prefix."""

    settings: "Settings"
    admission: "Admission"
    board: "Board | None"
    """What an operator sees; None where nobody may."""
    recordings: "RecordingStore | None"
    """Where talks are recorded, if they are."""

    def new_id(self, kind: str) -> str: ...

    def defaults(self) -> SessionOptions:
        """The options of a session whose client asks for nothing."""
        ...

    def place(self, tenant: str) -> AbstractContextManager[None]:
        """A place for one conversation. Raises Denied when there is none, or the engines are not loaded."""
        ...

    async def hold(self, transport: Transport, visitor: Client) -> None:
        """The conversation, until it is over. Only within `place`."""
        ...

    async def welcome(self, websocket: WebSocket, knock: Callable[[], Client]) -> None:
        """The whole visit of a WebSocket client: `knock` says who it is or raises Denied, which becomes the HTTP answer
        to the upgrade; then a place, and the conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Channel:
    """`routes` are served on the server's port. `run`, if any, lives as long as the server does; it is cancelled at the
    end."""

    routes: Sequence[BaseRoute] = ()
    run: Callable[[], Awaitable[None]] | None = None


def error_response(denied: Denied) -> JSONResponse:
    """Why not, in the shape OpenAI's clients read."""
    kind = "invalid_request_error" if denied.status < 500 else "server_error"
    error = {"type": kind, "code": denied.code, "message": denied.message, "param": None}
    headers = {"retry-after": str(denied.retry_after)} if denied.retry_after else None
    return JSONResponse({"error": error}, denied.status, headers)


def answering(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A page whose Denied become HTTP errors."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Denied as denied:
            return error_response(denied)

    return answer
