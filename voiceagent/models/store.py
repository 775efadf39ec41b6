"""Model files on this machine: where they lie, and fetching the missing ones."""

from pathlib import Path


class ModelStore:
    """The folder of fetched models, one sub-folder a model. Blocking: call it from a thread when a loop runs."""

    def __init__(self, root: Path | None = None) -> None:
        raise NotImplementedError

    def path(self, name: str) -> Path:
        """The folder of a model that has been fetched. Raises ConfigError naming the command that fetches it."""
        raise NotImplementedError
