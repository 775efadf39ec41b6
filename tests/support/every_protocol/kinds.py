"""Every way to connect: a client and its protocol."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.support.every_protocol.browser import Browser
from tests.support.every_protocol.clients import OPTIONS, Caller, Client, Pipe, SimulatedStream, Speaker
from tests.support.telephone.systems.bench import SimulatedSystem
from tests.support.telephone.systems.vendors import PEERS, peer
from tests.support.telephone.vendors import DIALECTS
from tests.support.xiaozhi.device import Device
from voiceagent.channels.base import WireProtocol
from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol
from voiceagent.channels.telephone.wire import VendorCall
from voiceagent.channels.xiaozhi.protocol import XiaozhiProtocol
from voiceagent.channels.xiaozhi.settings import XiaozhiSection

Position = Literal["reports", "clock"]
"""How the session knows what was heard: the client says so, or only the playout clock does."""


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
        return pipe, Caller(line), MediaStreamProtocol(DIALECTS[vendor], call_options())

    return Kind(vendor, "reports", connect)


def system(name: str) -> Kind:
    def connect() -> tuple[Pipe, Client, WireProtocol]:
        pipe = Pipe(paced=name == "audiosocket")
        line = SimulatedSystem(name, pipe.put, pipe.get)
        other = peer(name)
        return pipe, Caller(line), VendorCall(other, call_options(controlled=other.moves_calls))

    return Kind(name, "reports" if peer(name).has_marks else "clock", connect)


def realtime() -> Kind:
    def connect() -> tuple[Pipe, Client, WireProtocol]:
        pipe, numbers = Pipe(), itertools.count(1)
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
