"""Reader of a recording's sound, piece by piece. Its length is the file's, as a header may be out of date."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from voiceagent import extras

if TYPE_CHECKING:
    import av
else:
    av = extras.optional("av", "a recording as Opus")

HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
"""RIFF, its size, WAVE, fmt, its size, format, channels, rate, bytes a second, bytes a frame, bits, data, its size."""
FRAME = 4
"""Bytes of both sides' samples."""
BLOCK_SECONDS = 10
OPUS_BIT_RATE = 48_000
"""Of both sides together."""
OPUS_RATE = 48_000

Stereo = npt.NDArray[np.int16]
"""Shape (n, 2): the user's and the agent's samples."""


class SoundFile:
    """An open recording."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError when it is no recording of ours, OSError when it cannot be read."""
        self._file = path.open("rb")
        try:
            self.rate = _rate(self._file.read(HEADER.size))
            self.frames = max(0, self._file.seek(0, io.SEEK_END) - HEADER.size) // FRAME
        except ValueError:
            self._file.close()
            raise

    @property
    def seconds(self) -> float:
        return self.frames / self.rate

    def read(self, start: int, frames: int) -> Stereo:
        """So many samples from there on, fewer at the end."""
        first = min(max(0, start), self.frames)
        self._file.seek(HEADER.size + FRAME * first)
        data = self._file.read(FRAME * max(0, min(frames, self.frames - first)))
        return np.frombuffer(data[: len(data) // FRAME * FRAME], "<i2").reshape(-1, 2)

    def blocks(self) -> Iterator[Stereo]:
        """All of it."""
        size = BLOCK_SECONDS * self.rate
        for start in range(0, self.frames, size):
            yield self.read(start, size)

    def peaks(self, from_ms: int, steps: int, step_ms: int) -> tuple[list[float], list[float]]:
        """The loudest sample (0 to 1) of the user and of the agent in each of so many steps; 0 where there is none."""
        size = step_ms * self.rate // 1000
        first = from_ms * self.rate // 1000
        loudest = np.zeros((steps, 2))
        many = max(1, BLOCK_SECONDS * self.rate // size)
        for step in range(0, steps, many):
            count = min(many, steps - step)
            start = first + step * size
            missing = min(max(0, -start), count * size)
            samples = np.zeros((count * size, 2), np.int32)
            found = self.read(start + missing, count * size - missing)
            samples[missing : missing + len(found)] = np.abs(found.astype(np.int32))
            loudest[step : step + count] = samples.reshape(count, size, 2).max(axis=1) / 32768
        user, agent = np.round(loudest, 3).T.tolist()
        return user, agent

    def opus(self) -> bytes:
        """All of it as an Ogg file with Opus in it: 22 MB an hour."""
        out = io.BytesIO()
        with av.open(out, "w", format="ogg") as container:
            stream = container.add_stream("libopus", rate=OPUS_RATE, layout="stereo", bit_rate=OPUS_BIT_RATE)
            resampler = av.AudioResampler("s16", "stereo", OPUS_RATE)
            position = 0
            for block in self.blocks():
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(block).reshape(1, -1), format="s16", layout="stereo"
                )
                frame.sample_rate, frame.pts, frame.time_base = self.rate, position, Fraction(1, self.rate)
                position += len(block)
                for resampled in resampler.resample(frame):
                    container.mux(stream.encode(resampled))
            for resampled in resampler.resample(None):
                container.mux(stream.encode(resampled))
            container.mux(stream.encode(None))
        return out.getvalue()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rate(header: bytes) -> int:
    """Raises ValueError when this is not how our recordings begin."""
    if len(header) == HEADER.size:
        riff, _, wave, fmt, _, kind, channels, rate, _, frame, bits, data, _ = HEADER.unpack(header)
        names, shape = (riff, wave, fmt, data), (kind, channels, frame, bits)
        if names == (b"RIFF", b"WAVE", b"fmt ", b"data") and shape == (1, 2, FRAME, 16) and rate:
            return int(rate)
    raise ValueError("not a recording: stereo, 16 bit")


def mend(path: Path) -> None:
    """Write the true length into the header of a file that was never finished. One that is none stays as it is."""
    with path.open("r+b") as file:
        header = file.read(HEADER.size)
        try:
            _rate(header)
        except ValueError:
            return
        size = (file.seek(0, io.SEEK_END) - HEADER.size) // FRAME * FRAME
        fields = list(HEADER.unpack(header))
        fields[1], fields[-1] = HEADER.size - 8 + size, size
        file.truncate(HEADER.size + size)
        file.seek(0)
        file.write(HEADER.pack(*fields))
