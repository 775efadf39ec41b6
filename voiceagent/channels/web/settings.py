"""Settings of the page at `/`: the `[page]` section."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from voiceagent.section import Section


class Preset(Section):
    """An agent that the page offers. Whoever may load the page may read it."""

    id: Annotated[str, Field(pattern="^[a-z0-9-]+$")]
    """What programs call it."""
    name: Mapping[str, str]
    """What it is called, by language of the page (`en`, `zh`)."""
    instructions: str | None = None
    """Its system prompt; the server's without one."""
    voice: str | None = None
    """Its voice; the server's without one."""


PRESETS = (
    Preset(id="assistant", name={"en": "Assistant", "zh": "助手"}),
    Preset(
        id="english-teacher",
        name={"en": "English teacher", "zh": "英语老师"},
        instructions=(
            "You are a patient teacher of English. Talk with the learner about everyday things in simple English. When "
            "they make a mistake, say the sentence once as it should be, then go on. Your words are spoken aloud: one "
            "or two short sentences, without lists, markup or emoji, and always a question at the end."
        ),
    ),
    Preset(
        id="storyteller",
        name={"en": "Storyteller", "zh": "讲故事的人"},
        instructions=(
            "You tell stories to the listener, in the listener's language, and let them decide how the story goes on. "
            "Your words are spoken aloud: plain sentences without lists, markup or emoji, at most six at a time."
        ),
    ),
)


class PageSection(Section):
    """The page at `/`."""

    enabled: bool = True
    """False serves no page."""
    agents: Annotated[tuple[Preset, ...], Field(min_length=1)] = PRESETS
    """Whom one may talk to."""
    languages: tuple[str, ...] = ("en", "zh")
    """Offered as what the user may speak (BCP 47)."""
