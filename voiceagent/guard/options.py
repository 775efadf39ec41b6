"""Options of `[guard]`: what is hidden from the model, what may not be asked or said, and who judges it."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from voiceagent.section import EngineSection, Seconds, Section, WebAddress

ENGLISH = "I am sorry, I cannot talk about that."
CHINESE = "抱歉，这个话题我不能谈。"
NOTE = (
    "Personal data is hidden from you behind placeholders such as [CARD_1] or [PHONE_2]. Use a placeholder exactly as "
    "it stands, as if it were the data itself; never ask for what it hides."
)

Side = Literal["in", "out"]
"""What is asked, and what is answered."""
Sides = Annotated[tuple[Side, ...], Field(min_length=1)]
BOTH: Sides = ("in", "out")


class EndpointModeration(Section):
    """An OpenAI-compatible `/moderations`."""

    base_url: WebAddress
    """Its address."""
    api_key: SecretStr | None = None
    """Its key."""
    model: str | None = None
    """The model to ask for."""
    sides: Sides = BOTH
    """What it sees: what the user says, what the model answers, or both."""
    seconds: Seconds = 1.0
    """How long a verdict may take."""


class ModeratorSection(EngineSection):
    """A moderator of your own: a plug-in of the kind `guard`."""

    sides: Sides = BOTH
    """What it sees: what the user says, what the model answers, or both."""


class GuardSection(Section):
    """Guard rails around the language model, whichever engine it is."""

    mask: bool = False
    """Hide personal data from the model."""
    note: str = NOTE
    """Tells the model what the placeholders are; empty: nothing."""
    words: tuple[str, ...] = ()
    """Blocked words, in any case."""
    patterns: tuple[str, ...] = ()
    """Blocked regular expressions."""
    sides: Sides = BOTH
    """What words and patterns are looked for in: what the user says, what the model answers, or both."""
    endpoint: EndpointModeration | None = None
    """A moderation service."""
    moderators: tuple[ModeratorSection, ...] = ()
    """Moderators of your own."""
    open_when_away: bool = True
    """Where a moderator gives no verdict the text passes, or else is blocked."""
    sentences: Annotated[dict[str, str], Field(min_length=1)] = Field(
        default_factory=lambda: {"en": ENGLISH, "zh": CHINESE}
    )
    """Said instead of what is blocked, by language."""
