"""Audio on this side of the wire: mono, signed 16 bit, 24 kHz, in numpy arrays."""

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
"""Mono samples at `RATE`, shape (n,)."""

RATE = 24_000
"""Hz: the only PCM rate of the Realtime protocol."""

FRAME = RATE // 50
"""Samples of one microphone frame: 20 ms."""

FRAME_SECONDS = FRAME / RATE

AUDIBLE = 328
"""The quietest sample that counts as audible: 1 % of full scale."""

SPEECH_RANGE_DB = 28.0
"""A frame this far below the loud frames of a recording is no speech any more: final consonants reach down to there."""

NOISE_MARGIN = 3.0
"""A frame of speech is this many times as strong as the recording's quiet frames are, as far as that leaves it ..."""

NOISE_RANGE_DB = 15.0
"""... this far below the loud ones (a recording without a pause has no quiet frames)."""

SPEECH_FLOOR = 50.0
"""Root mean square below which nothing counts as speech, however quiet the rest is (-56 dB of full scale)."""


def silence(samples: int) -> Pcm:
    return np.zeros(samples, dtype=np.int16)


def to_ms(samples: int) -> int:
    """Whole milliseconds; a started one does not count, so that no report exceeds the audio there is."""
    return samples * 1000 // RATE


def first_audible(pcm: Pcm) -> int | None:
    """Index of the first audible sample, None if there is none."""
    loud = (pcm >= AUDIBLE) | (pcm <= -AUDIBLE)
    index = int(np.argmax(loud)) if loud.size else 0
    return index if loud.size and loud[index] else None


def speech_end(pcm: Pcm) -> int | None:
    """One past the last sample of speech in a recording, judged by the energy of its 20 ms frames; None if it
    has none."""
    frames = len(pcm) // FRAME
    if frames == 0:
        return None
    blocks = pcm[: frames * FRAME].reshape(frames, FRAME).astype(np.float64)
    levels = np.sqrt(np.mean(blocks * blocks, axis=1))
    quiet, loud = np.percentile(levels, (10, 95))
    noise = min(NOISE_MARGIN * quiet, loud * 10 ** (-NOISE_RANGE_DB / 20))
    threshold = max(SPEECH_FLOOR, loud * 10 ** (-SPEECH_RANGE_DB / 20), noise)
    spoken = np.flatnonzero(levels > threshold)
    return (int(spoken[-1]) + 1) * FRAME if spoken.size else None
