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
    """`[llm.guard.endpoint]`: an OpenAI-compatible `/moderations` under `base_url`, for what is asked ("in"), what is
    answered ("out"), or both. Without a verdict within `seconds` the text passes if `open_when_away`, else it is
    blocked (that holds for all moderators)."""

    base_url: WebAddress
    api_key: SecretStr | None = None
    model: str | None = None
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = ("in", "out")
    seconds: Seconds = SECONDS
    open_when_away: bool = True


class GuardSettings(Section):
    """`[llm.guard]`. `mask` hides personal data from the model, which is told of it by `note`. `words` and `patterns`
    (regular expressions) are blocked on `sides`; `sentences`, by language, are said instead."""

    mask: bool = False
    note: str = NOTE
    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    sides: Annotated[tuple[Side, ...], Field(min_length=1)] = ("in", "out")
    endpoint: EndpointModeration | None = None
    sentences: Annotated[dict[str, str], Field(min_length=1)] = Field(
        default_factory=lambda: {"en": ENGLISH, "zh": CHINESE}
    )


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
