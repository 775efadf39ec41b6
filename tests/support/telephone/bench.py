"""A telephone call in virtual time: the simulated Twilio, the true protocol and driver, and a session on a bench."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tests.support.session.bench import (
    APOLOGY,
    SECONDS_PER_CHAR,
    Answer,
    LoudnessVad,
    NoiseVoice,
    ScriptedModel,
    WordsAsr,
)
from tests.support.telephone.twilio import Hung, SimulatedTwilio, running_call
from tests.support.telephone.vendors import Json
from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import CallController, Frame
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol
from voiceagent.channels.telephone.vendors.twilio import DIALECT as TWILIO
from voiceagent.channels.transport import ClientDisconnected, MessageHandler
from voiceagent.engines import Engines
from voiceagent.server.connection import ConnectionHandler
from voiceagent.server.metrics import Metrics
from voiceagent.session import events as ev
from voiceagent.session.commands import Command, ReportPlayed
from voiceagent.session.context import SessionResources
from voiceagent.session.conversation import AnyEntry, Item
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.phrases import Fillers
from voiceagent.session.session import Session
from voiceagent.settings import Settings
from voiceagent.tools.toolbox import Toolbox

E = TypeVar("E", bound=ev.Event)
M = TypeVar("M")
_TIMES = np.arange(8000) / 8000
SECOND: Pcm = (900 * np.sin(2 * np.pi * np.outer((150, 500, 1500), _TIMES)).sum(axis=0)).astype(np.int16)
"""A second of the caller's voice."""


def spoken(seconds: float) -> Pcm:
    return np.tile(SECOND, int(seconds) + 1)[: int(8000 * seconds)]


class Pipe:
    """Both ends of a connection within one loop; a message takes `delay` seconds either way."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._to_server: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._to_client: asyncio.Queue[str | None] = asyncio.Queue()
        self.close_code: int | None = None

    def _later(self, queue: "asyncio.Queue[M]", message: M) -> None:
        asyncio.get_running_loop().call_later(self._delay, queue.put_nowait, message)

    # The server's end, a `Transport`.

    async def receive(self) -> Frame:
        frame = await self._to_server.get()
        if frame is None:
            raise ClientDisconnected
        return frame

    async def send(self, frame: Frame) -> None:
        assert isinstance(frame, str)
        self._later(self._to_client, frame)

    async def close(self, code: int, reason: str) -> None:
        self.close_code = code
        self._later(self._to_client, None)

    def set_message_handler(self, handler: MessageHandler | None) -> None: ...

    # The client's end.

    async def client_send(self, text: str) -> None:
        if self.close_code is not None:
            raise Hung
        self._later(self._to_server, text)

    async def client_receive(self) -> str:
        text = await self._to_client.get()
        if text is None:
            raise Hung
        return text


@dataclass
class Desk:
    """What a test looks at: the caller's end, the engines, and what the session told."""

    twilio: SimulatedTwilio
    pipe: Pipe
    model: ScriptedModel
    voice: NoiseVoice
    asr: WordsAsr
    events: list[ev.Event] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)
    """Seconds that the marks have told to be played."""
    session: Session | None = None

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def replied(self, count: int) -> None:
        """Wait until the caller has heard so many replies, or what there was of them."""
        await self.twilio.until(lambda: len(self.of(ev.ResponsePlayed)) >= count)

    def items(self) -> list[AnyEntry]:
        """The conversation, as the session has it now."""
        assert self.session is not None
        return self.session.conversation.items

    def heard(self, number: int = 0) -> str:
        """The words of the agent's item of this number."""
        return [item for item in self.items() if isinstance(item, Item) and item.role == "assistant"][
            number
        ].text.strip()

    def spoken_seconds(self) -> float:
        """How long the bench's voice has spoken."""
        return sum(map(len, self.voice.spoken)) * SECONDS_PER_CHAR

    def heard_seconds(self, number: int = 0) -> float:
        """How long the bench's voice speaks on them."""
        return len(self.heard(number)) * SECONDS_PER_CHAR


@asynccontextmanager
async def call(
    *answers: Answer | str,
    options: Callable[[CallOptions], CallOptions] = lambda options: options,
    words: Sequence[str] = ("Hello there.",),
    delay: float = 0.02,
    control: CallController | None = None,
    parameters: Json | None = None,
) -> AsyncIterator[Desk]:
    """A call that goes on until the block ends, or until it is over by itself."""
    settings, asr, voice = Settings(), WordsAsr(words), NoiseVoice()
    model = ScriptedModel([answer if isinstance(answer, Answer) else Answer(answer) for answer in answers or ("Hi.",)])
    numbers = itertools.count(1)
    pipe = Pipe(delay)
    desk = Desk(SimulatedTwilio(pipe.client_send, pipe.client_receive), pipe, model, voice, asr)

    def make_session(emit: Callable[[ev.Event], None]) -> Session:
        def take(event: ev.Event) -> None:
            desk.events.append(event)
            emit(event)

        desk.session = session = Session(
            "sess_1",
            SessionResources(
                Engines(LoudnessVad(), asr, model, voice),
                settings.session,
                APOLOGY,
                toolbox=Toolbox(),
                fillers=Fillers(voice, settings.filler),
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

    protocol = MediaStreamProtocol(TWILIO, options(CallOptions()))
    connection = ConnectionHandler(pipe, protocol, make_session, Metrics(), control)
    serving = asyncio.create_task(connection.run(), name="connection")
    try:
        async with running_call(desk.twilio, parameters):
            yield desk
    finally:
        connection.stop("ended")
        await serving
