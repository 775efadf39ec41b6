"""Connection handler: runs a wire protocol over a transport, with one session behind it."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from voiceagent.channels.base import (
    Action,
    CallControl,
    CallController,
    CloseSocket,
    ControlError,
    Delay,
    EndReason,
    Execute,
    Frame,
    Send,
    SetTimer,
    Warn,
    WireProtocol,
)
from voiceagent.channels.transport import ClientDisconnected, Transport
from voiceagent.errors import EngineError, Refused
from voiceagent.server.metrics import Metrics
from voiceagent.server.observer import SessionObserver
from voiceagent.server.outbox import Outbox
from voiceagent.session.events import Event, ResponseAudio, ResponseDone
from voiceagent.session.session import Session

log = logging.getLogger(__name__)

SEND_SECONDS = 20.0
"""How long sending one message may take with a client that does not read."""
SEND_CHECK_SECONDS = 2.0
"""Between two checks of that."""
GOODBYE_SECONDS = 1.0
"""How long the last messages and the closing handshake may take: firmware never answers a Close frame."""
BIG_FRAME = 256 * 1024
"""Bytes above which a message is parsed in a thread: 256 kB take about 1 ms, 16 MB would hold the loop for 60."""
YIELD_BYTES = 64 * 1024
"""Bytes of messages after which the reader yields to other tasks: it does not suspend while messages are waiting."""
MESSAGE_BYTES = 1024
"""Added to a message's length for that: ten thousand tiny ones in a burst must not fill the outbox with answers."""


class CloseConnection(Exception):
    """Raised to end the connection with this close code, after these last messages. Not an error."""

    def __init__(self, code: int, reason: str = "", frames: list[Frame] | None = None) -> None:
        self.code, self.reason, self.frames = code, reason, frames or []


