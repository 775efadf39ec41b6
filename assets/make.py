"""Makes the recordings in this folder with the default voice: `make assets`. Needs only what the project installs."""

import tomllib
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
from hibari import Hibari

from voiceagent.server.resources import BUNDLED_APOLOGY, BUNDLED_APOLOGY_TEXT

RATE = 24_000
USER_PITCH = 1.18
"""The user's voice is the agent's, lower by this factor, so that a listener can tell them apart."""
QUIET_SECONDS = 0.2
"""Before and after the words."""


def main() -> None:
    voice = Hibari()
    folder = Path(__file__).parent / "demo"
    for turn in tomllib.loads((folder / "script.toml").read_text("utf-8"))["turn"]:
        spoken = voice(turn["text"], speed=USER_PITCH, seed=1)
        lower = soxr.resample(spoken, RATE / USER_PITCH, RATE)
        write(folder / turn["wav"], lower)
    write(BUNDLED_APOLOGY, voice(BUNDLED_APOLOGY_TEXT, seed=1))


def write(path: Path, samples: npt.NDArray[np.float32]) -> None:
    """Mono, 16 bit, trimmed to the words."""
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    quiet = np.zeros(int(QUIET_SECONDS * RATE), np.float32)
    words = np.concatenate([quiet, samples[loud[0] : loud[-1]], quiet])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(words, -1.0, 1.0) * 32767).astype("<i2").tobytes())
    print(f"{path}: {len(words) / RATE:.1f} s")


if __name__ == "__main__":
    main()
