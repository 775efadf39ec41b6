"""A device and its protocol, without sockets and without a clock but the test's: every message goes through both, and
what the session would be asked for is kept."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tests.support.xiaozhi.device import Device, Json
from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Action, CloseSocket, Delay, Execute, Frame, Send, SetTimer
from voiceagent.channels.xiaozhi.device_tools import ToolCache, Vision
from voiceagent.channels.xiaozhi.protocol import XiaozhiProtocol
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.session import events
from voiceagent.session.commands import Command
from voiceagent.session.conversation import Item, Part
from voiceagent.session.options import SessionOptions

STEP = 0.001
C = TypeVar("C", bound=Command)


def protocol(
    version: int | None = 1,
    section: XiaozhiSection | None = None,
    language: str | None = None,
    chip: str = "",
    tenant: str = "",
    cache: ToolCache | None = None,
    vision: Vision | None = None,
) -> XiaozhiProtocol:
    return XiaozhiProtocol(
        session_id="sess_1",
        version=version,  # type: ignore[arg-type]
        defaults=SessionOptions(instructions="Be brief.", language=language),
        section=section or XiaozhiSection(),
        chip=chip,
        tenant=tenant,
        cache=cache,
        vision=vision,
    )


@dataclass
class Line:
    device: Device
    protocol: XiaozhiProtocol
    now: float = 0.0
    commands: list[Command] = field(default_factory=list)
    closed: CloseSocket | None = None
    closed_at: float = 0.0

    def __post_init__(self) -> None:
        self._wakes: dict[str, float] = {}
        self._way: list[tuple[float, Frame]] = []
        self._free_at = 0.0
        self._numbers = itertools.count(1)
        self.act(self.protocol.start())

    @property
    def wakes(self) -> dict[str, float]:
        """What is to come, in seconds."""
        return {name: at - self.now for name, at in self._wakes.items()}

    # -- what happens -----------------------------------------------------------------------------------------------

    def act(self, actions: Iterable[Frame | Action]) -> None:
        for action in actions:
            match action:
                case str() | bytes():
                    self._way.append((max(self.now, self._free_at), action))
                case Send(frame):
                    self._way.append((max(self.now, self._free_at), frame))
                case Delay(seconds):
                    self._free_at = max(self.now, self._free_at) + seconds
                case Execute(command):
                    self.commands.append(command)
                case SetTimer(name, None):
                    self._wakes.pop(name, None)
                case SetTimer(name, float() | int() as seconds):
                    self._wakes[name] = self.now + seconds
                case CloseSocket():
                    self.closed, self.closed_at = action, self.now
                case _:
                    raise AssertionError(action)
        self._deliver()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until - STEP / 2:
            self.now += STEP
            self._deliver()
            for name in [name for name, at in self._wakes.items() if at <= self.now]:
                del self._wakes[name]
                self.act(self.protocol.on_timer(name))

    def _deliver(self) -> None:
        while self._way and self._way[0][0] <= self.now:
            self.device.receive(self._way.pop(0)[1], self.now)
        self.device.advance(self.now)
        while self.device.outbox:
            self.act(self.protocol.receive(self.device.outbox.pop(0)))

    def tell(self, *told: events.Event) -> None:
        for event in told:
            self.act(self.protocol.encode(event))

    # -- what is usual ----------------------------------------------------------------------------------------------

    def greet(self) -> "Line":
        self.device.connect()
        self.run(0.01)
        return self

    def listen(self) -> "Line":
        self.greet()
        self.device.wake(None)
        self.run(0.02)
        return self

    def asked(self, kind: type[C]) -> list[C]:
        return [command for command in self.commands if isinstance(command, kind)]

    def reply(self, text: str = "Hello. ", response_id: str = "resp_1") -> None:
        item = Item(f"item_{response_id}", "assistant", (), "in_progress")
        self.tell(
            events.ResponseStarted(response_id, "audio", None, True, {}),
            events.ResponseItemAdded(response_id, item, None),
            events.ResponseText(response_id, item.id, text),
        )

    def speak(self, seconds: float, response_id: str = "resp_1") -> None:
        """Audio of a reply, all at once, in the session's frames of 60 ms."""
        audio = tone(seconds)
        for at in range(0, len(audio), 1440):
            self.tell(events.ResponseAudio(response_id, f"item_{response_id}", audio[at : at + 1440]))

    def done(
        self, response_id: str = "resp_1", status: events.ResponseStatus = "completed", text: str = "Hello."
    ) -> None:
        item = Item(f"item_{response_id}", "assistant", (Part("audio", text),), "completed")
        self.tell(events.ResponseDone(response_id, item, None, status))

    def finish(self) -> None:
        """The end of a test: whatever was going on is over soon, and the device has survived."""
        self.run(12.0)
        self.device.check()


def line(
    section: XiaozhiSection | None = None,
    *,
    language: str | None = None,
    chip: str = "",
    cache: ToolCache | None = None,
    vision: Vision | None = None,
    device: Device | None = None,
) -> Line:
    device = device or Device()
    return Line(device, protocol(device.version, section, language, chip, "maker", cache, vision))


def tone(seconds: float, rate: int = 24_000) -> Pcm:
    times = np.arange(round(seconds * rate)) / rate
    return (9_000 * np.sin(2 * np.pi * 330 * times)).astype(np.int16)


def sent(actions: Sequence[Frame | Action]) -> list[Json]:
    """The JSON among them."""
    frames = [action.frame if isinstance(action, Send) else action for action in actions]
    return [json.loads(frame) for frame in frames if isinstance(frame, str)]


def asked(actions: Sequence[Frame | Action]) -> list[Command]:
    return [action.command for action in actions if isinstance(action, Execute)]
