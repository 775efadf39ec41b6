"""What arrives on a telephone's media stream, in the same words for all dialects of the Twilio family."""

import base64
import binascii
from dataclasses import dataclass
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
    call: Call
    stream: str
    format: LineFormat


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

Scalar = int | float | str | None


class _Media(Struct):
    payload: bytes
    """msgspec reads base64."""
    track: str | None = None
    chunk: Scalar = None
    timestamp: Scalar = None


class _Dtmf(Struct):
    digit: int | str


class _Mark(Struct):
    name: str


class _MediaMessage(Struct):
    """One message of Twilio, Telnyx, Plivo, Exotel or SignalWire: they spell ids differently, and `start`."""

    event: str
    media: _Media | None = None
    dtmf: _Dtmf | None = None
    mark: _Mark | None = None
    name: str | None = None
    start: dict[str, object] | None = None
    extra_headers: object = None
    streamSid: str = ""  # noqa: N815 - as it is spelled on the wire
    stream_sid: str = ""
    stream_id: str = ""
    streamId: str = ""  # noqa: N815

    @property
    def stream(self) -> str:
        return self.streamSid or self.stream_sid or self.stream_id or self.streamId


class _JambonzMark(Struct):
    name: str
    event: str = "playout"


class _JambonzMessage(Struct):
    event: str = ""
    type: str = ""
    dtmf: int | str = ""
    data: _JambonzMark | None = None


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
MOST_TIME = 2**53

_MESSAGE = msgspec.json.Decoder(_MediaMessage)
_JAMBONZ = msgspec.json.Decoder(_JambonzMessage)
_OBJECT: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])


def read(frame: str, vendor: str, default: LineFormat, played: str) -> Incoming | None:
    """A JSON message; None for one that tells nothing to us. `default` is the format where `start` names none, `played`
    the event by which a mark comes back. Raises Malformed."""
    message = _decode(_MESSAGE, frame)
    match message.event:
        case "start" if message.start is not None:
            return _started(message, vendor, default)
        case "media" if message.media is not None:
            media = message.media
            if media.track is not None and not media.track.startswith("inbound"):
                return None
            return AudioReceived(media.payload, _number(media.timestamp), _number(media.chunk))
        case "dtmf" if message.dtmf is not None:
            return DigitPressed(str(message.dtmf.digit).upper())
        case "stop":
            return StreamStopped()
        case "start" | "media" | "dtmf":
            raise MalformedMessage(1007, "the message has no body")
        case name if name == played:
            mark = message.mark.name if message.mark is not None else message.name
            return MarkPlayed(mark) if mark is not None else None
        case _:
            return None


def read_jambonz(frame: str, vendor: str, *, started: bool) -> Incoming | None:
    """jambonz' first text is the call itself; raises Malformed."""
    if not started:
        return _started_jambonz(_decode(_OBJECT, frame), vendor)
    message = _decode(_JAMBONZ, frame)
    if message.event == "dtmf":
        return DigitPressed(str(message.dtmf).upper())
    if message.type == "mark" and message.data is not None and message.data.event != "cleared":
        return MarkPlayed(message.data.name)
    return None


def _decode(decoder: msgspec.json.Decoder[T], frame: str) -> T:
    try:
        return decoder.decode(frame)
    except (ValueError, RecursionError):  # no JSON, wrong types, not base64, lone surrogates, nested too deeply
        raise MalformedMessage(1007, "the message is not valid") from None


def _number(value: Scalar) -> int | None:
    """Vendors send numbers as texts or as numbers."""
    try:
        number = int(value) if value is not None else None
    except (ValueError, OverflowError):
        return None
    return number if number is not None and 0 <= number < MOST_TIME else None


def _text(fields: dict[str, object], *names: str) -> str:
    """The first of these that is there: vendors spell them differently."""
    return next((found for name in names if (found := text_of(fields.get(name)))), "")


def _started(message: _MediaMessage, vendor: str, default: LineFormat) -> StreamStarted:
    start = message.start or {}
    parameters = {
        **parameters_of(start.get("customParameters") or start.get("custom_parameters")),
        **_headers(message.extra_headers or start.get("extra_headers") or start.get("extraHeaders")),
        **_client_state(start.get("client_state")),
    }
    call = Call(
        vendor,
        id=_text(start, "callSid", "call_sid", "call_control_id", "callId", "call_id", "call_uuid"),
        account=_text(start, "accountSid", "account_sid", "accountId", "account_id", "user_id"),
        caller=_text(start, "from"),
        called=_text(start, "to"),
        parameters=parameters,
    )
    stream = message.stream or _text(start, "streamSid", "stream_sid", "stream_id", "streamId")
    return StreamStarted(call, stream, _format(start.get("mediaFormat") or start.get("media_format"), default))


def _format(told: object, default: LineFormat) -> LineFormat:
    """What `start` says of the audio. Raises Malformed for what we cannot do."""
    if not isinstance(told, dict):
        return default
    encoding = _text(told, "encoding").lower()
    rate = _number(_text(told, "sampleRate", "sample_rate") or None) or default.rate
    codec = CODECS.get(encoding.partition(";")[0]) if encoding else default.codec
    if codec is None or rate not in RATES or (codec != "l16" and rate != 8000):
        raise MalformedMessage(1003, "this encoding is not supported")
    if (_number(_text(told, "channels") or None) or 1) != 1:
        raise MalformedMessage(1003, "only mono is supported")
    return LineFormat(codec, rate)


def _headers(told: object) -> dict[str, str]:
    """Plivo's `extraHeaders`: `a=1;b=2`, with commas, or JSON."""
    if not isinstance(told, str):
        return parameters_of(told)
    if told.lstrip().startswith("{"):
        try:
            return parameters_of(_decode(_OBJECT, told))
        except MalformedMessage:
            return {}
    pairs = (pair.partition("=") for pair in told.replace(";", ",").split(","))
    return parameters_of({name.strip(): value.strip() for name, _, value in pairs if name.strip()})


def _client_state(told: object) -> dict[str, str]:
    """Telnyx' `client_state`: base64 of what we please. A JSON object gives its names, anything else one."""
    if not isinstance(told, str) or not told:
        return {}
    try:
        text = base64.b64decode(told, validate=True).decode()
    except (binascii.Error, ValueError):
        text = told
    if text.startswith("{"):
        try:
            return parameters_of(_decode(_OBJECT, text))
        except MalformedMessage:
            pass
    return parameters_of({"client_state": text})


def _started_jambonz(told: dict[str, object], vendor: str) -> StreamStarted:
    if _text(told, "mixType") not in ("", "mono"):
        raise MalformedMessage(1003, "only mixType mono is supported")
    if not _text(told, "callSid"):
        raise MalformedMessage(1007, "the first message does not name the call")
    rate = _number(_text(told, "sampleRate") or None) or 8000
    if rate not in RATES:
        raise MalformedMessage(1003, "this sample rate is not supported")
    call = Call(
        vendor,
        id=_text(told, "callSid"),
        account=_text(told, "accountSid"),
        caller=_text(told, "from"),
        called=_text(told, "to"),
        parameters=parameters_of(told),
    )
    return StreamStarted(call, call.id, LineFormat("l16", rate))
