"""Settings of the memory: the `[memory]` section."""

from typing import Annotated

from pydantic import Field

from voiceagent.section import EngineSection


class MemorySection(EngineSection):
    """What is remembered of users."""

    engine: str = "sqlite"
    """The memory store: `sqlite`, the name of another installed one, or `package.module:Class`; its options are the
    other keys of this table."""
    path: str = ""
    """SQLite file of the users' memories; empty keeps none."""
    turns: Annotated[int, Field(ge=1)] = 20
    """How many of the latest turns a prompt holds."""
    tokens: Annotated[int, Field(ge=64)] = 3000
    """How many tokens of them at most."""

    @property
    def enabled(self) -> bool:
        """Whether anything is remembered."""
        return bool(self.path) or self.engine != "sqlite"

    def with_options(self) -> dict[str, object]:
        return {**super().with_options(), **({"path": self.path} if self.path else {})}
