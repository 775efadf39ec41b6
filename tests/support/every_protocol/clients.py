"""Telephones and smart speakers, each with a loudspeaker of its own: a buffer that plays in real time what it is sent,
and that is emptied as that kind of client does it."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar, cast

from tests.support.every_protocol.script import user_voice
from tests.support.telephone import vendors as telephone_vendors
from tests.support.telephone.systems.bench import FramePipe
from tests.support.telephone.twilio import Hung, SimulatedTwilio
from tests.support.telephone.vendors import Vendor, understood
from tests.support.xiaozhi.device import Device
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import Frame
from voiceagent.session.options import SessionOptions

DELAY = 0.02
"""Seconds that a message takes."""
STEP = 0.02
"""Seconds in which a loudspeaker's and a microphone's samples come."""
OPTIONS = SessionOptions(instructions="Be brief.")

M = TypeVar("M")


class Client(Protocol):
    """The user's end."""

    rate: int

    @property
    def played_seconds(self) -> float: ...

    def played(self) -> Pcm:
        """All that came out of its loudspeaker."""
        ...

    async def say(self, seconds: float) -> None:
        """Speak for so long."""
        ...

    async def cut_in(self, seconds: float) -> None:
        """Speak while the agent does."""
        ...

    async def type(self, text: str) -> None: ...

    async def leave(self) -> None:
        """The talk is over, if the other side has not ended it."""
        ...

    async def run(self) -> None:
        """Live until the connection is over."""
        ...

    def check(self) -> None:
        """At the end: nothing is left in it."""
        ...


class Pipe(FramePipe):
    """Both ends of a connection."""

    def __init__(self, *, paced: bool = False) -> None:
        super().__init__(DELAY, paced=paced)
        self._on_its_way: deque[Callable[[], None]] = deque()

    def _later(self, queue: "asyncio.Queue[M]", message: M) -> None:
        """In order, though the loop's timers of one moment come in any. Many at one moment cost little: it is moments
        that cost real time."""
        self._on_its_way.append(partial(queue.put_nowait, message))
        asyncio.get_running_loop().call_later(DELAY, lambda: self._on_its_way.popleft()())

    def break_off(self) -> None:
        """The client goes away."""
        self._later(self._to_server, None)

    async def put(self, frame: Frame) -> None:
        with suppress(Hung):
            await self.client_send(cast(str, frame))

    async def get(self) -> Frame:
        return cast(Frame, await self.client_receive())


async def alongside(living: Coroutine[None, None, None], reading: Coroutine[None, None, None]) -> None:
    """Live until there is nothing more to read; whichever fails ends both."""
    async with asyncio.TaskGroup() as tasks:
        alive = tasks.create_task(living, name="client's audio")
        with suppress(Hung):
            await reading
        alive.cancel()


# -- telephones -------------------------------------------------------------------------------------------------------


class SimulatedStream(SimulatedTwilio):
    """The same caller and the same buffer, in the words of one of Twilio's kin."""

    def __init__(
        self, vendor: str, send: Callable[[str], Awaitable[None]], receive: Callable[[], Awaitable[str]]
    ) -> None:
        super().__init__(send, receive)
        self._vendor = Vendor(vendor)

    async def run(self, parameters: telephone_vendors.Json | None = None) -> None:
        for frame in (*self._vendor.connected(), self._vendor.start()):
            await self._send(cast(str, frame))
        self._started = True
        await alongside(self._line(), self._read())

    async def _read(self) -> None:
        while True:
            await self._hear(await self._receive())

    async def _hear(self, frame: Frame) -> None:
        told = understood(self._vendor.name, [frame])
        self._buffer.extend((*told.audio, *told.marks))
        if told.clears and self._vendor.name == "jambonz":  # which tells that they were cleared, and nothing of it
            self._buffer.clear()
        elif told.clears:
            self._buffer = deque(entry for entry in self._buffer if isinstance(entry, str))
        await self._return_marks()


class Caller:
    """Somebody on the telephone; typing is pressing keys."""

    rate = 8000

    def __init__(self, line: SimulatedTwilio) -> None:
        self.line = line

    @property
    def played_seconds(self) -> float:
        return self.line.played_seconds

    def played(self) -> Pcm:
        return self.line.played

    async def say(self, seconds: float) -> None:
        await self.line.say(user_voice(seconds, self.rate))

    async def cut_in(self, seconds: float) -> None:
        await self.say(seconds)

    async def type(self, text: str) -> None:
        await self.line.press(text + "#")

    async def leave(self) -> None:
        """The agent hangs up."""

    async def run(self) -> None:
        await self.line.run()

    def check(self) -> None:
        """The line ends when all was heard."""
        left = sum(len(entry) for entry in self.line._buffer if not isinstance(entry, str)) / self.rate
        assert left <= 0.0, "the goodbye is cut off"


# -- xiaozhi ----------------------------------------------------------------------------------------------------------


class Speaker:
    """A smart speaker and whoever stands before it. One without an echo canceller (`auto`) hears nothing while it
    speaks: it is cut off by its wake word."""

    rate = 24_000

    def __init__(self, device: Device, pipe: Pipe) -> None:
        self.device = device
        self._pipe = pipe
        self._to_say = 0
        self._said = asyncio.Event()

    @property
    def played_seconds(self) -> float:
        return self.device.played_seconds

    def played(self) -> Pcm:
        return self.device.heard()

    async def say(self, seconds: float) -> None:
        self._to_say = round(seconds * 1000 / self.device.frame_ms)
        self._said.clear()
        await self._said.wait()

    async def cut_in(self, seconds: float) -> None:
        if self.device.mode == "auto":
            await asyncio.sleep(0.25)  # as long as it takes to be sure of a wake word
            self.device.abort("wake_word_detected")
            await asyncio.sleep(0.5)
        await self.say(seconds)

    async def type(self, text: str) -> None:
        """As programs do that act as devices: for the firmware these are a wake word."""
        self.device.outbox.append(json.dumps({"type": "listen", "state": "detect", "text": text}))

    async def leave(self) -> None:
        """The server ends it, for "goodbye" was said."""

    async def run(self) -> None:
        self.device.connect()
        await alongside(self._live(), self._read())

    async def _read(self) -> None:
        while True:
            self.device.receive(await self._pipe.get(), asyncio.get_running_loop().time())
            if self.device.state == "idle":
                self.device.wake(None)

    async def _live(self) -> None:
        loop, device = asyncio.get_running_loop(), self.device
        spoken = user_voice(device.frame_ms / 1000, 16_000)
        due = loop.time()
        while True:
            device.advance(loop.time())
            if loop.time() >= due:
                due += device.frame_ms / 1000
                device.say(spoken if self._to_say else silence(len(spoken)))
                self._to_say -= self._to_say > 0
                if not self._to_say:
                    self._said.set()
            while device.outbox:
                await self._pipe.put(device.outbox.pop(0))
            await asyncio.sleep(STEP)

    def check(self) -> None:
        self.device.check()
