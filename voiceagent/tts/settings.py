"""Settings of the voice: the `[tts]` section."""

from voiceagent.section import EngineSection


class TtsSection(EngineSection):
    """The voice that speaks; every other key is an option of its engine."""

    normalise: bool = True
    """Whether figures, amounts and the like are put into words before the voice is given them. Off, the voice reads
    them in its own way."""
