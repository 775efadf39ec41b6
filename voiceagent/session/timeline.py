"""Timeline of a turn: when each station was reached, on the loop's monotonic clock, and how long each part took."""

import asyncio
from dataclasses import dataclass
from typing import Literal


def now() -> float:
    """The loop's monotonic clock in seconds; wall clocks jump."""
    return asyncio.get_running_loop().time()


PARTS = ("endpointing", "asr", "llm_first_token", "first_clause", "tts_first_audio")
"""What the time from the user's last speech to the first sound of the answer consists of."""


MARKS = (
    "onset",
    "speech_end",
    "paused",
    "recognising",
    "transcribed",
    "prepared",
    "asked",
    "committed",
    "first_token",
    "first_clause",
    "generated",
    "synthesizing",
    "first_speech",
    "synthesized",
    "first_audio",
    "sent",
    "heard",
    "interrupted",
)

StationName = Literal["vad", "endpointing", "asr", "llm", "tts", "playout"]


@dataclass(frozen=True, slots=True)
class Station:
    """One station of a turn, in seconds on the loop's clock. `first` is when its first result was there, for those that
    stream; `end` is None where it never came to an end of its own: an interrupted response, a failed engine."""

    name: StationName
    start: float
    end: float | None
    first: float | None = None


@dataclass(slots=True)
class Timeline:
    """Seconds on the loop's clock; None where the turn never got there (a typed turn has no speech).

    Of the user's turn: `onset` is when the voice began, `speech_end` when the last sample with speech arrived, `paused`
    when the silence was long enough to prepare an answer, `committed` when the turn was over; `recognising` and
    `transcribed` are when the final recognition began and ended.

    Of the answer: `prepared` is when it was begun, `asked` when the model was, `first_token`, `first_clause` and
    `generated` when those and the last of the model's text came; `synthesizing` when the first clause was given to the
    voice, `first_speech` and `synthesized` when its first and its latest sound came; `first_audio` when the first
    sample was sent, `sent` when the last was, `heard` when the client had played it, `interrupted` when it was cut off.
    """

    onset: float | None = None
    speech_end: float | None = None
    paused: float | None = None
    recognising: float | None = None
    transcribed: float | None = None
    prepared: float | None = None
    asked: float | None = None
    committed: float | None = None
    first_token: float | None = None
    first_clause: float | None = None
    generated: float | None = None
    synthesizing: float | None = None
    first_speech: float | None = None
    synthesized: float | None = None
    first_audio: float | None = None
    sent: float | None = None
    heard: float | None = None
    interrupted: float | None = None

    def take_turn(self, earlier: "Timeline") -> None:
        """This is the answer to the turn of an earlier timeline."""
        self.onset, self.speech_end, self.paused = earlier.onset, earlier.speech_end, earlier.paused
        self.recognising, self.transcribed = earlier.recognising, earlier.transcribed
        self.committed = earlier.committed

    def stations(self) -> tuple[Station, ...]:
        """The stations that the turn reached, each with its start and its end. They overlap: recognition and the model
        begin before the turn is surely over, speech is made while the model still writes."""
        stations = (
            _station("vad", self.onset, self.speech_end),
            _station("endpointing", self.speech_end, self.committed),
            _station("asr", self.recognising, self.transcribed),
            _station("llm", self.asked, self.generated, self.first_token),
            _station("tts", self.synthesizing, self.synthesized, self.first_speech),
            _station("playout", self.first_audio, self.heard or self.interrupted),
        )
        return tuple(station for station in stations if station is not None)

    def marks(self) -> dict[str, int]:
        """Milliseconds of every station that was reached, from the earliest one."""
        reached = {name: at for name in MARKS if (at := getattr(self, name)) is not None}
        first = min(reached.values(), default=0.0)
        return {name: round((at - first) * 1000) for name, at in reached.items()}

    def parts(self) -> dict[str, int]:
        """Milliseconds of each part between two stations that were both reached; they add up to `response_ms`.
        Work done ahead of time counts as 0, never below."""
        stations = (
            self.speech_end,
            self.committed,
            self.transcribed,
            self.first_token,
            self.first_clause,
            self.first_audio,
        )
        parts: dict[str, int] = {}
        latest = stations[0]
        for name, station in zip(PARTS, stations[1:], strict=True):
            if latest is None or station is None:
                latest = latest if station is None else station
                continue
            reached = max(latest, station)
            parts[name] = round(reached * 1000) - round(latest * 1000)
            latest = reached
        return parts

    @property
    def response_ms(self) -> int | None:
        """From the last speech sample to the first audible one; None when either is missing."""
        if self.speech_end is None or self.first_audio is None:
            return None
        return round(self.first_audio * 1000) - round(self.speech_end * 1000)


def _station(name: StationName, start: float | None, end: float | None, first: float | None = None) -> Station | None:
    return None if start is None else Station(name, start, end, first)
