"""A device with the xiaozhi-esp32 firmware, as its sources behave: its state machine, its queue of 40 packets, and what
crashes or hangs it. It fails the test when it is sent what a real one does not survive, or what it would throw away.

Time is what the test says it is: `receive(frame, now)`, `advance(now)`; what the device sends is in `outbox`.
"""

import json
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from voiceagent.audio.pcm import Pcm, silence

Json = dict[str, object]
State = Literal["connecting", "idle", "listening", "speaking"]
QUEUE = 40
"""Packets, whatever their length, plus one that is being played."""
MAIN_TASK_SECONDS = 0.007
"""From a change of state to what it brings about. What changes back within that time brings about nothing."""
WAKE_PACKETS = 33
EMOTIONS = """neutral happy laughing funny sad angry crying loving embarrassed surprised shocked thinking winking cool
relaxed delicious kissy confident sleepy silly confused"""
SILENT_PACKETS = 4
"""After speech, before its encoder sends nothing but single bytes."""
DTX = b"\x58"
"""60 ms of silence at 16 kHz, as the firmware's encoder sends it."""


class Crash(AssertionError):
    """The device would reboot, hang or be of no use any more."""


@dataclass
class Packet:
    seconds: float
    stamp: int
    pcm: Pcm
    came: float


@dataclass
class Device:
    """`firmware` "2.4" plays its queue to the end after `tts stop`, "1.9" and "py-xiaozhi" throw it away. `version` is
    that of the binary framing. `aec` leaves the echo to the server."""

    version: int = 1
    mode: Literal["auto", "manual", "realtime"] = "auto"
    firmware: Literal["2.4", "1.9", "py-xiaozhi"] = "2.4"
    aec: bool = False
    mcp: bool = False
    frame_ms: int = 60
    plain_pcm: bool = False
    """It sends PCM at 16 kHz."""
    pcm_down: bool = False
    state: State = "connecting"
    microphone: bool = False
    outbox: list[str | bytes] = field(default_factory=list)
    got: list[Json] = field(default_factory=list)
    """All JSON it was sent."""
    starts: list[float] = field(default_factory=list)
    """When it sent `listen/start`, that is, was armed again."""
    silent_since: float = 0.0
    """When the last sound ended."""
    played: list[Pcm] = field(default_factory=list)
    played_seconds: float = 0.0
    gaps: int = 0
    """How often it ran dry while more was to come."""
    dropped: int = 0
    """Packets sent while it was not speaking."""
    overflowed: int = 0
    clipped: float = 0.0
    """Seconds thrown away that should have been heard."""
    flushed: float = 0.0
    most_queued: int = 0
    tools: dict[str, Callable[[dict[str, Any]], str | None]] = field(default_factory=dict)
    """What its tools answer; None never does."""
    session_id: str = ""
    sample_rate: int = 0
    server_frame_ms: int = 0

    def __post_init__(self) -> None:
        self._queue: deque[Packet] = deque()
        self._playing: Packet | None = None
        self._playing_until = 0.0
        self._pending: tuple[float, State] | None = None
        self._waits_for_silence = False
        self._started = False
        self._fresh = True
        self._silent_packets = SILENT_PACKETS
        self._to_stamp: deque[int] = deque(maxlen=3)
        self._decoder = decoder()
        self._encoder: AudioCodecContext | None = None
        self._now = 0.0

    # -- what its user does -----------------------------------------------------------------------------------------

    def connect(self) -> None:
        features: Json = {"mcp": True} if self.mcp else {}
        if self.aec:
            features["aec"] = True
        self._send(
            type="hello",
            version=self.version,
            features=features,
            transport="websocket",
            audio_params={
                "format": "pcm" if self.plain_pcm else "opus",
                "sample_rate": 16_000,
                "channels": 1,
                "frame_duration": self.frame_ms,
            },
        )

    def wake(self, word: str | None = "你好小智") -> None:
        """The wake word, on an open connection in idle: two seconds of it at once, then `detect`, then it listens."""
        if word is not None:
            for _ in range(WAKE_PACKETS):
                self.outbox.append(self.frame(DTX))
            self._send(type="listen", state="detect", text=word)
        self.listen()

    def listen(self) -> None:
        self._enter("listening")

    def release(self) -> None:
        """The button of push-to-talk."""
        self._send(type="listen", state="stop")
        self._set("idle")
        self.microphone = False

    def abort(self, reason: str | None = None) -> None:
        """It stays in "speaking" until it is told to stop."""
        self._send(type="abort", **({"reason": reason} if reason else {}))

    def say(self, pcm: Pcm) -> int:
        """16 kHz into its microphone: as many packets as that fills, if it is on. Returns how many."""
        if not self.microphone:
            return 0
        size = 16 * self.frame_ms
        pieces = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
        for piece in pieces:
            self.outbox.append(self.frame(piece.tobytes() if self.plain_pcm else self._encode(piece)))
        return len(pieces)

    def frame(self, packet: bytes) -> bytes:
        if self.version == 2:
            stamp = self._to_stamp.popleft() if self.aec and self._to_stamp else 0
            return struct.pack(">HHIII", 2, 0, 0, stamp, len(packet)) + packet
        return struct.pack(">BBH", 0, 0, len(packet)) + packet if self.version == 3 else packet

    # -- what it is sent --------------------------------------------------------------------------------------------

    def receive(self, frame: str | bytes, now: float) -> None:
        self.advance(now)
        if isinstance(frame, bytes):
            self._audio(frame)
        else:
            self._message(frame)
        self.advance(now)

    def _message(self, text: str) -> None:
        if len(text.encode()) > 4_096:
            raise Crash("more JSON than its heap takes")
        told = cast(Json, json.loads(text))
        self.got.append(told)
        match told:
            case {"type": "hello"}:
                self._greeted(told)
            case {"type": "tts", "state": "start"}:
                if self.state in ("idle", "listening"):
                    self._enter("speaking")
            case {"type": "tts", "state": "stop"}:
                if self.state == "speaking":
                    self._enter("idle" if self.mode == "manual" else "listening")
            case {"type": "tts", "state": "sentence_start", "text": str()} | {"type": "stt", "text": str()}:
                pass
            case {"type": "llm", "emotion": str(emotion)} if emotion in EMOTIONS.split():
                pass
            case {"type": "mcp", "payload": dict(payload)}:
                self._asked(payload)
            case {"type": "alert", "status": str(), "message": str(), "emotion": str()}:
                if self.state == "speaking":
                    raise Crash("the alert's sound in the middle of speech")
            case _:
                raise Crash(f"a message without effect: {text}")

    def _greeted(self, told: Json) -> None:
        if self.state != "connecting":
            raise Crash("a second hello: the next connection believes it is greeted")
        if told.get("transport") != "websocket":
            raise Crash("null dereference: hello without transport")
        params = cast(Json, told["audio_params"])  # xiaozhi-sdk insists on these
        self.session_id = cast(str, told["session_id"])
        self.sample_rate = cast(int, params["sample_rate"])
        self.server_frame_ms = cast(int, params["frame_duration"])
        assert params["channels"] == 1
        self.state = "idle"

    def _asked(self, payload: Json) -> None:
        """Its tools, as an MCP server."""
        if "id" in payload and type(payload["id"]) is not int:
            raise Crash("an id that is no number is never answered")
        if not self.tools:
            return
        match payload:
            case {"method": "initialize", "params": {"capabilities": {"vision": {"url": str(), "token": str()}}}}:
                result: Json = {"protocolVersion": "2024-11-05", "serverInfo": {"name": "board", "version": "2.4.2"}}
            case {"method": "tools/list", "params": {"cursor": str(), "withUserTools": False}}:
                schema = {"type": "object", "properties": {"volume": {"type": "integer"}}}
                result = {"tools": [{"name": name, "description": "", "inputSchema": schema} for name in self.tools]}
            case {"method": "tools/call", "params": {"name": str(name), "arguments": dict(arguments)}}:
                text = self.tools[name](arguments)
                if text is None:
                    return
                result = {"content": [{"type": "text", "text": text}], "isError": False}
            case _:
                return
        self._send(type="mcp", payload={"jsonrpc": "2.0", "id": payload["id"], "result": result})

    def _audio(self, frame: bytes) -> None:
        packet, stamp = frame, 0
        if self.version == 2:
            _, _, _, stamp, size = struct.unpack_from(">HHIII", frame)
            packet = frame[16 : 16 + size]
            if 16 + size != len(frame):
                raise Crash("it reads beyond the frame")
            assert stamp > 0
        elif self.version == 3:
            _, _, size = struct.unpack_from(">BBH", frame)
            packet = frame[4:]
            if size != len(packet):
                raise Crash("it reads beyond the frame")
        pcm = self._decode(packet)
        seconds = len(pcm) / self.sample_rate
        if round(seconds * 1000) > self.server_frame_ms:
            raise Crash("longer than hello told: every packet fails")
        if self.state != "speaking":
            self.dropped += 1
        elif len(self._queue) >= QUEUE:
            self.overflowed += 1
        else:
            if not self._fresh and self._playing is None and not self._queue:
                self.gaps += 1
            self._fresh = False
            self._queue.append(Packet(seconds, stamp, pcm, self._now))
            self.most_queued = max(self.most_queued, len(self._queue))

    # -- its own life -----------------------------------------------------------------------------------------------

    @property
    def queued(self) -> float:
        """Seconds it has still to play."""
        left = max(0.0, self._playing_until - self._now) if self._playing else 0.0
        return left + sum(packet.seconds for packet in self._queue)

    def advance(self, now: float) -> None:
        """Let time pass."""
        while True:
            due = [at for at in (self._next_packet(), self._pending[0] if self._pending else None) if at is not None]
            if not due or min(due) > now:
                break
            self._now = max(self._now, min(due))
            if self._pending and self._pending[0] <= self._now:
                self._handle()
            else:
                self._play_next()
        self._now = max(self._now, now)

    def _next_packet(self) -> float | None:
        if self._playing is not None:
            return self._playing_until
        return self._now if self._queue or self._waits_for_silence else None

    def _play_next(self) -> None:
        if self._playing is not None:
            self.played.append(self._playing.pcm)
            self.played_seconds += self._playing.seconds
            self.silent_since = self._playing_until
            if self._playing.stamp and self.aec:
                self._to_stamp.append(self._playing.stamp)
            self._playing = None
        if self._queue:
            self._playing = self._queue.popleft()
            self._playing_until = max(self._now, self._playing.came) + self._playing.seconds
        elif self._waits_for_silence:
            self._waits_for_silence = False
            self._arm()

    def _enter(self, state: State) -> None:
        """Another state; what it brings about follows on the main task, which sees only the latest."""
        self._fresh = True
        if state == "speaking":
            for packet in self._queue:
                packet.came = -1.0  # there before: to be cleared
        self._set(state)
        self._waits_for_silence = False
        if state == "speaking" and self.mode != "realtime":
            self.microphone = False
        self._pending = (self._now + MAIN_TASK_SECONDS, state)
        if state == "listening" and self._started and self.mode != "realtime":
            self.microphone = False

    def _set(self, state: State) -> None:
        self.state = state

    def _handle(self) -> None:
        assert self._pending is not None
        state, self._pending = self._pending[1], None
        if state == "speaking":
            before = [packet for packet in self._queue if packet.came < 0]
            self.flushed += sum(packet.seconds for packet in before)
            if before and self._playing is not None:  # what is being played is at most this packet
                self.flushed += max(0.0, self._playing_until - self._now)
                self._playing_until = self._now
            self._queue = deque(packet for packet in self._queue if packet.came >= 0)
            self._to_stamp.clear()
        else:
            if self.firmware != "2.4":
                self.clipped += sum(packet.seconds for packet in self._queue)
                self._queue.clear()
            if state == "listening":
                self._waits_for_silence = True
                if self.mode == "realtime" or (self._playing is None and not self._queue):
                    self._waits_for_silence = False
                    self._arm()

    def _arm(self) -> None:
        self.microphone = True
        if self.mode == "realtime" and self._started:
            return  # once a connection
        self._started = True
        self.starts.append(self._now)
        self._send(type="listen", state="start", mode=self.mode)

    # -- audio ------------------------------------------------------------------------------------------------------

    def _send(self, **fields: object) -> None:
        self.outbox.append(json.dumps({"session_id": self.session_id, **fields}))

    def _decode(self, packet: bytes) -> Pcm:
        if self.pcm_down:
            return np.frombuffer(packet, "<i2")
        if not packet:
            raise Crash("an empty packet")
        pieces = [frame.to_ndarray().reshape(-1) for frame in self._decoder.decode(av.Packet(packet))]
        return np.concatenate([silence(0), *pieces])[:: 48_000 // self.sample_rate]

    def _encode(self, pcm: Pcm) -> bytes:
        """After a few packets of silence each is a single byte."""
        self._silent_packets = 0 if pcm.any() else self._silent_packets + 1
        if self._silent_packets > SILENT_PACKETS and self.frame_ms == 60:
            return DTX
        return encoded(self._opus(), pcm)

    def _opus(self) -> AudioCodecContext:
        if self._encoder is None:
            self._encoder = encoder(16_000, self.frame_ms)
        return self._encoder

    # -- the judgement ----------------------------------------------------------------------------------------------

    def of(self, kind: str, state: str | None = None) -> list[Json]:
        return [told for told in self.got if told["type"] == kind and state in (None, told.get("state"))]

    def heard(self) -> Pcm:
        return np.concatenate([silence(0), *self.played])

    def check(self) -> None:
        """Nothing it was sent was for nothing, and it is not stuck."""
        assert self.state != "speaking", "nobody told it to stop"
        assert (self.dropped, self.overflowed, self.clipped) == (0, 0, 0.0)


def decoder() -> AudioCodecContext:
    codec = AudioCodecContext.create("libopus", "r")
    codec.sample_rate = 48_000
    codec.layout = "mono"
    codec.open()
    return codec


def encoder(rate: int, frame_ms: int) -> AudioCodecContext:
    """As the firmware has it: for voice, with the least effort."""
    codec = AudioCodecContext.create("libopus", "w")
    codec.sample_rate = rate
    codec.layout = "mono"
    codec.format = "s16"
    codec.bit_rate = 24_000
    codec.options = {"frame_duration": str(frame_ms), "application": "voip", "compression_level": "0"}
    codec.open()
    return codec


def encoded(codec: AudioCodecContext, pcm: Pcm) -> bytes:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = codec.sample_rate
    return b"".join(bytes(packet) for packet in codec.encode(frame))
