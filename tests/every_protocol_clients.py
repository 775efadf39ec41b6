"""One client for every protocol, each with its own loudspeaker: a buffer that plays in real time what it is sent, and
that is emptied as that kind of client does it."""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, TypeVar, cast

import numpy as np

from tests import telephone_vendors
from tests.every_protocol_script import user_voice
from tests.peer_bench import FramePipe, SimulatedSystem
from tests.peer_vendors import PEERS, peer
from tests.realtime_wire import Json, read
from tests.telephone_twilio import Hung, SimulatedTwilio
from tests.telephone_vendors import Vendor, understood
from tests.xiaozhi_device import Device
from voiceagent.audio.pcm import Pcm, silence, to_bytes
from voiceagent.protocols.base import Frame, WireProtocol
from voiceagent.protocols.openai_realtime import RealtimeProtocol
from voiceagent.protocols.telephone_call import CallOptions
from voiceagent.protocols.telephone_dialects import DIALECTS
from voiceagent.protocols.telephone_peer import PeerCall
from voiceagent.protocols.telephone_stream import TelephoneStream
from voiceagent.protocols.xiaozhi import XiaozhiProtocol
from voiceagent.protocols.xiaozhi_settings import XiaozhiSection
from voiceagent.session.options import SessionOptions

DELAY = 0.02
"""Seconds that a message takes."""
STEP = 0.02
"""Seconds in which a loudspeaker's and a microphone's samples come."""
ON_ITS_WAY = DELAY + STEP
"""Seconds of audio that were sent and not yet played by a loudspeaker that keeps none back."""
OPTIONS = SessionOptions(instructions="Be brief.")

M = TypeVar("M")
Position = Literal["reports", "clock"]
"""How the session knows what was heard: the client says so, or only the playout clock does."""


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
        line = asyncio.create_task(self._line(), name="telephone line")
        try:
            with suppress(Hung):
                while True:
                    await self._hear(await self._receive())
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)

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

    def __init__(self, line: SimulatedTwilio, *, tells: bool) -> None:
        self.line = line
        self._tells = tells

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
        """Where nothing tells what was played, the line ends when it should have been: what is on its way is lost."""
        left = sum(len(entry) for entry in self.line._buffer if not isinstance(entry, str)) / self.rate
        assert left <= (0.0 if self._tells else ON_ITS_WAY), "the goodbye is cut off"


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
        living = asyncio.create_task(self._live(), name="device")
        try:
            with suppress(Hung):
                while True:
                    self.device.receive(await self._pipe.get(), asyncio.get_running_loop().time())
                    if self.device.state == "idle":
                        self.device.wake(None)
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)

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


# -- OpenAI Realtime --------------------------------------------------------------------------------------------------


@dataclass
class Browser:
    """A client of OpenAI Realtime, which keeps all audio itself, and tells how far it came when it was cut off."""

    pipe: Pipe
    rate: int = 24_000
    pieces: list[Pcm] = field(default_factory=list)
    queue: deque[tuple[str, Pcm]] = field(default_factory=deque)
    of_item: dict[str, int] = field(default_factory=dict)
    """Samples played of each item."""
    playing: str = ""
    """The item that is not complete, or not played to its end."""
    responding: bool = False

    def __post_init__(self) -> None:
        self._to_say = 0
        self._said = asyncio.Event()

    @property
    def played_seconds(self) -> float:
        return sum(map(len, self.pieces)) / self.rate

    def played(self) -> Pcm:
        return np.concatenate([silence(0), *self.pieces])

    async def say(self, seconds: float) -> None:
        self._to_say = round(seconds / STEP)
        self._said.clear()
        await self._said.wait()

    async def cut_in(self, seconds: float) -> None:
        await self.say(seconds)

    async def type(self, text: str) -> None:
        content: list[Json] = [{"type": "input_text", "text": text}]
        await self._tell("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self._tell("response.create")

    async def leave(self) -> None:
        self.pipe.break_off()

    async def run(self) -> None:
        living = asyncio.create_task(self._live(), name="browser")
        try:
            with suppress(Hung):
                while True:
                    await self._take(read(await self.pipe.get()))
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)

    async def _take(self, event: Json) -> None:
        match event:
            case {"type": "response.output_audio.delta", "item_id": str(item_id), "delta": str(delta)}:
                self.playing = item_id
                self.queue.append((item_id, np.frombuffer(base64.b64decode(delta), "<i2")))
            case {"type": "response.created"}:
                self.responding = True
            case {"type": "response.done"}:
                self.responding = False
            case {"type": "input_audio_buffer.speech_started"} if self.playing and (self.responding or self.queue):
                self.queue.clear()
                played_ms = self.of_item.get(self.playing, 0) * 1000 // self.rate
                await self._tell(
                    "conversation.item.truncate", item_id=self.playing, content_index=0, audio_end_ms=played_ms
                )
            case {"type": "error"}:
                raise AssertionError(event)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        spoken, due = user_voice(STEP, self.rate), loop.time()
        while True:
            self._play(int(STEP * self.rate))
            pcm = spoken if self._to_say else silence(len(spoken))
            await self._tell("input_audio_buffer.append", audio=base64.b64encode(to_bytes(pcm)).decode())
            self._to_say -= self._to_say > 0
            if not self._to_say:
                self._said.set()
            due += STEP
            await asyncio.sleep(due - loop.time())

    def _play(self, samples: int) -> None:
        while samples and self.queue:
            item_id, pcm = self.queue.popleft()
            if len(pcm) > samples:
                self.queue.appendleft((item_id, pcm[samples:]))
            self.pieces.append(pcm[:samples])
            self.of_item[item_id] = self.of_item.get(item_id, 0) + len(pcm[:samples])
            samples -= len(pcm[:samples])

    async def _tell(self, kind: str, **fields: object) -> None:
        await self.pipe.put(json.dumps({"type": kind, **fields}))

    def check(self) -> None:
        assert not self.queue
        assert not self.responding


