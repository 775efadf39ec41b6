"""Settings of a session: the sections of the configuration that a conversation reads, as one object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from voiceagent.section import Milliseconds, Seconds, Section
from voiceagent.turn.options import BargeInSettings, TurnSection

FILLERS: Mapping[str, tuple[str, ...]] = {
    "en": ("Let me see…", "One moment…", "Let me think…"),
    "zh": ("我想想…", "稍等一下…", "让我看看…"),
}


class SilenceSection(Section):
    """What the agent does when nobody says anything."""

    prompt_seconds: Annotated[float, Field(ge=0)] = 0.0
    """The silence after which the agent asks whether the user is still there; 0: never."""
    prompts: Annotated[int, Field(ge=0)] = 2
    """How often in a row it asks, before it says goodbye."""
    prompt: str = "Are you still there?"
    """What it asks."""
    goodbye: str = "I will hang up now. Goodbye."
    """What it says last; then the session ends."""


class FillerSection(Section):
    """What is said when the answer is slow."""

    after_ms: Milliseconds = 0
    """How long the model's first word may take until a filler is said; 0: never. While a tool runs its own `filler_ms`
    counts."""
    phrases: Mapping[str, tuple[str, ...]] = FILLERS
    """The fillers by language; those of one language are said in turn, never one twice in a row."""


class PlayoutSection(Section):
    """How audio is sent."""

    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 140
    """Audio the client is given ahead of what it plays. More bridges worse networks, and falls silent later at a
    barge-in."""
    frame_ms: Annotated[int, Field(ge=10, le=100)] = 60
    """Length of one audio message."""
    held_back_ms: Annotated[int, Field(ge=0, le=1000)] = 200
    """How late a client that does not report its position is thought to play (its buffer and its loudspeaker's), to
    know what was heard."""
    speech_cache_mb: Annotated[int, Field(ge=0)] = 64
    """Speech that is kept to be played again at once; 0 keeps none."""


class DeadlineSection(Section):
    """How long each engine may be silent before the turn fails with an apology."""

    asr_seconds: Seconds = 10.0
    """For the transcript, once the turn has ended."""
    llm_first_token_seconds: Seconds = 10.0
    """For the model's first token."""
    llm_next_token_seconds: Seconds = 10.0
    """For each further token."""
    tts_seconds: Seconds = 10.0
    """For each next piece of audio."""


class PromptSection(Section):
    """How much of the conversation a prompt holds."""

    turns: Annotated[int, Field(ge=1)] = 20
    """How many of the latest turns a prompt holds."""
    tokens: Annotated[int, Field(ge=64)] = 3000
    """How many tokens of them at most."""


class DurationSection(Section):
    """How long a session may last."""

    idle_seconds: Seconds = 600.0
    """A session in which nobody has spoken for so long is ended."""
    session_seconds: Seconds = 3600.0
    """The longest session."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """`language` is the agent's own, used where a client names none; `tool_rounds`: how often in one turn a model may
    call tools."""

    turn: TurnSection = field(default_factory=TurnSection)
    barge_in: BargeInSettings = field(default_factory=BargeInSettings)
    silence: SilenceSection = field(default_factory=SilenceSection)
    filler: FillerSection = field(default_factory=FillerSection)
    playout: PlayoutSection = field(default_factory=PlayoutSection)
    deadlines: DeadlineSection = field(default_factory=DeadlineSection)
    prompt: PromptSection = field(default_factory=PromptSection)
    duration: DurationSection = field(default_factory=DurationSection)
    language: str | None = None
    tool_rounds: int = 8
