"""What is known of a silence while it lasts: what the rules of endpointing judge by."""

from dataclasses import dataclass, field

import numpy as np

from voiceagent.audio.pcm import EAR_RATE, Pcm

FRAME = EAR_RATE // 50
"""Samples of one measurement of level: 20 ms."""

LAST = 15
"""Frames at the end of the voice: 300 ms, about a syllable. Measured: 500 ms tell as much, 100 ms little."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One silence after a voice, as far as it is known at this moment; `dataclasses.replace` it when more is known.

    `text` is what was understood of the turn, "" while nothing is. `finished` is a model's probability that the speaker
    has finished, None without one. `fade_db` is the function's below. `speech_ms` and `pauses` are this speaker's: how
    long they have spoken, this turn included, and how often they paused and went on (see SpeakerPauses).
    """

    text: str = field(default="", repr=False)
    finished: float | None = None
    fade_db: float | None = None
    speech_ms: float = 0.0
    pauses: float = 0.0


def fade_db(voice: Pcm) -> float | None:
    """How much softer a voice was in its last 300 ms than where it was loud (the 90th percentile), in dB, 0 or below.

    `voice` is the turn's audio at 16 kHz up to the last window of voice, without the silence after it; its last 8 s are
    as good as all of it. None for less than 600 ms, where there is nothing to compare. Takes 1 ms for 8 s.
    """
    frames = len(voice) // FRAME
    if frames < 2 * LAST:
        return None
    samples = voice[len(voice) - frames * FRAME :].astype(np.float32).reshape(frames, FRAME)
    power = np.mean(samples**2, axis=1) + 1.0
    return min(0.0, 10.0 * float(np.log10(np.mean(power[-LAST:]) / np.percentile(power, 90))))
