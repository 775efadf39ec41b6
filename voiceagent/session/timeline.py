"""When each station of a turn was done, on the loop's monotonic clock, and how long each part took."""

import asyncio
from dataclasses import dataclass

# The one clock of a conversation.


def now() -> float:
    """The loop's monotonic clock in seconds; wall clocks jump."""
    return asyncio.get_running_loop().time()


PARTS = ("endpointing", "asr", "llm_first_token", "first_clause", "tts_first_audio")


MARKS = (
    "onset",
    "speech_end",
    "paused",
    "transcribed",
    "prepared",
    "committed",
    "first_token",
    "first_clause",
    "first_speech",
    "first_audio",
    "sent",
    "heard",
    "interrupted",
)


@dataclass(slots=True)
class Timeline:
    """Seconds on the loop's clock; None where the turn never got there (a typed turn has no speech).

    `onset` is when the user's voice began, `speech_end` when the last sample with speech arrived, `paused` when the
    silence was long enough to prepare an answer, `prepared` when that was begun, `first_speech` when its first sound
    was made, `first_audio` when its first sample was sent, `sent` when its last was, `heard` when the client had played
    it, `interrupted` when it was cut off.
    """

    onset: float | None = None
    speech_end: float | None = None
    paused: float | None = None
    transcribed: float | None = None
    prepared: float | None = None
    committed: float | None = None
    first_token: float | None = None
    first_clause: float | None = None
    first_speech: float | None = None
    first_audio: float | None = None
    sent: float | None = None
    heard: float | None = None
    interrupted: float | None = None

    def take_turn(self, earlier: "Timeline") -> None:
        """This is the answer to the turn of an earlier timeline."""
        self.onset, self.speech_end, self.paused = earlier.onset, earlier.speech_end, earlier.paused
        self.transcribed, self.committed = earlier.transcribed, earlier.committed

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
