"""The device's two ends: a microphone that is read and a speaker that plays what a `Player` holds."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from voiceagent_client.pcm import FRAME, FRAME_SECONDS, Pcm, silence, speech_end
from voiceagent_client.playback import Player
from voiceagent_client.wav import StereoRecorder


@dataclass(frozen=True, slots=True)
class Frame:
    """20 ms of the microphone; without a sample where it is switched off, and then nothing is sent. `speech_ends` marks
    the frame with the last sample of an utterance, where that is known."""

    pcm: Pcm
    speech_ends: bool = False


class AudioDevice(Protocol):
    """Something that hears the user and plays to them; who opens it closes it."""

    async def read(self) -> Frame:
        """The microphone's next frame, at the microphone's pace. AudioError: there will be no more."""
        ...


@dataclass(slots=True, eq=False)
class _Utterance:
    pcm: Pcm
    end: int
    """One past its last sample of speech."""
    spoken: asyncio.Event
    sent: int = 0


class WavDevice:
    """A microphone that hears silence and, in between, recordings; a speaker that plays into a recording.

    Both keep real time by one absolute schedule on the loop's clock, so they do not drift and stay sample for
    sample beside each other. Like a real microphone it never stops. It has no resources of its own.
    """

    def __init__(self, player: Player, recorder: StereoRecorder | None = None) -> None:
        self._player = player
        self._recorder = recorder
        self._utterances: deque[_Utterance] = deque()
        self._started: float | None = None
        self._frames = 0

    async def say(self, pcm: Pcm) -> None:
        """Speaks a recording, after those already under way; returns when its last sample of speech is handed over (the
        quiet rest follows). Cancelled, it stops speaking."""
        utterance = _Utterance(pcm, speech_end(pcm) or len(pcm), asyncio.Event())
        self._utterances.append(utterance)
        try:
            await utterance.spoken.wait()
        except asyncio.CancelledError:
            if utterance in self._utterances:
                self._utterances.remove(utterance)
            raise

    async def read(self) -> Frame:
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = now
        self._frames += 1
        await asyncio.sleep(max(0.0, self._started + self._frames * FRAME_SECONDS - now))
        frame = self._speak()
        played = silence(FRAME)
        self._player.read_into(played)
        if self._recorder is not None:
            self._recorder.write(frame.pcm, played)
        return frame

    def _speak(self) -> Frame:
        pcm = silence(FRAME)
        if not self._utterances:
            return Frame(pcm)
        utterance = self._utterances[0]
        before = utterance.sent
        piece = utterance.pcm[before : before + FRAME]
        pcm[: len(piece)] = piece
        utterance.sent += len(piece)
        if utterance.sent >= len(utterance.pcm):
            self._utterances.popleft()
        ends = before < utterance.end <= utterance.sent or not len(utterance.pcm)
        if ends:
            utterance.spoken.set()
        return Frame(pcm, ends)
