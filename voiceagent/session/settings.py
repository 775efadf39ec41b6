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
    """When nobody says anything: after `prompt_seconds` (0: never) the agent says `prompt`, at most `prompts` times in
    a row; the next time `goodbye`, and ends the session."""

    prompt_seconds: Annotated[float, Field(ge=0)] = 0.0
    prompts: Annotated[int, Field(ge=0)] = 2
    prompt: str = "Are you still there?"
    goodbye: str = "I will hang up now. Goodbye."


class FillerSection(Section):
    """What is said when the answer is slow: after `after_ms` without the model's first word (0: never), and while a
    slow tool runs. `phrases` by language; those of one language are said in turn, never one twice in a row."""

    after_ms: Milliseconds = 0
    phrases: Mapping[str, tuple[str, ...]] = FILLERS


class PlayoutSection(Section):
    """`lead_ms`: how much audio the client is given ahead of what it plays. `frame_ms`: how much it is sent at a time.
    `held_back_ms`: how late a client that does not report its position is thought to play (its own buffer and its
    loudspeaker's), for what was heard of a response. `speech_cache_mb`: how much speech is kept to be played again at
    once (0: none)."""

    lead_ms: Annotated[int, Field(ge=20, le=5000)] = 140
    frame_ms: Annotated[int, Field(ge=10, le=100)] = 60
    held_back_ms: Annotated[int, Field(ge=0, le=1000)] = 200
    speech_cache_mb: Annotated[int, Field(ge=0)] = 64


class DeadlineSection(Section):
    """How long each engine may be silent before the turn fails."""

    asr_seconds: Seconds = 10.0
    llm_first_token_seconds: Seconds = 10.0
    llm_next_token_seconds: Seconds = 10.0
    tts_seconds: Seconds = 10.0


class PromptSection(Section):
    """A prompt holds the last `turns` turns as far as `tokens` allow."""

    turns: Annotated[int, Field(ge=1)] = 20
    tokens: Annotated[int, Field(ge=64)] = 3000


class DurationSection(Section):
    """How long a session may last: `idle_seconds` without a sign of life, `session_seconds` in all."""

    idle_seconds: Seconds = 600.0
    session_seconds: Seconds = 3600.0


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """`language` is the agent's own, used where a client names none."""

    turn: TurnSection = field(default_factory=TurnSection)
    barge_in: BargeInSettings = field(default_factory=BargeInSettings)
    silence: SilenceSection = field(default_factory=SilenceSection)
    filler: FillerSection = field(default_factory=FillerSection)
    playout: PlayoutSection = field(default_factory=PlayoutSection)
    deadlines: DeadlineSection = field(default_factory=DeadlineSection)
    prompt: PromptSection = field(default_factory=PromptSection)
    duration: DurationSection = field(default_factory=DurationSection)
    language: str | None = None
