"""Settings of the memory store: the part of `[memory]` that says where users' memories are kept."""

from voiceagent.section import EngineSection


class StoreSection(EngineSection):
    """Where it is remembered."""

    engine: str = "sqlite"
    """The memory store: `sqlite`, the name of another installed one, or `package.module:Class`; its options are the
    other keys of this table."""
    path: str = ""
    """SQLite file of the users' memories; empty keeps none."""

    @property
    def enabled(self) -> bool:
        """Whether anything is remembered."""
        return bool(self.path) or self.engine != "sqlite"

    def with_options(self) -> dict[str, object]:
        return {**super().with_options(), **({"path": self.path} if self.path else {})}
