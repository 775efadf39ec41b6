"""MP3 as it streams."""

import av
import numpy as np
from av.audio.frame import AudioFrame

from voiceagent.audio.pcm import Pcm, from_float, silence


class Mp3Decoder:
    """Decodes one stream of mono MP3, cut anywhere. Raises ValueError for what is not MP3 of the stated rate.

    Takes about 2 ms for a second of speech.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._codec = av.AudioCodecContext.create("mp3", "r")

    def push(self, data: bytes) -> Pcm:
        """More bytes; returns the samples they complete."""
        try:
            return self._samples([frame for packet in self._codec.parse(data) for frame in self._codec.decode(packet)])
        except av.FFmpegError:
            raise ValueError("not MP3") from None

    def finish(self) -> Pcm:
        """The stream is over: the samples still inside. A last frame that is not whole is left out."""
        frames: list[AudioFrame] = []
        try:
            for packet in self._codec.parse(b""):
                frames += self._codec.decode(packet)
            frames += self._codec.decode(None)
        except av.FFmpegError:
            pass
        return self._samples(frames)

    def _samples(self, frames: list[AudioFrame]) -> Pcm:
        return np.concatenate([silence(0), *map(self._of_frame, frames)])

    def _of_frame(self, frame: AudioFrame) -> Pcm:
        if frame.sample_rate != self._rate or len(frame.layout.channels) != 1:
            raise ValueError(f"MP3 of {frame.sample_rate} Hz, {len(frame.layout.channels)} channels")
        samples = frame.to_ndarray().reshape(-1)
        return samples.astype(np.int16) if samples.dtype.kind == "i" else from_float(samples.astype(np.float32))
