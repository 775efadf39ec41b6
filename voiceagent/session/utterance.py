"""One turn of the user while it is being heard: its audio goes to the recogniser, its words come back."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from voiceagent.asr.base import AsrStream, Transcript
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import EngineError
from voiceagent.session.clock import now

KEPT_SAMPLES = 8 * EAR_RATE
"""What is kept of its sound for judging its end; the words are the recogniser's business."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a silence was taken for the end of a turn: it lasted `silence_ms` where `wait_ms` were asked for by the
    `evidence`, log-odds by rule."""

    silence_ms: int
    wait_ms: int
    evidence: Mapping[str, float]


class Utterance:
    """`item_id` is the conversation item it will become. Positions are samples at EAR_RATE since the talk began."""

    def __init__(self, item_id: str, asr: AsrStream, start: int, *, tasks: asyncio.TaskGroup, deadline: float) -> None:
        """`start`: position of its first sample, pre-roll included. `deadline`: seconds one recognition may take."""
        self.item_id = item_id
        self.start = start
        self.samples = 0
        self.speech_samples = 0
        """How many of them were voice."""
        self.text = ""
        self.speech_ended_at = 0.0
        """When the last sample with speech arrived, in seconds on the loop's clock."""
        self.began_at = now()
        self.paused_at: float | None = None
        self.transcribed_at: float | None = None
        self.committed_at: float | None = None
        self.confirmed = False
        """Whether the user has the floor: at once while the agent is silent, else when it is no mere noise."""
        self.announced = False
        """Whether the client was told that speech has started."""
        self.silenced = False
        """Whether the agent was cut off for it."""
        self.verdict: Verdict | None = None
        """Why it is over; None when no silence has ended it."""
        self.by_hand = False
        """Whether the client itself has ended the turn; it will then ask for the answer itself."""
        self._asr = asr
        self._latest: deque[Pcm] = deque()
        self._latest_samples = 0
        self._tasks = tasks
        self._deadline = deadline
        self._ahead: asyncio.Task[Transcript | EngineError] | None = None

    @property
    def seconds(self) -> float:
        return self.samples / EAR_RATE

    def push(self, pcm: Pcm) -> None:
        self.samples += len(pcm)
        self._latest.append(pcm)
        self._latest_samples += len(pcm)
        while self._latest_samples - len(self._latest[0]) >= KEPT_SAMPLES:
            self._latest_samples -= len(self._latest.popleft())
        self._asr.push(pcm)

    def latest(self, before: int) -> Pcm:
        """Its audio up to `before` samples ago, the last eight seconds at most."""
        joined = np.concatenate(self._latest) if self._latest else silence(0)
        return joined[: max(0, len(joined) - before)]

    async def partial(self) -> str:
        """The words so far. A failure here costs nothing: the final recognition will report it."""
        try:
            async with asyncio.timeout(self._deadline):
                self.text = await self._asr.partial() or self.text
        except (EngineError, TimeoutError):
            pass
        return self.text

    def anticipate(self) -> None:
        """Start the final recognition now, in the hope that the user has finished."""
        if self._ahead is None:
            self._ahead = self._tasks.create_task(self._recognise(), name="asr final")

    def goes_on(self) -> None:
        """The user has not finished: what was recognised ahead is void."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    async def transcript(self) -> Transcript:
        """The words of the whole utterance. Raises EngineError, also when the recogniser takes too long."""
        while True:
            self.anticipate()
            ahead = self._ahead
            assert ahead is not None
            await asyncio.wait([ahead])  # others may wait for it too: it is not cancelled along with one of them
            if not ahead.cancelled():
                break
        result = ahead.result()
        if isinstance(result, EngineError):
            raise result
        return result

    async def _recognise(self) -> Transcript | EngineError:
        # An error is returned, not raised: it concerns this turn, not the conversation's task group.
        try:
            async with asyncio.timeout(self._deadline):
                transcript = await self._asr.finish()
        except TimeoutError:
            return EngineError("asr", "timeout", "speech recognition took too long")
        except EngineError as error:
            return error
        self.text = transcript.text
        self.transcribed_at = now()
        return transcript

    def close(self) -> None:
        """Nothing more is wanted of it."""
        self.goes_on()
        self._asr.close()
