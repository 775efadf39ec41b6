"""Audio formats of OpenAI Realtime: the conversion of its three formats to and from PCM."""

from typing import Literal

from msgspec import Struct

from voiceagent.audio import g711, pcm
from voiceagent.audio.pcm import Pcm
from voiceagent.errors import Refused

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Most audio in one append, decoded: the limit that OpenAI documents."""


class PcmFormat(Struct, frozen=True, tag_field="type", tag="audio/pcm"):
    """Signed 16 bit, little-endian, mono."""

    rate: Literal[24000] = 24_000


class PcmuFormat(Struct, frozen=True, tag_field="type", tag="audio/pcmu"):
    """G.711 μ-law at 8 kHz."""


class PcmaFormat(Struct, frozen=True, tag_field="type", tag="audio/pcma"):
    """G.711 A-law at 8 kHz."""


AudioFormat = PcmFormat | PcmuFormat | PcmaFormat


def rate_of(audio_format: AudioFormat) -> int:
    """Samples per second."""
    return audio_format.rate if isinstance(audio_format, PcmFormat) else 8_000


def decode(data: bytes, audio_format: AudioFormat) -> Pcm:
    """What a client appended. Raises Refused for too much audio or half a sample."""
    if len(data) > MAX_APPEND_BYTES:
        raise Refused("audio_too_large", f"One append holds at most {MAX_APPEND_BYTES} bytes of audio.", "audio")
    match audio_format:
        case PcmFormat():
            if len(data) % 2:
                raise Refused("invalid_value", "16-bit audio has an even number of bytes.", "audio")
            return pcm.from_bytes(data)
        case PcmuFormat():
            return g711.decode_ulaw(data)
        case PcmaFormat():
            return g711.decode_alaw(data)


def encode(samples: Pcm, audio_format: AudioFormat) -> bytes:
    """Samples at the format's rate as its bytes."""
    match audio_format:
        case PcmFormat():
            return pcm.to_bytes(samples)
        case PcmuFormat():
            return g711.encode_ulaw(samples)
        case PcmaFormat():
            return g711.encode_alaw(samples)
