"""How often this speaker pauses and goes on: learned while they talk."""

MEMORY = 0.9
"""What a finished turn leaves of all before it, so that the last ten or so count. Fits are as good from 0.8 to 1."""


class SpeakerPauses:
    """One speaker's in one talk. Both numbers fade with the turns, so they are weights rather than counts."""

    def __init__(self) -> None:
        self._speech_ms = 0.0
        self._pauses = 0.0

    @property
    def pauses(self) -> float:
        """Silences (of 160 ms or more) within turns, the present one's included, after which the speaker went on."""
        return self._pauses

    def speech_ms(self, this_turn: float) -> float:
        """Voice in the talk, with so much in the turn that goes on."""
        return self._speech_ms + this_turn

    def went_on(self) -> None:
        """A silence is over and the turn is not. To be called, too, when a turn was taken for finished, but the speaker
        came back before anything was heard of the answer."""
        self._pauses += 1.0

    def turn_ended(self, speech_ms: float) -> None:
        """A turn with so much voice is over."""
        self._speech_ms = MEMORY * (self._speech_ms + speech_ms)
        self._pauses *= MEMORY
