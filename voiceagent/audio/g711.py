"""G.711 (ITU-T): telephone audio at 8 kHz, one byte a sample, mu-law or A-law, by tables."""

import numpy as np
import numpy.typing as npt

from voiceagent.audio.pcm import Pcm

Ints = npt.NDArray[np.int32]

ULAW_BIAS = 33
"""Added to the 14-bit magnitude so that each segment begins at a power of two."""

ULAW_PEAK = 0x1FFF
"""The largest biased magnitude."""


def decode_ulaw(data: bytes) -> Pcm:
    """Samples at 16-bit scale, one a byte."""
    return ULAW_TO_PCM[np.frombuffer(data, np.uint8)]


def encode_ulaw(pcm: Pcm) -> bytes:
    return PCM_TO_ULAW[pcm.view(np.uint16)].tobytes()


def decode_alaw(data: bytes) -> Pcm:
    """Samples at 16-bit scale, one a byte."""
    return ALAW_TO_PCM[np.frombuffer(data, np.uint8)]


def encode_alaw(pcm: Pcm) -> bytes:
    return PCM_TO_ALAW[pcm.view(np.uint16)].tobytes()


def _ulaw_decoder() -> Pcm:
    codes = ~_all_codes() & 0xFF
    magnitude: Ints = ((((codes & 0x0F) << 1) + ULAW_BIAS) << ((codes >> 4) & 7)) - ULAW_BIAS
    values: Ints = np.where(codes & 0x80, -magnitude, magnitude) << 2
    return values.astype(np.int16)


def _ulaw_encoder() -> npt.NDArray[np.uint8]:
    samples = _all_samples()
    magnitude: Ints = np.minimum((np.where(samples < 0, ~samples, samples) >> 2) + ULAW_BIAS, ULAW_PEAK)
    segment = _highest_bit(magnitude) - 5
    codes: Ints = np.where(samples < 0, 0x80, 0) | (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
    return (~codes & 0xFF).astype(np.uint8)


def _alaw_decoder() -> Pcm:
    codes = _all_codes() ^ 0x55
    segment = (codes >> 4) & 7
    steps = ((codes & 0x0F) << 1) + 1 + np.where(segment > 0, 32, 0)
    magnitude: Ints = steps << np.maximum(segment - 1, 0)
    values: Ints = np.where(codes & 0x80, magnitude, -magnitude) << 3
    return values.astype(np.int16)


def _alaw_encoder() -> npt.NDArray[np.uint8]:
    samples = _all_samples()
    magnitude: Ints = np.where(samples < 0, ~samples, samples) >> 4
    segment = np.maximum(_highest_bit(magnitude) - 3, 0)
    codes: Ints = np.where(samples < 0, 0, 0x80) | (segment << 4) | ((magnitude >> np.maximum(segment - 1, 0)) & 0x0F)
    return (codes ^ 0x55).astype(np.uint8)


def _all_samples() -> Ints:
    """Every 16-bit sample, in the order of its bits read as an unsigned number."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _all_codes() -> Ints:
    return np.arange(256, dtype=np.int32)


def _highest_bit(values: Ints) -> Ints:
    """The index of the highest bit set; -1 for 0."""
    return np.frexp(values)[1].astype(np.int32) - 1


ULAW_TO_PCM = _ulaw_decoder()
PCM_TO_ULAW = _ulaw_encoder()
ALAW_TO_PCM = _alaw_decoder()
PCM_TO_ALAW = _alaw_encoder()
