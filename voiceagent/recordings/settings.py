"""Whether talks are recorded: the `[recordings]` section."""

from typing import Annotated

from pydantic import Field

from voiceagent.section import Section


class RecordingsSection(Section):
    """`path` is the folder ("" records nothing). Recordings older than `days` are deleted. `audio` False keeps only
    what was said and when, without the sound."""

    path: str = ""
    days: Annotated[float, Field(gt=0)] = 30.0
    audio: bool = True
