"""A device in a room: driver, session and protocol as they are, engines that only supply numbers and words, in virtual
time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np

from tests.support.session.bench import (
    APOLOGY,
    SPOKEN,
    Answer,
    LoudnessStream,
    LoudnessVad,
    NoiseVoice,
    ScriptedModel,
    WordsAsr,
)
from tests.support.xiaozhi.device import Device
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import Frame
from voiceagent.channels.transport import ClientDisconnected, MessageHandler
from voiceagent.channels.xiaozhi.protocol import XiaozhiProtocol
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEngine
from voiceagent.server.connection import ConnectionHandler
from voiceagent.server.metrics import Metrics
from voiceagent.session.context import SessionResources
from voiceagent.session.events import Event
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.options import SessionOptions
from voiceagent.session.session import Session
from voiceagent.settings import Settings
from voiceagent.vad.base import VadStream

STEP = 0.02
"""Seconds in which nothing is looked at: every moment costs real time."""
FRAMES = 3
"""Of SPOKEN, 20 ms each, in a packet of 60 ms."""
QUIETEST = 150
"""What a coder makes of silence is quieter."""


class LevelVad(LoudnessVad):
    """A voice is wherever it is not nearly silent: Opus leaves no sample exactly 0."""

    def stream(self) -> VadStream:
        return LevelStream(self)


class LevelStream(LoudnessStream):
    async def push(self, pcm: Pcm) -> list[float]:
        return await super().push(np.where(np.abs(pcm) > QUIETEST, pcm, 0).astype(np.int16))


class Room:
    """The device, the wire, and the user, who speaks when told to."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.closed: int | None = None
        self.events: list[tuple[float, Event]] = []
        self._inbox: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._to_say = 0
        self._changed = asyncio.Condition()
        self._said = asyncio.Event()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # -- the wire: see `server.transport.Transport` -----------------------------------------------------------------

    async def receive(self) -> Frame:
        frame = await self._inbox.get()
        if frame is None:
            raise ClientDisconnected
        return frame

    async def send(self, frame: Frame) -> None:
        self.device.receive(frame, self.now)

    async def close(self, code: int, reason: str) -> None:
        self.closed = code
        self._inbox.put_nowait(None)

    def set_message_handler(self, handler: MessageHandler | None) -> None: ...

    # -- the user ---------------------------------------------------------------------------------------------------

    async def say(self, seconds: float) -> None:
        self._to_say = round(seconds * 1000 / self.device.frame_ms)
        self._said.clear()
        await self._said.wait()

    async def until(self, what: str, count: int = 1, seconds: float = 30.0) -> float:
        """Wait until the device was told this (`tts.stop`, `stt`) so often; returns when."""
        kind, _, state = what.partition(".")
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.device.of(kind, state or None)) >= count)
        return self.now

    async def playing(self, seconds: float) -> None:
        """Wait until it has played so much."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.device.played_seconds >= seconds)

    async def live(self) -> None:
        spoken = np.tile(SPOKEN, FRAMES)[: 16 * self.device.frame_ms]
        due = self.now
        while True:
            self.device.advance(self.now)
            if self.now >= due:
                due += self.device.frame_ms / 1000
                self.device.say(spoken if self._to_say else silence(len(spoken)))
                self._to_say -= self._to_say > 0
                if not self._to_say:
                    self._said.set()
            while self.device.outbox:
                self._inbox.put_nowait(self.device.outbox.pop(0))
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(STEP)

    def of(self, *kinds: type[Event]) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kinds)]


@asynccontextmanager
async def room(
    *answers: Answer | str,
    device: Device | None = None,
    words: Sequence[str | EngineError] = ("Hello there.",),
    section: XiaozhiSection | None = None,
    settings: Settings | None = None,
    voice: NoiseVoice | None = None,
    model: LlmEngine | None = None,
    asr: WordsAsr | None = None,
    chip: str = "",
) -> AsyncIterator[tuple[Room, ConnectionHandler]]:
    """A device that has said hello. At the end it must be alive and not left speaking."""
    there = Room(device or Device())
    model = model or ScriptedModel([answer if isinstance(answer, Answer) else Answer(answer) for answer in answers])
    shared = SessionResources(
        Engines(LevelVad(), asr or WordsAsr(words), model, voice or NoiseVoice()),
        (settings or Settings()).session,
        APOLOGY,
    )
    numbers = itertools.count(1)
    protocol = XiaozhiProtocol(
        session_id="sess_1",
        version=there.device.version,  # type: ignore[arg-type]
        defaults=SessionOptions(instructions="Be brief."),
        section=section or XiaozhiSection(),
        chip=chip,
    )

    def make_session(emit: "object") -> Session:
        def tapped(event: Event) -> None:
            there.events.append((there.now, event))
            emit(event)  # type: ignore[operator]

        return Session(
            "sess_1",
            shared,
            SessionOptions(instructions="Be brief."),
            emit=tapped,
            new_id=lambda kind: f"{kind}_{next(numbers)}",
            memory_recorder=MemoryRecorder(None, None, limit=8),
        )

    connection = ConnectionHandler(there, protocol, make_session, Metrics())
    running = asyncio.create_task(connection.run(), name="connection")
    living = asyncio.create_task(there.live(), name="device")
    try:
        there.device.connect()
        await there.until("hello")
        yield there, connection
        connection.stop("ended")
        await running
        there.device.advance(there.now)
        there.device.check()
    finally:
        for task in (running, living):
            task.cancel()
        await asyncio.gather(running, living, return_exceptions=True)
