"""A call of any telephone system in virtual time: its buffer, the true protocol and driver, a session on a bench."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, cast

import numpy as np

from tests.support.session.bench import APOLOGY, Answer, LoudnessVad, NoiseVoice, ScriptedModel, WordsAsr
from tests.support.telephone.bench import Desk, Pipe
from tests.support.telephone.systems.vendors import Mark, Other, Word, peer
from tests.support.telephone.twilio import Hung, SimulatedTwilio
from tests.support.telephone.vendors import Json, Vendor
from voiceagent.channels.base import CallController, Frame
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.vendors.audiosocket import AudioPace, seconds_of
from voiceagent.channels.telephone.wire import VendorCall
from voiceagent.engines import Engines
from voiceagent.server.connection import ConnectionHandler
from voiceagent.server.metrics import Metrics
from voiceagent.session import events as ev
from voiceagent.session.commands import Command, ReportPlayed
from voiceagent.session.context import SessionResources
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.phrases import Fillers
from voiceagent.session.session import Session
from voiceagent.settings import Settings
from voiceagent.tools.toolbox import Toolbox

M = TypeVar("M")


class SimulatedSystem(SimulatedTwilio):
    """The same caller and the same buffer, in another system's words."""

    def __init__(
        self, name: str, send: Callable[[Frame], Awaitable[None]], receive: Callable[[], Awaitable[Frame]]
    ) -> None:
        super().__init__(cast(Callable[[str], Awaitable[None]], send), cast(Callable[[], Awaitable[str]], receive))
        self.other = Other(name)
        self._vendor = cast(Vendor, self.other)
        self.words: list[str] = []
        """What it was told besides audio."""

    async def hang_up(self) -> None:
        stop = self.other.stop()
        assert stop is not None
        await self._send(cast(str, stop))

    async def run(self, parameters: Json | None = None) -> None:
        for frame in self.other.start():
            await self._send(cast(str, frame))
        self._started = True
        line = asyncio.create_task(self._line(), name="telephone line")
        try:
            with suppress(Hung):
                while True:
                    await self._happen(self.other.understand(await self._receive()))
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
            self.over.set()
            self._changed.set()

    async def _happen(self, told: object) -> None:
        match told:
            case np.ndarray():
                self.received += len(told)
                self._buffer.append(told)
            case Mark(name):
                self._buffer.append(name)
                await self._return_marks()
            case Word("clear"):
                self.cleared_at.append(asyncio.get_running_loop().time())
                self._buffer = deque(entry for entry in self._buffer if isinstance(entry, str))
                if self.other.name.startswith("asterisk"):
                    self._buffer.clear()
                await self._return_marks()
            case Word(name):
                self.words.append(name)
                if name == "leave" and (stop := self.other.stop()):
                    await self._send(cast(str, stop))
        self._changed.set()


class FramePipe(Pipe):
    """Carries binary messages as well. With `paced` it is a transport of AudioSocket."""

    def __init__(self, delay: float, *, paced: bool) -> None:
        super().__init__(delay)
        self._pace = AudioPace() if paced else None
        self._last = 0.0

    def _later(self, queue: "asyncio.Queue[M]", message: M) -> None:
        """In order: the loop's timers of one moment come in any."""
        loop = asyncio.get_running_loop()
        self._last = max(self._last + 1e-6, loop.time() + self._delay)
        loop.call_at(self._last, queue.put_nowait, message)

    async def send(self, frame: Frame) -> None:
        if self._pace is not None and isinstance(frame, bytes) and (seconds := seconds_of(frame)):
            await self._pace.wait(seconds)
        self._later(cast("asyncio.Queue[Frame]", self._to_client), frame)


@asynccontextmanager
async def call(
    name: str,
    *answers: Answer | str,
    options: Callable[[CallOptions], CallOptions] = lambda options: options,
    words: Sequence[str] = ("Hello there.",),
    delay: float = 0.02,
    control: CallController | None = None,
) -> AsyncIterator[Desk]:
    """A call that goes on until the block ends, or until it is over by itself."""
    settings, asr, voice = Settings(), WordsAsr(words), NoiseVoice()
    model = ScriptedModel([answer if isinstance(answer, Answer) else Answer(answer) for answer in answers or ("Hi.",)])
    numbers = itertools.count(1)
    pipe = FramePipe(delay, paced=name == "audiosocket")
    send = cast(Callable[[Frame], Awaitable[None]], pipe.client_send)
    system = SimulatedSystem(name, send, cast(Callable[[], Awaitable[Frame]], pipe.client_receive))
    desk = Desk(system, pipe, model, voice, asr)

    def make_session(emit: Callable[[ev.Event], None]) -> Session:
        def take(event: ev.Event) -> None:
            desk.events.append(event)
            emit(event)

        engines, toolbox = Engines(LoudnessVad(), asr, model, voice), Toolbox()
        desk.session = session = Session(
            "sess_1",
            SessionResources(
                engines, settings.session, APOLOGY, toolbox=toolbox, fillers=Fillers(voice, settings.filler)
            ),
            CallOptions().session,
            emit=take,
            new_id=lambda kind: f"{kind}_{next(numbers)}",
            memory_recorder=MemoryRecorder(None, None, limit=8),
        )
        execute = session.execute

        def watched(command: Command) -> None:
            if isinstance(command, ReportPlayed):
                desk.reports.append(command.audio_ms / 1000)
            execute(command)

        session.execute = watched  # type: ignore[method-assign]
        return session

    connection = ConnectionHandler(
        pipe, VendorCall(peer(name), options(CallOptions())), make_session, Metrics(), control
    )
    serving = asyncio.create_task(connection.run(), name="connection")
    running = asyncio.create_task(system.run(), name="simulated system")
    running.add_done_callback(lambda _: system._changed.set())
    try:
        await system.until(lambda: system._started)
        yield desk
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        connection.stop("ended")
        await serving
