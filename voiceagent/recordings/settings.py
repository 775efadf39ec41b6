"""Settings of recordings: the `[recordings]` section."""

from typing import Annotated

from pydantic import Field

from voiceagent.section import Section


class RecordingsSection(Section):
    """Whether sessions are recorded."""

    path: str = ""
    """The folder of recordings; empty records nothing."""
    days: Annotated[float, Field(gt=0)] = 30.0
    """Older recordings are deleted."""
    audio: bool = True
    """False keeps only what was said and when, without the sound."""
