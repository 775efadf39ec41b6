"""Is a silence in a turn a pause, or its end? The rules and the model behind one face, for one talk."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from voiceagent.asr.base import AsrStream, Transcript
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import EngineError
from voiceagent.session.timeline import now
from voiceagent.turn.endpointing import Endpointer, EndpointingPolicy

if TYPE_CHECKING:  # its package is optional
    from voiceagent.turn.smart_turn import SmartTurn

# One turn of the user while it is being heard: its audio goes to the recogniser, its words come back.

KEPT_SAMPLES = 8 * EAR_RATE
"""What is kept of its sound for judging its end; the words are the recogniser's business."""


@dataclass(frozen=True, slots=True)
class EndpointDecision:
    """Why a silence was taken for the end of a turn: it lasted `silence_ms` where `wait_ms` were asked for by the
    `evidence`, log-odds by rule."""

    silence_ms: int
    wait_ms: int
    evidence: Mapping[str, float]


class UserTurn:
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
        self.verdict: EndpointDecision | None = None
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


PAUSE_MS = 160
"""Silence after which recognition is finished ahead, in case the turn is over: longer than the gaps inside words."""
UNDECIDED_MS = 800
"""Silence after which a voice that never took the floor is forgotten: longer than the decision on its last words."""


class TurnEndDetector:
    """Silences are counted in samples at EAR_RATE by the caller."""

    def __init__(self, watch: Endpointer, model: "SmartTurn | None", tasks: asyncio.TaskGroup) -> None:
        self._watch = watch
        self._model = model
        self._tasks = tasks
        self._asking: asyncio.Task[None] | None = None
        self._paused = False
        self._utterance: UserTurn | None = None

    def obey(self, endpointer: EndpointingPolicy) -> None:
        self._watch.endpointer = endpointer

    def attend(self, utterance: UserTurn | None) -> None:
        """This is the utterance from now on."""
        self._utterance = utterance
        self._paused = False

    def silent(self, utterance: UserTurn, samples: int) -> bool:
        """The utterance has been silent for so long. True when that has just become a pause."""
        if self._paused or samples * 1000 // EAR_RATE < PAUSE_MS:
            return False
        self._paused = True
        self._watch.paused(utterance.latest(samples), utterance.speech_samples * 1000 / EAR_RATE, utterance.text)
        if self._model is not None:
            self._asking = self._tasks.create_task(self._ask(self._model, utterance), name="turn model")
        return True

    def is_over(self, utterance: UserTurn, samples: int) -> bool:
        """Whether a silence so long ends the turn."""
        self._watch.know(text=utterance.text)
        silence_ms = samples * 1000 // EAR_RATE
        undecided = 0 if utterance.confirmed else UNDECIDED_MS
        return silence_ms >= undecided and self._watch.is_over(silence_ms)

    def why(self, samples: int) -> EndpointDecision:
        """For what reasons a silence so long is the end."""
        return EndpointDecision(samples * 1000 // EAR_RATE, self._watch.wait_ms, self._watch.evidence)

    def went_on(self) -> None:
        """There is voice again."""
        if self._paused:
            self._paused = False
            self._stop_asking()
            self._watch.went_on()

    def ended(self, utterance: UserTurn) -> None:
        """The utterance is over, for whatever reason."""
        self._stop_asking()
        if utterance.confirmed:
            self._watch.ended(utterance.speech_samples * 1000 / EAR_RATE)

    async def _ask(self, model: "SmartTurn", utterance: UserTurn) -> None:
        """Let the model hear the turn: its answer makes the wait shorter or longer."""
        finished = await model.finished(utterance.latest(0))
        if finished is not None and utterance is self._utterance:
            self._watch.know(finished=finished)

    def _stop_asking(self) -> None:
        """An answer that comes now would be taken for one on the next pause."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
