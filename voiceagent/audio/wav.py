"""WAV files of 16-bit PCM."""

import wave
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from voiceagent.audio.pcm import Pcm, from_bytes


def read(path: Path) -> tuple[Pcm, int]:
    """The samples of a file (of several channels the first) and their rate in Hz.

    Raises ValueError when it is no WAV file of 16-bit PCM. A file cut off early gives what it still holds.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    # The module raises RuntimeError when a chunk lies about its size.
    except (wave.Error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is not a WAV file of 16-bit PCM: {str(error) or 'it ends too early'}") from None
    if rate == 0:
        raise ValueError(f"{path} is not a WAV file of 16-bit PCM: its sampling rate is 0")
    if width != 2:
        raise ValueError(f"{path} holds samples of {8 * width} bits; only 16-bit PCM is read")
    frame = 2 * channels
    return from_bytes(data[: len(data) // frame * frame])[::channels].copy(), rate


class StereoWav:
    """Writes a two-channel file piece by piece. It is a whole WAV file after each piece, even if the process dies then.

    Blocking, as files are: to be called from a thread where a loop runs.
    """

    def __init__(self, path: Path, rate: int) -> None:
        """Raises OSError when the file cannot be made; what was there before is overwritten."""
        self._file = path.open("wb")
        self._wave = wave.Wave_write(self._file)
        self._wave.setnchannels(2)
        self._wave.setsampwidth(2)
        self._wave.setframerate(rate)

    def write(self, left: Pcm, right: Pcm) -> None:
        """Append samples heard at the same time. Raises ValueError when one side has more of them than the other."""
        if len(left) != len(right):
            raise ValueError(f"both channels must be equally long, not {len(left)} and {len(right)} samples")
        self._wave.writeframes(np.stack((left, right), axis=1).astype("<i2", copy=False).tobytes())
        self._file.flush()

    def close(self) -> None:
        try:
            self._wave.close()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
