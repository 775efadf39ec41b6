"""A guard rail of one's own: names of competitors are not spoken of, whichever language model answers.

    [[guard.moderators]]
    engine = "guard_rail:NoCompetitors"      # this file, in a folder on PYTHONPATH
    names = ["Umbrella", "Tyrell"]
    sides = ["out"]

As a package it is found by a name of its own:

    [project.entry-points."voiceagent.guard"]
    no-competitors = "my_package.guard_rail:NoCompetitors"
"""

from pydantic import BaseModel, Field


class NoCompetitorsOptions(BaseModel):
    """`names` are those that must not be said, in any case."""

    names: list[str] = Field(min_length=1)


class NoCompetitors:
    """A moderator: it is opened once, judges every question and every sentence of an answer, and is closed at last."""

    Options = NoCompetitorsOptions

    def __init__(self, options: NoCompetitorsOptions) -> None:
        self._names = [name.casefold() for name in options.names]

    async def open(self) -> None:
        """Connect or load here. Raises ConfigError when something is missing."""

    async def judge(self, text: str) -> str | None:
        """A short word for why the text is blocked, None where it may pass. Raises EngineError without a verdict."""
        lower = text.casefold()
        return "competitor" if any(name in lower for name in self._names) else None

    async def close(self) -> None:
        """What was opened is closed here."""
