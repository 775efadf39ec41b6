"""Many clients at once, cheap enough that the server under test is what gives way first.

Every client sends the same ready-made messages, each from a place of its own, on a schedule that does not slip: a
message's time is counted from the start and not from the one before. Of what comes back only the kind is looked at.
"""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.recording import FRAME_SECONDS, RATE, Recording, client_message

SILENCE_MS = 200
"""The silence that ends a turn, as every client asks for it."""
SLOTS = 20
"""Into so many phases of a frame the clients are spread, so that they do not all speak in the same instant."""
SLOT_SECONDS = FRAME_SECONDS / SLOTS
GOLDEN = (5**0.5 - 1) / 2
"""Of the recording: the clients' starting places are so far apart, which spreads any number of them evenly."""
CONNECT_SECONDS = 60.0
MISHEARD_MS = 250
"""Further than this from the true end of a turn, what the server takes for its end is another pause."""

CONFIGURE = client_message(
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": SILENCE_MS}}},
        },
    }
)
CONFIGURED = b'"session.updated"'
STOPPED = b'"input_audio_buffer.speech_stopped"'
CREATED = b'"response.created"'
DELTA = b'"response.output_audio.delta"'
KIND_WITHIN = 80
"""Bytes of a message in which its type stands."""
AUDIO = b'"delta":"'


@dataclass(slots=True)
class Turn:
    """A turn that a client spoke. `ended`: when its last speech was due to be sent, in seconds on the loop's clock;
    `frames`: how many the client had sent then. `heard`: when the last speech was due by the server's own account.
    `answered`: when the answer's first sound came."""

    ended: float
    frames: int
    heard: float | None = None
    answered: float | None = None

    @property
    def beyond_ms(self) -> float | None:
        """From the last speech to the answer, without the silence the client asked for."""
        if self.heard is None or self.answered is None:
            return None
        return (self.answered - self.heard) * 1000 - SILENCE_MS


@dataclass(frozen=True, slots=True)
class Gap:
    """The answer's audio ran dry at a client's ear before its end, for so many seconds."""

    at: float
    seconds: float


class Talker(asyncio.Protocol):
    """One client. It plays what it gets from the first sound on, as a loudspeaker would."""

    def __init__(self, recording: Recording, start: int, clock: Callable[[], float]) -> None:
        """`start`: index of the recording's message that it begins with."""
        self.turns: list[Turn] = []
        self.gaps: list[Gap] = []
        self.ready = asyncio.Event()
        """Set once the server has taken its settings."""
        self.was_answered = asyncio.Event()
        self.lost = False
        self._recording = recording
        self._start = start
        self._clock = clock
        self._sent = 0
        self._began = 0.0
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._upgraded = False
        self._awaited: Turn | None = None
        self._plays_until: float | None = None

    # -- sending ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            "GET /v1/realtime?model=benchmark HTTP/1.1\r\nHost: benchmark\r\nUpgrade: websocket\r\nConnection: Upgrade"
            f"\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def send_next(self, due: float) -> None:
        """Send the next 20 ms of the recording; they were due at this time."""
        if self._transport is None:
            return
        if self._sent == 0:
            self._began = due
        place = (self._start + self._sent) % len(self._recording.messages)
        self._transport.write(self._recording.messages[place])
        self._sent += 1
        if self._recording.turns.get(place, self._sent) < self._sent:  # a turn that it spoke from the first word
            self.turns.append(Turn(due, self._sent))

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:  # it was the server who left
            self.lost = True
            self._transport = None
        self.ready.set()

    # -- receiving ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._upgraded:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            self._upgraded = True
            self.lost = not received.startswith(b"HTTP/1.1 101")
            del received[: end + 4]
            if self._transport is not None:
                self._transport.write(CONFIGURE)
        at = 0
        while len(received) - at >= 2:
            size, head = received[at + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(received[at + 2 : at + head], "big")
            if len(received) - at < head + size:
                break
            self._take(received[at + head : at + head + size])
            at += head + size
        del received[:at]

    def _take(self, message: bytearray) -> None:
        if message.find(DELTA, 0, KIND_WITHIN) >= 0:
            begin = message.index(AUDIO) + len(AUDIO)
            self._play((message.index(b'"', begin) - begin) * 3 / 8 / RATE)
        elif message.find(STOPPED, 0, KIND_WITHIN) >= 0:
            self._turn_heard(json.loads(message)["audio_end_ms"])
        elif message.find(CREATED, 0, KIND_WITHIN) >= 0:
            self._plays_until = None
        elif message.find(CONFIGURED, 0, KIND_WITHIN) >= 0:
            self.ready.set()

    def _turn_heard(self, end_ms: int) -> None:
        """The server says that a turn has ended; if that is where it truly did, its answer is awaited."""
        turn = self.turns[-1] if self.turns else None
        if turn is not None and abs(end_ms - turn.frames * FRAME_SECONDS * 1000) <= MISHEARD_MS:
            turn.heard = self._began + (end_ms - 1) // (FRAME_SECONDS * 1000) * FRAME_SECONDS
            self._awaited = turn

    def _play(self, seconds: float) -> None:
        now = self._clock()
        if self._plays_until is None:
            self._plays_until = now
            if self._awaited is not None:
                self._awaited.answered = now
                self.was_answered.set()
                self._awaited = None
        elif now > self._plays_until:
            self.gaps.append(Gap(now, now - self._plays_until))
            self._plays_until = now
        self._plays_until += seconds


@dataclass(slots=True)
class Crowd:
    """Clients that talk. `lateness`: for each slot of the schedule when it was served and how many seconds too late."""

    talkers: list[Talker]
    lateness: list[tuple[float, float]] = field(default_factory=list)

    async def talk(self) -> None:
        """Send everyone's audio until cancelled."""
        clock = asyncio.get_running_loop().time
        slots = [self.talkers[slot::SLOTS] for slot in range(SLOTS)]
        began, tick = clock(), 0
        while True:
            due = began + tick * SLOT_SECONDS
            now = clock()
            if now < due:
                await asyncio.sleep(due - now)
                now = clock()
            self.lateness.append((now, now - due))
            for talker in slots[tick % SLOTS]:
                talker.send_next(due)
            tick += 1
            if tick % SLOTS == 0:
                await asyncio.sleep(0)  # also when it is late, what has come must be taken


@asynccontextmanager
async def crowd(host: str, port: int, recording: Recording, size: int) -> AsyncIterator[Crowd]:
    """So many connected clients, each at another place of the recording; nobody talks yet. At the end all hang up."""
    loop = asyncio.get_running_loop()
    talkers: list[Talker] = []
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for index in range(size):
                start = int(index * GOLDEN * len(recording.messages)) % len(recording.messages)
                talker = Talker(recording, start, loop.time)
                await loop.create_connection(lambda talker=talker: talker, host, port)  # type: ignore[misc]
                talkers.append(talker)
                await talker.ready.wait()
        yield Crowd(talkers)
    finally:
        for talker in talkers:
            talker.hang_up()
        await asyncio.sleep(0)
