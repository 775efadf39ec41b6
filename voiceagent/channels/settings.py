"""Settings of channels that other packages bring: the `[channels.NAME]` sections."""

from voiceagent.section import EngineSection


class ChannelSection(EngineSection):
    """A channel of another package, whose options are the other keys of this table."""

    engine: str = ""
    """The channel: the name of an installed one, by default the name of this table, or `package.module:Class`."""

    def with_options(self, name: str = "") -> dict[str, object]:
        """The table as it stands in the configuration; `name` is its own."""
        return {**super().with_options(), "engine": self.engine or name}
