"""What the listener tells of what it hears."""

from typing import Protocol

from voiceagent.audio.pcm import Pcm
from voiceagent.session.user_turn import UserTurn


class TurnEvents(Protocol):
    """Whom the listener tells. All calls are plain and quick."""

    def voice_began(self, utterance: UserTurn) -> None: ...

    def microphone(self, rate: int) -> None:
        """The client's audio comes at this rate from now on."""
        ...

    def window(self, probability: float, window: Pcm) -> None:
        """Each WINDOW of audio with the probability that it is speech, after what it brought about was told."""
        ...

    def voice_goes_on(self, utterance: UserTurn) -> None:
        """More voice, perhaps after a pause."""
        ...

    def voice_paused(self, utterance: UserTurn) -> None:
        """Silence for `pausing.PAUSE_MS`."""
        ...

    def words_so_far(self, utterance: UserTurn, text: str) -> None: ...

    def cleared(self) -> None:
        """What was appended before the client's request is forgotten."""
        ...

    def turn_ended(self, utterance: UserTurn, end: int) -> None:
        """The turn is over; `end` is the position of its last speech. The utterance is now the callee's to close."""
        ...

    def dropped(self, utterance: UserTurn) -> None:
        """The utterance does not count. It is now the callee's to close."""
        ...
