"""All that happened while a scenario was played. Every time is a sample of the microphone's clock: 24,000 a second."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from voiceagent_client.pcm import FRAME, RATE, Pcm, first_audible

from voiceagent.evaluation.scenario import Interjection, ScenarioTurn

NEAR = RATE // 2
"""An agent that was audible so shortly before is talking."""


@dataclass(frozen=True, slots=True)
class SpeechSpan:
    """The user's speech, from its first sample to one past its last."""

    onset: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Interjected:
    """`spoken` None: the answer was over before. `over_agent`: the agent was talking at the onset."""

    plan: Interjection
    spoken: SpeechSpan | None
    over_agent: bool = False


@dataclass(slots=True)
class TurnRecord:
    """From `begin` to `over` everything belongs to this turn. `speech` of a turn that was never spoken is empty."""

    turn: ScenarioTurn
    begin: int
    speech: SpeechSpan
    over: int = 0
    interjected: list[Interjected] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A piece of the agent's audio as it was received. `wanted`: it belongs to no item that was cut before."""

    at: int
    response_id: str
    item_id: str
    pcm: Pcm
    wanted: bool


@dataclass(slots=True)
class ResponseRecord:
    response_id: str
    created: int
    done: int | None = None
    status: Literal["", "completed", "cancelled", "failed", "incomplete"] | str = ""


@dataclass(frozen=True, slots=True)
class CutRecord:
    """The agent was stopped in this item."""

    at: int
    item_id: str
    played_ms: int


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """The server took the user's turn for finished."""

    at: int
    item_id: str


class LoudspeakerTrack:
    """What the loudspeaker played: frame by frame, silence where there was nothing. The frame that is taken with the
    microphone's frame number k is heard while frame k + 1 is recorded."""

    def __init__(self) -> None:
        self.frames = 0
        self._played: list[Pcm] = []
        self._audible: list[tuple[int, int]] = []

    def add(self, frame: Pcm, filled: int) -> None:
        """The first `filled` samples are the agent's."""
        self.frames += 1
        if not filled:
            return
        played = frame[:filled].copy()
        self._played.append(played)
        first = first_audible(played)
        if first is not None:
            last = filled - 1 - (first_audible(played[::-1]) or 0)
            start = self.frames * FRAME
            self._audible.append((start + first, start + last))

    def first_audible(self, since: int) -> int | None:
        """The first audible sample from there on."""
        for first, last in self._audible:
            if last >= since:
                return max(first, since)
        return None

    def last_audible(self, since: int, until: int) -> int | None:
        """The last audible sample in this stretch."""
        for first, last in reversed(self._audible):
            if last < since:
                return None
            if first < until:
                return min(last, until - 1)
        return None

    def talking(self, at: int) -> bool:
        return self.last_audible(at - NEAR, at + 1) is not None

    def played(self) -> Pcm:
        """All that was played, without the silence between."""
        return np.concatenate(self._played) if self._played else np.zeros(0, np.int16)


@dataclass(slots=True)
class Record:
    """One playing of a scenario."""

    turns: list[TurnRecord] = field(default_factory=list)
    track: LoudspeakerTrack = field(default_factory=LoudspeakerTrack)
    arrivals: list[Arrival] = field(default_factory=list)
    responses: dict[str, ResponseRecord] = field(default_factory=dict)
    cuts: list[CutRecord] = field(default_factory=list)
    commits: list[CommitRecord] = field(default_factory=list)
    user_texts: dict[str, str] = field(default_factory=dict)
    """The user's words by item, as transcribed."""
    agent_texts: dict[str, str] = field(default_factory=dict)
    """The reply's words by item, all that were announced."""
    heard_texts: dict[str, str] = field(default_factory=dict)
    """What the server says was heard, by item that was cut."""
    errors: list[str] = field(default_factory=list)

    def received(self, item_id: str) -> Pcm:
        """All audio of an item that was to be played."""
        pieces = [arrival.pcm for arrival in self.arrivals if arrival.item_id == item_id and arrival.wanted]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
