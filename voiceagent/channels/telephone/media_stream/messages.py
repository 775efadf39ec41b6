"""Messages of a telephone's media stream, in the same words for all dialects of the Twilio family, and their parser.

What is needed is read strictly, what is not is passed over: audio counts whatever its time stamp looks like.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from msgspec import Struct

from voiceagent.channels.telephone.audio import Codec, LineFormat
from voiceagent.channels.telephone.call import Call, parameters_of, text_of

T = TypeVar("T")


class MalformedMessage(Exception):
    """A message that is none of the protocol's. `code` is the WebSocket close code that says so (RFC 6455)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The call has begun. Audio comes in `format`, and is sent in `send_format` where that is another one. `fields` is
    all that the message told, for what only one vendor knows."""

    call: Call
    stream: str
    format: LineFormat
    send_format: LineFormat | None = None
    one_way: bool = False
    """The message itself tells that nothing we send is heard."""
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """Audio as bytes. `at_ms` and `number` are None where the vendor tells none."""

    audio: bytes
    at_ms: int | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class DigitPressed:
    key: str


@dataclass(frozen=True, slots=True)
class MarkPlayed:
    mark: str


@dataclass(frozen=True, slots=True)
class StreamStopped:
    pass


Incoming = StreamStarted | AudioReceived | DigitPressed | MarkPlayed | StreamStopped


class _Media(Struct):
    payload: bytes
    """msgspec reads base64."""
    track: object = None
    chunk: object = None
    timestamp: object = None


class _Dtmf(Struct):
    digit: int | str


class _Mark(Struct):
    name: int | str


class _MediaMessage(Struct):
    """One message of Twilio, Telnyx, Plivo, Exotel or SignalWire: they spell ids differently, and `start`."""

    event: str
    media: _Media | None = None
    dtmf: _Dtmf | None = None
    mark: _Mark | None = None
    name: object = None
    start: dict[str, object] | None = None
    extra_headers: object = None
    streamSid: object = None  # noqa: N815 - as it is spelled on the wire
    stream_sid: object = None
    stream_id: object = None
    streamId: object = None  # noqa: N815

    @property
    def stream(self) -> str:
        named = (self.streamSid, self.stream_sid, self.stream_id, self.streamId)
        return next((text for name in named if (text := text_of(name))), "")


CODECS: dict[str, Codec] = {
    "audio/x-mulaw": "ulaw",
    "audio/mulaw": "ulaw",
    "mulaw": "ulaw",
    "pcmu": "ulaw",
    "audio/x-alaw": "alaw",
    "audio/alaw": "alaw",
    "alaw": "alaw",
    "pcma": "alaw",
    "audio/x-l16": "l16",
    "audio/l16": "l16",
    "l16": "l16",
    "audio/x-raw": "l16",
    "raw/slin": "l16",
    "slin": "l16",
    "linear16": "l16",
    "base64": "l16",
}
"""By the names that vendors give them. Exotel's applets have said `base64` where they mean linear."""
RATES = frozenset((8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000))
MAX_NUMBER = 2**53

_MESSAGE = msgspec.json.Decoder(_MediaMessage)
_OBJECT: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])


def read(frame: str, vendor: str, default: LineFormat, played: str) -> Incoming | None:
    """A JSON message; None for one that tells nothing to us. `default` is the format where `start` names none, `played`
    the event by which a mark comes back. Raises MalformedMessage."""
    message = decode(_MESSAGE, frame)
    match message.event:
        case "start" if message.start is not None:
            return _started(message, vendor, default)
        case "media" if message.media is not None:
            media = message.media
            if isinstance(media.track, str) and not media.track.startswith("inbound"):
                return None
            return AudioReceived(media.payload, whole_number(media.timestamp), whole_number(media.chunk))
        case "dtmf" if message.dtmf is not None:
            return DigitPressed(str(message.dtmf.digit).upper())
        case "stop":
            return StreamStopped()
        case "start" | "media" | "dtmf":
            raise MalformedMessage(1007, "the message has no body")
        case name if name == played:
            mark = text_of(message.mark.name if message.mark is not None else message.name)
            return MarkPlayed(mark) if mark is not None else None
        case _:
            return None


def decode(decoder: msgspec.json.Decoder[T], frame: str) -> T:
    """Raises MalformedMessage."""
    try:
        return decoder.decode(frame)
    except (ValueError, RecursionError):  # no JSON, wrong types, not base64, lone surrogates, nested too deeply
        raise MalformedMessage(1007, "the message is not valid") from None


def decode_object(frame: str) -> dict[str, object]:
    """Raises MalformedMessage for what is no JSON object."""
    return decode(_OBJECT, frame)


def whole_number(value: object) -> int | None:
    """Vendors send numbers as texts or as numbers, with a point or without."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < MAX_NUMBER and number.is_integer() else None


def first_text(fields: Mapping[str, object], *names: str) -> str:
    """The first of these that is there: vendors spell them differently."""
    return next((found for name in names if (found := text_of(fields.get(name)))), "")


def _started(message: _MediaMessage, vendor: str, default: LineFormat) -> StreamStarted:
    start = message.start or {}
    call = Call(
        vendor,
        id=first_text(start, "callSid", "call_sid", "call_control_id", "callId", "call_id", "call_uuid"),
        account=first_text(start, "accountSid", "account_sid", "accountId", "account_id", "user_id"),
        caller=first_text(start, "from"),
        called=first_text(start, "to"),
        parameters=parameters_of(start.get("customParameters") or start.get("custom_parameters")),
    )
    stream = message.stream or first_text(start, "streamSid", "stream_sid", "stream_id", "streamId")
    line = format_of(start.get("mediaFormat") or start.get("media_format"), default)
    return StreamStarted(
        call,
        stream,
        line,
        one_way=_one_way(start.get("tracks")),
        fields={"extra_headers": message.extra_headers, **start},
    )


def _one_way(tracks: object) -> bool:
    """Streams that can be spoken to carry the caller alone; only listeners get the other side as well."""
    return isinstance(tracks, list) and any(isinstance(track, str) and "outbound" in track for track in tracks)


def format_of(told: object, default: LineFormat) -> LineFormat:
    """What `start` says of the audio. Raises MalformedMessage for what we cannot do."""
    if not isinstance(told, dict):
        return default
    encoding = first_text(told, "encoding").lower()
    rate = whole_number(first_text(told, "sampleRate", "sample_rate")) or default.rate
    codec = CODECS.get(encoding.partition(";")[0]) if encoding else default.codec
    if codec is None or rate not in RATES or (codec != "l16" and rate != 8000):
        raise MalformedMessage(1003, "this encoding is not supported")
    if (whole_number(first_text(told, "channels")) or 1) != 1:
        raise MalformedMessage(1003, "only mono is supported")
    return LineFormat(codec, rate)
