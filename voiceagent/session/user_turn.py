"""User turn: one turn of the user from its first sound to its words, and the events that audio input makes of it."""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal

import numpy as np

from voiceagent.asr.annotations import has_words
from voiceagent.asr.base import AsrStream, Transcript
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import EngineError
from voiceagent.session.timeline import Timeline, now
from voiceagent.turn.endpointing import EndpointDecision
from voiceagent.vad.segmenter import SegmentedWindow

KEPT_SAMPLES = 8 * EAR_RATE
"""What is kept of a turn's sound for judging its end; the words are the recogniser's business."""


class TurnState(Enum):
    BEGUN = auto()
    """There is a voice, which may yet prove to be a noise, an echo or a "mhm" while the agent talks."""
    CONFIRMED = auto()
    """It is the user's turn: at once while the agent is silent, else when that is decided."""
    PAUSED = auto()
    """The user is silent and may have finished: recognition is finished ahead."""
    COMMITTED = auto()
    """It is over, and its words are awaited."""
    CLOSED = auto()


TurnEnd = Literal["client", "longest"] | EndpointDecision
"""Why a turn is over: the client said so, it reached the longest time, or a silence was decided to be its end."""


class UserTurn:
    """Its states and the methods by which it goes from one to the next:

        begun ──confirm──▶ confirmed ──pause──▶ paused
          │                 │     ◀────go_on────  │
          │                 └──────commit────▶ committed ◀──(commit by the client)── begun
          │                                       │
          └──────────close──────────▶ closed ◀──close

    `item_id` is the conversation item it will become. Positions are samples at EAR_RATE of what the client has
    sent since the session began.
    """

    def __init__(self, item_id: str, asr: AsrStream, start: int, *, tasks: asyncio.TaskGroup, deadline: float) -> None:
        """`start`: position of its first sample, pre-roll included. `deadline`: seconds one recognition may take."""
        self.item_id = item_id
        self.start = start
        self.text = ""
        """Its words so far."""
        self.interrupted_agent = False
        """Whether the agent was cut off for it."""
        self.announced = False
        """Whether the client was told that speech has started."""
        self.end: TurnEnd | None = None
        """Why it is over, once it is."""
        self._state = TurnState.BEGUN
        self._asr = asr
        self._samples = 0
        self._speech_samples = 0
        self._timeline = Timeline(onset=now())
        self._latest: deque[Pcm] = deque()
        self._latest_samples = 0
        self._tasks = tasks
        self._deadline = deadline
        self._recognition: asyncio.Task[Transcript | EngineError] | None = None

    # -- its state --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> TurnState:
        return self._state

    @property
    def confirmed(self) -> bool:
        """Whether it surely is the user's turn."""
        return self._state in (TurnState.CONFIRMED, TurnState.PAUSED, TurnState.COMMITTED)

    def confirm(self, *, announced: bool, interrupted_agent: bool = False) -> None:
        """It is the user's turn. `announced`: the client is told. Once it is confirmed this changes nothing."""
        if self._state is TurnState.BEGUN:
            self._state = TurnState.CONFIRMED
            self.announced, self.interrupted_agent = announced, interrupted_agent

    def pause(self) -> None:
        """The user has fallen silent: finish the recognition now, in the hope that this is the end."""
        if self._state is TurnState.CONFIRMED:
            self._state = TurnState.PAUSED
            self._timeline.paused = now()
            self._recognise()

    def go_on(self) -> None:
        """There is voice again: what was recognised ahead is void."""
        if self._state is TurnState.PAUSED:
            self._state = TurnState.CONFIRMED
        self.drop_recognition()

    def commit(self, end: TurnEnd) -> None:
        """It is over. What nobody has confirmed by then is none of the user's, unless the client says so."""
        if self.confirmed or end == "client":
            self._state = TurnState.COMMITTED
        self.end = end
        self._timeline.committed = now()

    def close(self) -> None:
        """Nothing more is wanted of it."""
        self._state = TurnState.CLOSED
        self.drop_recognition()
        self._asr.close()

    # -- its audio --------------------------------------------------------------------------------------------------

    @property
    def samples(self) -> int:
        return self._samples

    @property
    def seconds(self) -> float:
        return self._samples / EAR_RATE

    @property
    def speech_ms(self) -> float:
        """How much of it was voice."""
        return self._speech_samples * 1000 / EAR_RATE

    def push(self, pcm: Pcm) -> None:
        """More of its audio, which goes to the recogniser."""
        self._samples += len(pcm)
        self._latest.append(pcm)
        self._latest_samples += len(pcm)
        while self._latest_samples - len(self._latest[0]) >= KEPT_SAMPLES:
            self._latest_samples -= len(self._latest.popleft())
        self._asr.push(pcm)

    def add_speech(self, samples: int, arrived: float) -> None:
        """So many samples of it were voice; `arrived`: when the last of them came, in seconds on the loop's clock."""
        self._speech_samples += samples
        self._timeline.speech_end = arrived

    def latest(self, before: int) -> Pcm:
        """Its audio up to `before` samples ago, the last eight seconds at most."""
        joined = np.concatenate(self._latest) if self._latest else silence(0)
        return joined[: max(0, len(joined) - before)]

    def stamp(self, timeline: Timeline) -> None:
        """Write when its stations were reached into the timeline of its answer."""
        timeline.take_turn(self._timeline)

    # -- its words --------------------------------------------------------------------------------------------------

    async def partial(self) -> str:
        """The words so far. A failure here costs nothing: the final recognition will report it."""
        try:
            async with asyncio.timeout(self._deadline):
                partial = await self._asr.partial()
                self.text = partial if has_words(partial) else self.text
        except (EngineError, TimeoutError):
            pass
        return self.text

    async def transcript(self) -> Transcript:
        """The words of the whole turn, '' where there are none. Raises EngineError, also when the recogniser takes too
        long."""
        while True:
            recognition = self._recognise()
            await asyncio.wait([recognition])  # others may wait for it too: it is not cancelled along with one of them
            if not recognition.cancelled():
                break
        result = recognition.result()
        if isinstance(result, EngineError):
            raise result
        return result

    def drop_recognition(self) -> None:
        """What was recognised ahead is not wanted: more audio follows."""
        if self._recognition is not None:
            self._recognition.cancel()
            self._recognition = None

    def _recognise(self) -> "asyncio.Task[Transcript | EngineError]":
        """Begin the final recognition, unless it is under way."""
        if self._recognition is None:
            self._timeline.recognising = now()
            self._recognition = self._tasks.create_task(self._finish(), name="asr final")
        return self._recognition

    async def _finish(self) -> Transcript | EngineError:
        # An error is returned, not raised: it concerns this turn, not the session's task group.
        try:
            async with asyncio.timeout(self._deadline):
                transcript = await self._asr.finish()
        except TimeoutError:
            return EngineError("asr", "timeout", "speech recognition took too long")
        except EngineError as error:
            return error
        if not has_words(transcript.text):  # how the recogniser writes a noise
            transcript = replace(transcript, text="")
        self.text = transcript.text
        self._timeline.transcribed = now()
        return transcript


