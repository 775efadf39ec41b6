"""Follows one speaker's pauses through a talk and says when a turn is over: what a session asks."""

from collections.abc import Mapping
from dataclasses import replace

from voiceagent.audio.pcm import Pcm
from voiceagent.turn.endpoint import Endpointer
from voiceagent.turn.habits import SpeakerPauses
from voiceagent.turn.pause import Pause, fade_db


class PauseWatch:
    """One a talk. Pure: silences are counted in samples by its caller, and whatever takes time (words, a model) is
    computed elsewhere and told when it is known, so that the same calls give the same decisions.

    In each pause: `paused` once it has lasted 160 ms, `know` as often as more is known, `is_over` after each window of
    silence; then either `went_on` or `ended`. A silence that ends earlier counts for nothing.
    """

    def __init__(self, endpointer: Endpointer) -> None:
        self.endpointer = endpointer
        """May be replaced between two calls, when the client changes its mind."""
        self._habits = SpeakerPauses()
        self._pause: Pause | None = None

    def paused(self, voice: Pcm, speech_ms: float, text: str = "") -> None:
        """A pause begins to count. `voice`: the turn's audio at 16 kHz (its last 8 s do) up to where the voice ended;
        `speech_ms`: how much of the turn so far was voice; `text`: its words, as far as they are known already."""
        habits = self._habits
        self._pause = Pause(text, None, fade_db(voice), habits.speech_ms(speech_ms), habits.pauses)

    def know(self, *, text: str | None = None, finished: float | None = None) -> None:
        """More is known of the pause that lasts: the words up to it, or a model's probability that the speaker has
        finished. Without a pause it came too late and is dropped."""
        if self._pause is None:
            return
        if text is not None:
            self._pause = replace(self._pause, text=text)
        if finished is not None:
            self._pause = replace(self._pause, finished=finished)

    @property
    def wait_ms(self) -> int:
        """The silence in all that ends the turn, as far as can be said now."""
        return self.endpointer.wait_ms(self._pause or Pause())

    @property
    def evidence(self) -> Mapping[str, float]:
        """What speaks for and against the end, by rule."""
        return self.endpointer.evidence(self._pause or Pause())

    def is_over(self, silence_ms: float) -> bool:
        """Whether a silence that has lasted so long ends the turn."""
        return silence_ms >= self.wait_ms

    def went_on(self) -> None:
        """The voice is back and the turn goes on. Nothing that was asked for the pause may be told any more."""
        if self._pause is not None:
            self._habits.went_on()
            self._pause = None

    def came_back(self) -> None:
        """The turn had ended, but its speaker came back before anything was heard of the answer: it was no end."""
        self._habits.went_on()

    def ended(self, speech_ms: float) -> None:
        """The turn is over, for whatever reason; `speech_ms` of it was voice."""
        self._habits.turn_ended(speech_ms)
        self._pause = None
