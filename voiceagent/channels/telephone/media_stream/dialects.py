"""How the vendors of the Twilio family differ, as a table: one row each, and the messages that we send."""

from dataclasses import dataclass

from voiceagent.channels.telephone.audio import LineFormat

Message = dict[str, object]


ULAW = LineFormat("ulaw")
LINEAR = LineFormat("l16")


@dataclass(frozen=True)
class StreamDialect:
    """Twilio's own messages, with the differences that can be told in a word. `id` is how the stream's id is spelled.
    `default` is the audio format where `start` names none. `played` is the event by which a mark comes back.
    Messages of less than `message_ms` are not sent, nor such that are no multiple of `grain_ms`. Where the order of
    packets is not kept, `reorders`. With `binary` audio comes and goes as it is, not as base64 in JSON."""

    vendor: str
    id: str = "streamSid"
    default: LineFormat = ULAW
    played: str = "mark"
    message_ms: int = 50
    grain_ms: int = 0
    reorders: bool = False
    binary: bool = False

    def media(self, stream: str, audio: bytes, line: LineFormat) -> Message:
        return {"event": "media", self.id: stream, "media": {"payload": audio}}

    def mark(self, stream: str, name: str) -> Message:
        return {"event": "mark", self.id: stream, "mark": {"name": name}}

    def clear(self, stream: str) -> Message:
        return {"event": "clear", self.id: stream}

    def digits(self, stream: str, digits: str) -> Message | None:
        """None: digits cannot be sent on the stream."""
        return None


class PlivoDialect(StreamDialect):
    def media(self, stream: str, audio: bytes, line: LineFormat) -> Message:
        kind = {"l16": "audio/x-l16", "ulaw": "audio/x-mulaw", "alaw": "audio/x-alaw"}[line.codec]
        return {"event": "playAudio", "media": {"contentType": kind, "sampleRate": line.rate, "payload": audio}}

    def mark(self, stream: str, name: str) -> Message:
        return {"event": "checkpoint", self.id: stream, "name": name}

    def clear(self, stream: str) -> Message:
        return {"event": "clearAudio", self.id: stream}

    def digits(self, stream: str, digits: str) -> Message | None:
        return {"event": "sendDTMF", self.id: stream, "dtmf": digits}


class JambonzDialect(StreamDialect):
    def mark(self, stream: str, name: str) -> Message:
        return {"type": "mark", "data": {"name": name}}

    def clear(self, stream: str) -> Message:
        return {"type": "killAudio"}


TWILIO = StreamDialect("twilio")
SIGNALWIRE = StreamDialect("signalwire")
TELNYX = StreamDialect("telnyx", id="stream_id", reorders=True)
PLIVO = PlivoDialect("plivo", id="streamId", played="playedStream")
EXOTEL = StreamDialect("exotel", id="stream_sid", default=LINEAR, message_ms=100, grain_ms=20)
JAMBONZ = JambonzDialect("jambonz", default=LINEAR, binary=True)

DIALECTS = {dialect.vendor: dialect for dialect in (TWILIO, SIGNALWIRE, TELNYX, PLIVO, EXOTEL, JAMBONZ)}