# -- what audio input makes of the microphone, in order ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MicrophoneChanged:
    """The client's audio comes at this rate, in Hz, from now on."""

    rate: int


@dataclass(frozen=True, slots=True)
class TurnBegun:
    """A voice begins, or without voice detection the first audio after a commit."""

    turn: UserTurn


@dataclass(frozen=True, slots=True)
class TurnVoice:
    """A window of voice in the turn; `resumed` when a pause was before it."""

    turn: UserTurn
    resumed: bool


@dataclass(frozen=True, slots=True)
class WindowHeard:
    """Every window of the microphone with what the segmenter made of it, after the turn's events that it caused."""

    window: SegmentedWindow


@dataclass(frozen=True, slots=True)
class TurnPaused:
    """Silence long enough for the turn to be over, perhaps."""

    turn: UserTurn


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The turn is over; `speech_end` is the position of its last speech. It is now the receiver's to close."""

    turn: UserTurn
    speech_end: int


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """The turn does not count: the client cleared the buffer. It is now the receiver's to close."""

    turn: UserTurn


@dataclass(frozen=True, slots=True)
class BufferCleared:
    """What was appended before the client's request is forgotten."""


TurnEvent = (
    MicrophoneChanged | TurnBegun | TurnVoice | WindowHeard | TurnPaused | TurnCommitted | TurnDropped | BufferCleared
)