class ConnectionHandler:
    """The connection of one client. `run` returns when it is over; whatever the client does, nothing is left behind."""

    def __init__(
        self,
        transport: Transport,
        protocol: WireProtocol,
        make_session: Callable[[Callable[[Event], None]], Session],
        metrics: Metrics,
        control: CallController | None = None,
        observers: Sequence[SessionObserver] = (),
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._metrics = metrics
        self._control = control
        self._observers = observers
        self._tasks = asyncio.TaskGroup()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._outbox = Outbox()
        self._session = make_session(self._emit)
        self._stop: asyncio.Future[EndReason] | None = None
        self._sending_since: float | None = None
        self._parsing = False
        """A big message is being parsed in a thread."""
        self._over = False

    async def run(self) -> None:
        self._stop = asyncio.get_running_loop().create_future()
        ending = CloseConnection(1011, "internal error")
        try:
            async with self._tasks as tasks:
                tasks.create_task(self._run_session(), name="session")
                tasks.create_task(self._send(), name="sender")
                tasks.create_task(self._watch(), name="watch")
                await self._read()
        except* ClientDisconnected:
            ending = CloseConnection(1000)
        except* CloseConnection as endings:
            ending = next(error for error in endings.exceptions if isinstance(error, CloseConnection))
        except* EngineError as failures:
            error = next(leaves(failures))
            log.error("session %s: %s %s: %s", self._session.id, error.stage, error.code, error)
            ending = self._ending("internal_error")
        except* Exception:
            log.exception("session %s: internal error", self._session.id)
            ending = self._ending("internal_error")
        self._over = True
        self._transport.set_message_handler(None)
        for timer in self._timers.values():
            timer.cancel()
        for observer in self._observers:
            observer.on_end(ending.reason or "client left")
        await self._close(ending)

    def stop(self, reason: EndReason) -> None:
        """Ask the session to end."""
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(reason)

    # -- tasks ------------------------------------------------------------------------------------------------------

    async def _run_session(self) -> None:
        raise self._ending(await self._session.run())

    async def _watch(self) -> None:
        """End the session when that is asked for, or when a message cannot be sent. Checking now and then costs less
        than a timer for every message."""
        assert self._stop is not None
        while not self._stop.done():
            await asyncio.wait((self._stop,), timeout=SEND_CHECK_SECONDS)
            since = self._sending_since
            if since is not None and asyncio.get_running_loop().time() - since > SEND_SECONDS:
                raise self._ending("too_slow")
        raise self._ending(self._stop.result())

    async def _read(self) -> None:
        await self._session.ready.wait()
        self._perform(self._protocol.start())
        self._transport.set_message_handler(self._handle)
        read = 0
        while True:
            frame = await self._transport.receive()
            if len(frame) < BIG_FRAME:
                self._perform(self._protocol.receive(frame))
            else:
                self._parsing = True
                actions = await asyncio.to_thread(self._protocol.receive, frame)
                self._parsing = False
                self._perform(actions)
            read += MESSAGE_BYTES + len(frame)
            if read > YIELD_BYTES:
                read = 0
                await asyncio.sleep(0)

    def _handle(self, frame: Frame) -> bool:
        """Handle a message as it is read. Big ones are left to the reader, and those of a client that has an answer
        waiting, lest a burst of them fills the outbox."""
        if self._parsing or len(frame) >= BIG_FRAME or not self._outbox.empty:
            return False
        self._perform_outside(lambda: self._protocol.receive(frame))
        return True

    def _perform_outside(self, actions: Callable[[], list[Action]]) -> None:
        """Perform actions outside of any task: an exception ends the connection as if the reader had raised it."""
        if self._over:
            return
        try:
            self._perform(actions())
        except Exception as error:
            if self._stop is not None and not self._stop.done():
                self._stop.set_exception(error)
                self._stop.exception()  # retrieved: while all ends, nobody may be waiting for it any more

    async def _send(self) -> None:
        while True:
            frame = await self._outbox.get()
            if frame is None:
                raise self._ending("too_slow")
            if isinstance(frame, Delay):
                await asyncio.sleep(frame.seconds)
                continue
            self._sending_since = asyncio.get_running_loop().time()
            await self._transport.send(frame)
            self._sending_since = None

    # -- between protocol and session -------------------------------------------------------------------------------

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(frame):
                    self._enqueue(frame)
                case Delay():
                    self._enqueue(action)
                case Execute(command, ref):
                    try:
                        self._session.execute(command)
                    except Refused as refused:
                        for frame in self._protocol.refuse(refused, ref):
                            self._enqueue(frame)
                    else:
                        for observer in self._observers:
                            observer.on_command(command)
                case SetTimer(name, seconds):
                    self._set_timer(name, seconds)
                case CallControl():
                    self._tasks.create_task(self._carry_out(action), name="call control")
                case Warn(code, text):
                    self._metrics.warnings.labels(code).inc()
                    log.warning("session %s: %s %s: %s", self._session.id, self._protocol.name, code, text)
                case CloseSocket(code, reason):
                    raise CloseConnection(code, reason)

    def _set_timer(self, name: str, seconds: float | None) -> None:
        before = self._timers.pop(name, None)
        if before is not None:
            before.cancel()
        if seconds is not None:
            self._timers[name] = asyncio.get_running_loop().call_later(seconds, self._on_timer, name)

    def _on_timer(self, name: str) -> None:
        del self._timers[name]
        self._perform_outside(lambda: self._protocol.on_timer(name))

    async def _carry_out(self, control: CallControl) -> None:
        failure: str | None = None
        try:
            if self._control is None:
                raise ControlError("this connection has no call to control")
            await self._control.carry_out(control.operation)
        except ControlError as error:
            failure = str(error)
            log.warning("session %s: %s failed: %s", self._session.id, type(control.operation).__name__, error)
        self._perform(self._protocol.on_call_control(control.ref, failure))

    def _emit(self, event: Event) -> None:
        """Send an event of the session to the client."""
        self._metrics.observe(event)
        if isinstance(event, ResponseDone) and event.status == "cancelled":
            self._outbox.drop_audio(event.response_id)
        audio_of = event.response_id if isinstance(event, ResponseAudio) else None
        later: list[Action] = []
        for output in self._protocol.encode(event):
            match output:
                case str() | bytes():
                    self._enqueue(output, audio_of)
                case Send(frame):
                    self._enqueue(frame)
                case Delay():
                    self._enqueue(output)
                case _:
                    later.append(output)
        for observer in self._observers:
            observer.on_event(event)
        if later:  # not before the session is done with what it has emitted
            asyncio.get_running_loop().call_soon(self._perform_outside, lambda: later)

    def _enqueue(self, frame: Frame | Delay, audio_of: str | None = None) -> None:
        self._outbox.put(frame, audio_of)
        if self._outbox.overflowed:  # the sender may be waiting for the client's socket just now
            self.stop("too_slow")

    # -- the socket -------------------------------------------------------------------------------------------------

    def _ending(self, reason: EndReason) -> CloseConnection:
        frames, code = self._protocol.end(reason)
        return CloseConnection(code, reason, frames)

    async def _close(self, ending: CloseConnection) -> None:
        """Send what is left, then the Close frame; a client that does not read is not waited for."""
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                while not self._outbox.empty and not self._outbox.overflowed:
                    frame = await self._outbox.get()
                    if isinstance(frame, Delay):
                        await asyncio.sleep(frame.seconds)
                    elif frame is not None:
                        await self._transport.send(frame)
                for frame in ending.frames:
                    await self._transport.send(frame)
                await self._transport.close(ending.code, ending.reason)
        except (TimeoutError, ClientDisconnected):
            pass


def leaves(group: BaseExceptionGroup[EngineError]) -> Iterator[EngineError]:
    """The errors within nested groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
