"""Settings of the voice: the `[tts]` section."""

from voiceagent.section import EngineSection


class TtsSection(EngineSection):
    """The voice."""

    normalise: bool = True
    """Whether figures, amounts and the like are put into words before the engine is given them. Otherwise it reads them
    in its own way."""