# -- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One way to connect; `connect` makes both ends of it."""

    name: str
    position: Position
    connect: Callable[[], tuple[Pipe, Client, WireProtocol]]


def xiaozhi(name: str, position: Position, device: Callable[[], Device]) -> Kind:
    def connect() -> tuple[Pipe, Client, WireProtocol]:
        pipe, made = Pipe(), device()
        protocol = XiaozhiProtocol(
            session_id="sess_1",
            version=made.version,  # type: ignore[arg-type]
            defaults=OPTIONS,
            section=XiaozhiSection(pcm_down=made.pcm_down),
        )
        return pipe, Speaker(made, pipe), protocol

    return Kind(name, position, connect)


def call_options(*, controlled: bool = False) -> CallOptions:
    return CallOptions(session=OPTIONS, controlled=controlled, key_words="{digits}")


def stream(vendor: str) -> Kind:
    def connect() -> tuple[Pipe, Client, WireProtocol]:
        pipe = Pipe()
        line = SimulatedStream(vendor, pipe.put, pipe.client_receive)
        return pipe, Caller(line, tells=True), TelephoneStream(DIALECTS[vendor], call_options())

    return Kind(vendor, "reports", connect)


def system(name: str) -> Kind:
    def connect() -> tuple[Pipe, Client, WireProtocol]:
        pipe = Pipe(paced=name == "audiosocket")
        line = SimulatedSystem(name, pipe.put, pipe.get)
        other = peer(name)
        return pipe, Caller(line, tells=other.has_marks), PeerCall(other, call_options(controlled=other.moves_calls))

    return Kind(name, "reports" if peer(name).has_marks else "clock", connect)


def realtime() -> Kind:
    def connect() -> tuple[Pipe, Client, WireProtocol]:
        pipe, numbers = Pipe(), iter(range(1, 100_000))
        protocol = RealtimeProtocol(
            session_id="sess_1",
            model="voiceagent",
            defaults=OPTIONS,
            expires_at=1_800_000_000,
            new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        )
        return pipe, Browser(pipe), protocol

    return Kind("openai-realtime", "reports", connect)


KINDS: tuple[Kind, ...] = (
    realtime(),
    xiaozhi("xiaozhi-1", "clock", lambda: Device(mode="realtime")),
    xiaozhi("xiaozhi-1-auto", "clock", lambda: Device(mode="auto")),
    xiaozhi("xiaozhi-2", "clock", lambda: Device(version=2, mode="realtime", frame_ms=20)),
    xiaozhi("xiaozhi-2-aec", "reports", lambda: Device(version=2, mode="realtime", aec=True)),
    xiaozhi("xiaozhi-3", "clock", lambda: Device(version=3, mode="realtime")),
    xiaozhi("xiaozhi-1-pcm", "clock", lambda: Device(mode="realtime", plain_pcm=True, pcm_down=True)),
    xiaozhi("xiaozhi-2-pcm", "clock", lambda: Device(version=2, mode="realtime", plain_pcm=True, pcm_down=True)),
    xiaozhi("xiaozhi-3-pcm", "clock", lambda: Device(version=3, mode="realtime", plain_pcm=True, pcm_down=True)),
    *map(stream, DIALECTS),
    *map(system, PEERS),
)
