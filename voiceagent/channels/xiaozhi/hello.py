"""Hellos: what a device and the server agree on when a connection begins."""

from dataclasses import dataclass
from typing import get_args

from voiceagent import extras
from voiceagent.channels.xiaozhi.loudspeaker import RATE
from voiceagent.channels.xiaozhi.messages import AudioParams, Features, Received, Version
from voiceagent.errors import Refused

PCM_RATES = (8_000, 12_000, 16_000, 24_000, 32_000, 48_000)
"""Hz of plain PCM that is taken."""
FRAME_MS = (20, 40, 60)


@dataclass(frozen=True, slots=True)
class Terms:
    """`pcm_rate` in Hz, None where the device sends Opus; `pcm_down`: it is sent PCM too. Packets to it are of
    `frame_ms`, as its own are. With `aec` the device leaves the echo in and tells what it has just played."""

    version: Version
    frame_ms: int
    pcm_rate: int | None
    pcm_down: bool
    aec: bool
    mcp: bool


def agree(hello: Received, version: Version | None, *, pcm_down: bool) -> Terms:
    """`version` is that of the handshake's header, which counts before the hello's. Raises Refused."""
    params, features = hello.audio_params or AudioParams(), hello.features or Features()
    if hello.transport != "websocket":
        raise Refused("bad_hello", "the transport must be websocket")
    if params.format not in ("opus", "pcm") or params.channels != 1:
        raise Refused("bad_hello", "the audio must be mono, opus or pcm")
    is_pcm = params.format == "pcm"
    if is_pcm and params.sample_rate not in PCM_RATES:
        raise Refused("bad_hello", "the sampling rate is not known")
    if not (is_pcm and pcm_down) and not extras.installed("av"):
        raise Refused("no_opus", str(extras.MissingExtra("Opus", "av")))
    told: dict[int, Version] = {known: known for known in get_args(Version)}
    return Terms(
        version=version or told.get(hello.version, 1),
        frame_ms=params.frame_duration if params.frame_duration in FRAME_MS else 60,
        pcm_rate=params.sample_rate if is_pcm else None,
        pcm_down=is_pcm and pcm_down,
        aec=features.aec,
        mcp=features.mcp,
    )


def answer(terms: Terms) -> dict[str, object]:
    """Our own hello. Without `transport` a device crashes; other clients insist on the rest."""
    params: dict[str, object] = {
        "format": "pcm" if terms.pcm_down else "opus",
        "sample_rate": RATE,
        "channels": 1,
        "frame_duration": terms.frame_ms,
    }
    return {"transport": "websocket", "version": terms.version, "audio_params": params}
