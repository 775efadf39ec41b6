"""WAV files in and out, with the standard library's `wave` alone."""

import contextlib
import math
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import RATE, Pcm

CONVERT = "convert it with: ffmpeg -i IN -ar 24000 -ac 1 -sample_fmt s16 OUT.wav"
PADDING_SECONDS = 0.1


def read_wav(path: Path) -> Pcm:
    """A 16-bit PCM file as mono samples at `RATE`, whole in memory. AudioError: not there, or not such a file."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except OSError as failed:
        raise AudioError(f"cannot read {path}: {failed.strerror or failed}") from None
    except (wave.Error, EOFError) as failed:
        raise AudioError(f"{path} is not a PCM WAV file ({failed}); {CONVERT}") from None
    if width != 2 or not channels or not rate:
        raise AudioError(f"{path} holds {width * 8}-bit samples, 16-bit ones are needed; {CONVERT}")
    whole = len(data) // (2 * channels)
    samples = np.frombuffer(data, dtype="<i2", count=whole * channels).reshape(whole, channels)
    return resampled(samples.mean(axis=1), rate)


def resampled(samples: npt.NDArray[np.float64], rate: int) -> Pcm:
    """Samples at `rate` Hz as PCM at `RATE`, by cutting or filling up the spectrum of the whole recording:
    exact for audio that is all there. Padding keeps the ends, which the transform joins, from ringing into each
    other."""
    if rate == RATE or not len(samples):
        return _to_pcm(samples)
    common = math.gcd(rate, RATE)
    padding = round(rate * PADDING_SECONDS)
    blocks = 2 ** math.ceil(math.log2((len(samples) + 2 * padding) * common / rate))  # a length the transform likes
    length_in, length_out = blocks * rate // common, blocks * RATE // common
    padded = np.zeros(length_in)
    padded[padding : padding + len(samples)] = samples
    spectrum = np.fft.rfft(padded)[: length_out // 2 + 1]
    result = np.fft.irfft(spectrum, length_out) * (RATE / rate)
    start = round(padding * RATE / rate)
    return _to_pcm(result[start : start + round(len(samples) * RATE / rate)])


def _to_pcm(samples: npt.NDArray[np.float64]) -> Pcm:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


class StereoRecorder:
    """Writes what was said and heard, side by side: the user on the left, the agent, as played, on the right."""

    def __init__(self, file: wave.Wave_write) -> None:
        self._file = file

    def write(self, user: Pcm, agent: Pcm) -> None:
        """The same stretch of time of both, so as many samples of each."""
        self._file.writeframes(np.column_stack((user, agent)).astype("<i2", copy=False).tobytes())


@contextlib.contextmanager
def recording(path: Path) -> Iterator[StereoRecorder]:
    """A stereo recording at `RATE`, readable once the block is left. AudioError: the file cannot be written."""
    try:
        opened = path.open("wb")
    except OSError as failed:
        raise AudioError(f"cannot write {path}: {failed.strerror or failed}") from None
    with opened, wave.open(opened, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        yield StereoRecorder(file)
