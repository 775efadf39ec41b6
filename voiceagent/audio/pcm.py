"""Audio as everything inside passes it on: mono, signed 16 bit, in numpy arrays."""

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
"""Mono samples, shape (n,). The sampling rate travels beside it."""

EAR_RATE = 16_000
"""Hz at which speech is detected and recognised: what webrtcvad, Silero and all recognisers take."""


def from_bytes(data: bytes) -> Pcm:
    """Little-endian 16-bit bytes as samples (a view, not to be written to). Raises ValueError for an odd last byte."""
    return np.frombuffer(data, dtype="<i2")


def to_bytes(pcm: Pcm) -> bytes:
    return pcm.astype("<i2", copy=False).tobytes()


def from_float(samples: npt.NDArray[np.float32]) -> Pcm:
    """Samples in [-1, 1] as 16 bit; louder ones are clipped."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)


def to_float(pcm: Pcm) -> npt.NDArray[np.float32]:
    """Samples as float32 in [-1, 1)."""
    return pcm.astype(np.float32) / 32768.0


def silence(samples: int) -> Pcm:
    return np.zeros(samples, dtype=np.int16)
