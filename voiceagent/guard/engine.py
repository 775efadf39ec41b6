"""The guard rails of the settings, put around an engine."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from voiceagent.guard.masking import NOTE, MaskedLlm
from voiceagent.guard.moderation import ModeratedLlm, OnBlocked
from voiceagent.guard.moderators import SECONDS, ModerationEndpoint, Moderator, WordList
from voiceagent.llm.base import LlmEngine
from voiceagent.section import Seconds, Section, WebAddress

ENGLISH = "I am sorry, I cannot talk about that."
CHINESE = "抱歉，这个话题我不能谈。"

Side = Literal["in", "out"]


class EndpointModeration(Section):
    """An OpenAI-compatible `/moderations`."""

    base_url: WebAddress
    """Its address."""
    api_key: SecretStr | None = None
    """Its key."""
    model: str | None = None
    """The model to ask for."""
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = ("in", "out")
    """What it sees: what the user says, what the model answers, or both."""
    seconds: Seconds = SECONDS
    """How long a verdict may take."""
    open_when_away: bool = True
    """Without a verdict the text passes, or else is blocked. Holds for all moderators."""


class GuardSettings(Section):
    """Guard rails."""

    mask: bool = False
    """Hide personal data from the model."""
    note: str = NOTE
    """Tells the model what the placeholders are; empty: nothing."""
    words: tuple[str, ...] = ()
    """Blocked words, in any case."""
    patterns: tuple[str, ...] = ()
    """Blocked regular expressions."""
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = ("in", "out")
    """What words and patterns are looked for in: what the user says, what the model answers, or both."""
    endpoint: EndpointModeration | None = None
    """A moderation service."""
    sentences: Annotated[dict[str, str], Field(min_length=1)] = Field(
        default_factory=lambda: {"en": ENGLISH, "zh": CHINESE}
    )
    """Said instead of what is blocked, by language."""


def guarded(engine: LlmEngine, settings: GuardSettings, on_blocked: OnBlocked | None = None) -> LlmEngine:
    """The engine behind the guard rails that are set: moderation sees what the user says and hears, the engine only
    what is masked. Raises ConfigError for a pattern that is none."""
    if settings.mask:
        engine = MaskedLlm(engine, settings.note)
    moderators: list[tuple[Moderator, tuple[Side, ...]]] = []
    if settings.words or settings.patterns:
        moderators.append((WordList(settings.words, settings.patterns), settings.sides))
    if (endpoint := settings.endpoint) is not None:
        remote = ModerationEndpoint(endpoint.base_url, endpoint.api_key, endpoint.model, endpoint.seconds)
        moderators.append((remote, endpoint.sides))
    if not moderators:
        return engine
    return ModeratedLlm(
        engine,
        settings.sentences,
        questions=[moderator for moderator, sides in moderators if "in" in sides],
        answers=[moderator for moderator, sides in moderators if "out" in sides],
        open_when_away=endpoint is None or endpoint.open_when_away,
        on_blocked=on_blocked,
    )
