"""Options of `[guard]`: what is hidden from the model, what may not be asked or said, and who judges it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from voiceagent.section import Seconds, Section, WebAddress

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
    """`[guard.endpoint]`: an OpenAI-compatible `/moderations` under `base_url`, for the `sides` named, which may take
    `seconds` for its verdict."""

    base_url: WebAddress
    api_key: SecretStr | None = None
    model: str | None = None
    sides: Sides = BOTH
    seconds: Seconds = 1.0


class ModeratorOptions(BaseModel):
    """`[[guard.moderators]]`: a moderator of your own. `moderator` is its name in the entry point group
    `voiceagent.guard`, or `package.module:Class`; it judges the `sides` named. Every other key is an option of its
    own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    moderator: Annotated[str, Field(min_length=1)]
    sides: Sides = BOTH

    @property
    def own_options(self) -> dict[str, object]:
        """The keys that are the moderator's own. Keys (secrets) may be among them: never to be shown."""
        return dict(self.model_extra or {})

    def __repr__(self) -> str:
        return f"ModeratorOptions(moderator={self.moderator!r})"

    __str__ = __repr__


class GuardSection(Section):
    """`[guard]`: guard rails around the language model, whichever engine it is.

    `mask` hides personal data from the model, which is told of it by `note` ("": not told). `words` and `patterns`
    (regular expressions) are blocked on `sides`, and so is what `endpoint` or one of `moderators` objects to;
    `sentences`, by language, are said instead. Where a moderator gives no verdict the text passes if `open_when_away`,
    else it is blocked."""

    mask: bool = False
    note: str = NOTE
    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    sides: Sides = BOTH
    endpoint: EndpointModeration | None = None
    moderators: tuple[ModeratorOptions, ...] = ()
    open_when_away: bool = True
    sentences: Annotated[dict[str, str], Field(min_length=1)] = Field(
        default_factory=lambda: {"en": ENGLISH, "zh": CHINESE}
    )
