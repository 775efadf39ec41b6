"""The audio of telephone lines: G.711 and linear 16 bit, to and from PCM."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voiceagent.audio import g711, pcm
from voiceagent.audio.pcm import Pcm, silence

Codec = Literal["ulaw", "alaw", "l16"]
"""`l16` is signed 16 bit, little-endian."""

LOW_HZ = {key: hz for keys, hz in (("123A", 697), ("456B", 770), ("789C", 852), ("*0#D", 941)) for key in keys}
HIGH_HZ = {key: hz for keys, hz in (("147*", 1209), ("2580", 1336), ("369#", 1477), ("ABCD", 1633)) for key in keys}
"""The two tones of each key (ITU-T Q.23)."""
TONE_SECONDS = 0.12
"""Length of a key's tones and of the silence behind them; ITU-T Q.24 asks for 40 ms and more of each."""
PAUSE_SECONDS = 0.5
"""What `w` among the digits stands for."""
LOUDNESS = 8000
"""Peak of each of the two tones: -12 dB."""


@dataclass(frozen=True, slots=True)
class LineFormat:
    """`rate` in Hz."""

    codec: Codec
    rate: int = 8000

    @property
    def sample_bytes(self) -> int:
        return 2 if self.codec == "l16" else 1

    def decode(self, data: bytes) -> Pcm:
        """Raises ValueError for half a sample."""
        match self.codec:
            case "ulaw":
                return g711.decode_ulaw(data)
            case "alaw":
                return g711.decode_alaw(data)
            case "l16":
                return pcm.from_bytes(data)

    def encode(self, samples: Pcm) -> bytes:
        match self.codec:
            case "ulaw":
                return g711.encode_ulaw(samples)
            case "alaw":
                return g711.encode_alaw(samples)
            case "l16":
                return pcm.to_bytes(samples)


def tones(digits: Sequence[str], rate: int) -> Pcm:
    """The sound of these keys being pressed, for lines that carry digits in no other way."""
    times = np.arange(int(TONE_SECONDS * rate)) / rate
    pieces = []
    for key in digits:
        if key == "w":
            pieces.append(silence(int(PAUSE_SECONDS * rate)))
            continue
        waves = np.sin(2 * np.pi * LOW_HZ[key] * times) + np.sin(2 * np.pi * HIGH_HZ[key] * times)
        pieces += [(LOUDNESS * waves).astype(np.int16), silence(len(times))]
    return np.concatenate(pieces) if pieces else silence(0)
