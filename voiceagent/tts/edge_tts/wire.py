"""Messages of Microsoft's read-aloud service, without I/O: WebSocket messages, text and binary, each with headers.

`edge_tts` keeps up with the service's secrets; the shape of the messages is here. Its public class `Communicate` is
not used: it speaks to one fixed address, so that neither a relay nor a test can stand in for the service, and it ends
every request with a closing handshake, for which the next clause would wait. What is taken from its inner parts is why
its releases are bounded in `pyproject.toml`; the tests of this engine fail where they change.
"""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode
from xml.sax.saxutils import escape, unescape

import msgspec
from edge_tts.communicate import connect_id, date_to_string, mkssml, ssml_headers_plus_data
from edge_tts.constants import SEC_MS_GEC_VERSION, TRUSTED_CLIENT_TOKEN, WSS_HEADERS
from edge_tts.data_classes import TTSConfig
from edge_tts.drm import DRM

from voiceagent.tts.base import WordTiming

SAMPLE_RATE = 24_000
TICKS = 10_000_000
"""The service's units of time in a second."""

MOST_BYTES = 4096
"""Of escaped UTF-8 text in one request, as edge_tts found out."""

_VOICE = re.compile(r"[a-z]{2,3}-[A-Z]{2,}(-[A-Za-z]+)?-[A-Za-z]+Neural")

_CONFIG = (
    '{"context":{"synthesis":{"audio":{"metadataoptions":{"sentenceBoundaryEnabled":"false","wordBoundaryEnabled":"true"},'
    '"outputFormat":"audio-24khz-48kbitrate-mono-mp3"}}}}\r\n'
)


@dataclass(frozen=True, slots=True)
class Mp3:
    """More of the audio."""

    data: bytes


@dataclass(frozen=True, slots=True)
class WordBoundaries:
    """When words are spoken, in the audio as the service sends it."""

    words: tuple[WordTiming, ...]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The request is answered."""


class _Text(msgspec.Struct, rename="pascal"):
    text: str = ""


class _Data(msgspec.Struct, rename="pascal"):
    offset: int = 0
    duration: int = 0
    text: _Text = msgspec.field(name="text", default_factory=_Text)


class _Boundary(msgspec.Struct, rename="pascal"):
    type: str
    data: _Data = msgspec.field(default_factory=_Data)


class _Metadata(msgspec.Struct, rename="pascal"):
    metadata: list[_Boundary]


def address(base_url: str) -> str:
    """Where to connect now; the token in it holds for five minutes."""
    query = {
        "TrustedClientToken": TRUSTED_CLIENT_TOKEN,
        "ConnectionId": connect_id(),
        "Sec-MS-GEC": DRM.generate_sec_ms_gec(),
        "Sec-MS-GEC-Version": SEC_MS_GEC_VERSION,
    }
    return f"{base_url}?{urlencode(query)}"


def headers() -> dict[str, str]:
    """The browser's own headers, but for those that any WebSocket client sends."""
    return {
        name: value
        for name, value in DRM.headers_with_muid(WSS_HEADERS).items()
        if not name.startswith("Sec-WebSocket")
    }


def mend_clock(date: str | None) -> bool:
    """Tokens are made from the time: take the server's (its `Date` header) if it tells it. Returns whether it did."""
    try:
        server = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return False
    DRM.adj_clock_skew_seconds(server - DRM.get_unix_timestamp())
    return True


def is_voice(name: str) -> bool:
    """Whether this can be the name of one of the service's voices."""
    return _VOICE.fullmatch(name) is not None


def manner(voice: str, speed: float) -> TTSConfig:
    """How to speak. Raises ValueError for a voice whose name cannot be one of the service's: it becomes part of XML."""
    if not is_voice(voice):
        raise ValueError("no voice of the service")
    return TTSConfig(voice, f"{round((speed - 1) * 100):+d}%", "+0%", "+0Hz", "WordBoundary")


def request(text: str, how: TTSConfig) -> tuple[str, str]:
    """The two messages that ask for a text to be spoken. Raises ValueError when it is too long."""
    clean = "".join(char if char.isprintable() or char in "\t\n\r" else " " for char in text)
    escaped = escape(clean)
    if len(escaped.encode()) > MOST_BYTES:
        raise ValueError(f"the text is longer than {MOST_BYTES} bytes")
    head = (
        f"X-Timestamp:{date_to_string()}\r\nContent-Type:application/json; charset=utf-8\r\nPath:speech.config\r\n\r\n"
    )
    return head + _CONFIG, ssml_headers_plus_data(connect_id(), date_to_string(), mkssml(how, escaped))


def read(message: str | bytes) -> Mp3 | WordBoundaries | TurnEnd | None:
    """What a message of the service says; None for those that say nothing of use. Raises ValueError."""
    return _read_binary(message) if isinstance(message, bytes) else _read_text(message)


def _read_text(message: str) -> WordBoundaries | TurnEnd | None:
    head, _, body = message.partition("\r\n\r\n")
    match _path(head.split("\r\n")):
        case "turn.end":
            return TurnEnd()
        case "audio.metadata":
            try:
                metadata = msgspec.json.decode(body, type=_Metadata).metadata
            except msgspec.DecodeError:
                raise ValueError("unknown metadata") from None
            return WordBoundaries(tuple(_timing(entry.data) for entry in metadata if entry.type == "WordBoundary"))
        case _:
            return None


def _read_binary(message: bytes) -> Mp3 | None:
    size = int.from_bytes(message[:2], "big")
    if len(message) < 2 + size:
        raise ValueError("a message is shorter than its headers")
    data = message[2 + size :]
    is_audio = _path(message[2 : 2 + size].decode("ascii", "replace").split("\r\n")) == "audio"
    return Mp3(data) if is_audio and data else None


def _path(lines: list[str]) -> str | None:
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Path:")), None)


def _timing(data: _Data) -> WordTiming:
    return WordTiming(unescape(data.text.text), data.offset / TICKS, (data.offset + data.duration) / TICKS)
