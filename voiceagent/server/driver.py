"""The socket driver: runs any wire protocol over any WebSocket, with one session behind it."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from voiceagent.errors import EngineError, Refused
from voiceagent.protocols.base import Action, Ask, Close, EndReason, Frame, Send, WireProtocol
from voiceagent.server.metrics import Metrics
from voiceagent.server.outbox import Outbox
from voiceagent.session.events import Event, ReplyAudio, ReplyDone
from voiceagent.session.session import Session

log = logging.getLogger(__name__)

SEND_SECONDS = 20.0
"""How long one message may wait for a client that does not read."""
SEND_CHECK_SECONDS = 2.0
"""Between two looks at that."""
GOODBYE_SECONDS = 1.0
"""How long last words and the closing handshake may take: firmware never answers a Close frame."""
BIG_FRAME = 256 * 1024
"""Bytes above which a message is parsed in a thread: 256 kB take about 1 ms, 16 MB would hold the loop for 60."""
TURN_BYTES = 64 * 1024
"""Bytes of messages after which the reader lets others run: those that wait are taken without a pause otherwise."""
MESSAGE_BYTES = 1024
"""What a message costs by itself, as bytes: ten thousand tiny ones in a burst must not fill the outbox with answers."""
GIVE_TO = "voiceagent.give_to"
"""An extension of the ASGI scope, offered by our own server: `give_to(taker)` has messages given to `taker` as they are
read, instead of through `receive`; None ends it."""

Taker = Callable[[Frame], bool]
"""Takes a message, or returns False when it is to come through `receive`, as all do while one waits there."""


class Ending(Exception):
    """Not an error: the server ends the connection with this close code, after these last messages."""

    def __init__(self, code: int, reason: str = "", frames: list[Frame] | None = None) -> None:
        self.code, self.reason, self.frames = code, reason, frames or []


class Gone(Exception):
    """Not an error: the client has left."""


class Connection:
    """One client. `run` returns when the connection is over; whatever the client does, nothing is left behind."""

    def __init__(
        self,
        websocket: WebSocket,
        protocol: WireProtocol,
        make_session: Callable[[Callable[[Event], None]], Session],
        metrics: Metrics,
    ) -> None:
        self._websocket = websocket
        self._protocol = protocol
        self._metrics = metrics
        self._outbox = Outbox()
        self._session = make_session(self._emit)
        self._stop: asyncio.Future[EndReason] | None = None
        self._sending_since: float | None = None
        self._busy = False
        """A big message is being parsed, or the connection is over."""

    async def run(self) -> None:
        self._stop = asyncio.get_running_loop().create_future()
        ending = Ending(1011, "internal error")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._converse(), name="session")
                tasks.create_task(self._write(), name="writer")
                tasks.create_task(self._watch(), name="watch")
                await self._read()
        except* Gone:
            ending = Ending(1000)
        except* Ending as endings:
            ending = next(error for error in endings.exceptions if isinstance(error, Ending))
        except* EngineError as failures:
            error = next(leaves(failures))
            log.error("session %s: %s %s: %s", self._session.id, error.stage, error.code, error)
            ending = self._ending("internal_error")
        except* Exception:
            log.exception("session %s: internal error", self._session.id)
            ending = self._ending("internal_error")
        self._have_messages_given_to(None)
        await self._close(ending)

    def stop(self, reason: EndReason) -> None:
        """Ask the conversation to end."""
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(reason)

    # -- tasks ------------------------------------------------------------------------------------------------------

    async def _converse(self) -> None:
        raise self._ending(await self._session.run())

    async def _watch(self) -> None:
        """End the conversation when that is asked for, or when a message does not get through. Looking now and then
        costs less than a timer for every message."""
        assert self._stop is not None
        while not self._stop.done():
            await asyncio.wait((self._stop,), timeout=SEND_CHECK_SECONDS)
            since = self._sending_since
            if since is not None and asyncio.get_running_loop().time() - since > SEND_SECONDS:
                raise self._ending("too_slow")
        raise self._ending(self._stop.result())

    async def _read(self) -> None:
        await self._session.ready.wait()
        self._act(self._protocol.start())
        self._have_messages_given_to(self._take)
        taken = 0
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise Gone
            frame: Frame = message["text"] if message.get("text") is not None else message["bytes"]
            if len(frame) < BIG_FRAME:
                self._act(self._protocol.receive(frame))
            else:
                self._busy = True
                actions = await asyncio.to_thread(self._protocol.receive, frame)
                self._busy = False
                self._act(actions)
            taken += MESSAGE_BYTES + len(frame)
            if taken > TURN_BYTES:
                taken = 0
                await asyncio.sleep(0)

    def _have_messages_given_to(self, taker: Taker | None) -> None:
        """Where the server can do it, messages need no task to wake."""
        offered = self._websocket.scope.get("extensions", {}).get(GIVE_TO)
        if offered is not None:
            offered["give_to"](taker)

    def _take(self, frame: Frame) -> bool:
        """A message as it is read. What needs patience is left to the reader: big ones, and those of a client that has
        an answer waiting, lest a burst of them fills the outbox."""
        if self._busy or len(frame) >= BIG_FRAME or not self._outbox.empty:
            return False
        try:
            self._act(self._protocol.receive(frame))
        except Exception as error:  # also an Ending: it ends the connection as if the reader had raised it
            if self._stop is not None and not self._stop.done():
                self._stop.set_exception(error)
                self._stop.exception()  # looked at: while all ends, nobody may be waiting for it any more
        return True

    async def _write(self) -> None:
        while True:
            frame = await self._outbox.get()
            if frame is None:
                raise self._ending("too_slow")
            self._sending_since = asyncio.get_running_loop().time()
            await self._send(frame)
            self._sending_since = None

    # -- between protocol and session -------------------------------------------------------------------------------

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(frame):
                    self._tell(frame)
                case Ask(command, ref):
                    try:
                        self._session.execute(command)
                    except Refused as refused:
                        for frame in self._protocol.refuse(refused, ref):
                            self._tell(frame)
                case Close(code, reason):
                    raise Ending(code, reason)

    def _emit(self, event: Event) -> None:
        """The session's events, in order, to the client."""
        self._metrics.observe(event)
        if isinstance(event, ReplyDone) and event.status == "cancelled":
            self._outbox.drop_audio(event.reply_id)
        audio_of = event.reply_id if isinstance(event, ReplyAudio) else None
        for frame in self._protocol.encode(event):
            self._tell(frame, audio_of)

    def _tell(self, frame: Frame, audio_of: str | None = None) -> None:
        self._outbox.put(frame, audio_of)
        if self._outbox.overflowed:  # the writer may be waiting for the client's socket just now
            self.stop("too_slow")

    # -- the socket -------------------------------------------------------------------------------------------------

    async def _send(self, frame: Frame) -> None:
        try:
            if isinstance(frame, str):
                await self._websocket.send_text(frame)
            else:
                await self._websocket.send_bytes(frame)
        except (WebSocketDisconnect, RuntimeError):
            raise Gone from None

    def _ending(self, reason: EndReason) -> Ending:
        frames, code = self._protocol.end(reason)
        return Ending(code, reason, frames)

    async def _close(self, ending: Ending) -> None:
        """What is still to be said, then the Close frame; a client that does not listen is not waited for."""
        if self._websocket.client_state is not WebSocketState.CONNECTED:
            return
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                while not self._outbox.empty and not self._outbox.overflowed:
                    frame = await self._outbox.get()
                    if frame is not None:
                        await self._send(frame)
                for frame in ending.frames:
                    await self._send(frame)
                await self._websocket.close(ending.code, ending.reason)
        except (TimeoutError, Gone, WebSocketDisconnect, RuntimeError):
            pass


def leaves(group: BaseExceptionGroup[EngineError]) -> Iterator[EngineError]:
    """The errors themselves, out of groups within groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
