"""Messages between xiaozhi devices and the server: JSON as text, one packet of audio as binary."""

import struct
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from voiceagent.errors import Refused

Version = Literal[1, 2, 3]
"""Of the binary framing."""
Mode = Literal["auto", "manual", "realtime"]

MAX_MESSAGE = 65_535
"""Bytes of a message: a device cannot send more."""
MAX_JSON = 4_000
"""Bytes of JSON a device is sent: it is parsed on a heap of 80 kB."""
MAX_SUBTITLE = 1_000
"""Bytes of a text to be shown."""

_HEAD_2 = struct.Struct(">HHIII")
"""Version, type, reserved, time stamp in milliseconds, length of the packet."""
_HEAD_3 = struct.Struct(">BBH")
"""Type, reserved, length of the packet."""
_AUDIO = 0


def pack(version: Version, packet: bytes, stamp: int) -> bytes:
    """A packet of audio as the device's version frames it. A device that gets another framing crashes. `stamp` is 32
    bit and not 0."""
    match version:
        case 1:
            return packet
        case 2:
            return _HEAD_2.pack(2, _AUDIO, 0, stamp, len(packet)) + packet
        case 3:
            return _HEAD_3.pack(_AUDIO, 0, len(packet)) + packet


def unpack(version: Version, frame: bytes) -> tuple[bytes, int]:
    """The packet of audio, and the time stamp (0 when there is none). Raises Refused."""
    if len(frame) > MAX_MESSAGE:
        raise Refused("too_long", "a binary message is too long")
    packet, stamp, length = frame, 0, len(frame)
    try:
        match version:
            case 2:
                numbered, kind, _, stamp, length = _HEAD_2.unpack_from(frame)
                packet = frame[_HEAD_2.size :]
                if (numbered, kind) != (2, _AUDIO):
                    raise Refused("bad_frame", "a binary message is not audio of version 2")
            case 3:
                kind, _, length = _HEAD_3.unpack_from(frame)
                packet = frame[_HEAD_3.size :]
                if kind != _AUDIO:
                    raise Refused("bad_frame", "a binary message is not audio of version 3")
    except struct.error:
        raise Refused("bad_frame", "a binary message is shorter than its head") from None
    if length != len(packet) or not packet:
        raise Refused("bad_frame", "a binary message is not as long as its head tells")
    return packet, stamp


class AudioParams(Struct, frozen=True):
    """What the device sends. `frame_duration` in milliseconds."""

    format: str = "opus"
    sample_rate: int = 16_000
    channels: int = 1
    frame_duration: int = 60


class Features(Struct, frozen=True):
    """`aec`: the server is to take the echo out of what the microphone hears. `mcp`: the device has tools."""

    aec: bool = False
    mcp: bool = False


class Received(Struct, frozen=True):
    """Any message of a device: which of the fields count depends on `type`."""

    type: str
    state: str = ""
    mode: str = "auto"
    text: str = ""
    reason: str | None = None
    version: int = 0
    transport: str = "websocket"
    features: Features | None = None
    audio_params: AudioParams | None = None
    payload: Raw = Raw(b"")


_RECEIVED = msgspec.json.Decoder(Received)
_JSON = msgspec.json.Encoder()


def parse(text: str) -> Received:
    """Raises Refused for what is no message; the error never repeats what was sent."""
    if len(text) > MAX_MESSAGE:
        raise Refused("too_long", "a message is too long")
    try:
        return _RECEIVED.decode(text)
    except msgspec.ValidationError:
        raise Refused("bad_message", "a message has a field that is missing or of a wrong type") from None
    except (ValueError, RecursionError):  # no JSON, lone surrogates, nested too deeply
        raise Refused("bad_json", "a message is not JSON") from None


def message(session_id: str, kind: str, fields: Mapping[str, object]) -> str:
    """A message to a device, which reads its own session's id in all of them."""
    return _JSON.encode({"type": kind, "session_id": session_id, **fields}).decode()


def shortened(text: str, limit: int = MAX_SUBTITLE) -> str:
    """The text's first so many bytes of UTF-8, whole characters only, without lone surrogates."""
    return text.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")
