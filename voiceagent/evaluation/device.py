"""The scenario's end of the line: a microphone in which everything is heard at its sample, a loudspeaker that keeps
what it played."""

import asyncio
from dataclasses import dataclass

import numpy as np
from voiceagent_client.audio_io import Frame
from voiceagent_client.pcm import FRAME, FRAME_SECONDS, RATE, silence
from voiceagent_client.playback import Player
from voiceagent_client.wav import StereoRecorder

from voiceagent.evaluation.mixing import SimulatedMicrophone
from voiceagent.evaluation.record import LoudspeakerTrack, SpeechSpan
from voiceagent.evaluation.stage import StagedSpeech


@dataclass(frozen=True, slots=True)
class Placed:
    utterance: StagedSpeech
    start: int


class ScenarioDevice:
    """Keeps real time by one absolute schedule on the loop's clock. It has no resources of its own."""

    def __init__(
        self,
        player: Player,
        microphone: SimulatedMicrophone,
        track: LoudspeakerTrack,
        recorder: StereoRecorder | None = None,
    ) -> None:
        self._player = player
        self._microphone = microphone
        self._track = track
        self._recorder = recorder
        self._placed: list[Placed] = []
        self._started: float | None = None
        self._frames = 0
        self._played = silence(FRAME)

    @property
    def position(self) -> int:
        """The sample that the microphone hears now."""
        if self._started is None:
            return 0
        return int((asyncio.get_running_loop().time() - self._started) * RATE)

    def say(self, utterance: StagedSpeech, onset: int | None = None) -> SpeechSpan:
        """Have its first sample of speech heard at `onset`, or as soon after it as can be; returns where it will be."""
        next_sample = self._frames * FRAME
        start = next_sample if onset is None else max(next_sample, onset - utterance.onset - self._microphone.delay)
        self._placed.append(Placed(utterance, start))
        shift = start + self._microphone.delay
        return SpeechSpan(shift + utterance.onset, shift + utterance.end, utterance.text)

    async def read(self) -> Frame:
        loop = asyncio.get_running_loop()
        if self._started is None:
            self._started = loop.time()
        due = self._started + (self._frames + 1) * FRAME_SECONDS
        await asyncio.sleep(max(0.0, due - loop.time()))
        heard = self._microphone.hear(self._voices(self._frames * FRAME), self._played)
        self._frames += 1
        self._played = silence(FRAME)
        self._track.add(self._played, self._player.read_into(self._played))
        if self._recorder is not None:
            self._recorder.write(heard, self._played)
        return Frame(heard)

    def _voices(self, start: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """All that is said in the frame that begins here."""
        frame = np.zeros(FRAME)
        for placed in self._placed:
            pcm, first = placed.utterance.pcm, start - placed.start
            piece = pcm[max(0, first) : max(0, first + FRAME)]
            offset = max(0, -first)
            frame[offset : offset + len(piece)] += piece
        self._placed = [placed for placed in self._placed if placed.start + len(placed.utterance.pcm) > start + FRAME]
        return frame
