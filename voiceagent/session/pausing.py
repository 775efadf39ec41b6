"""Is a silence in a turn a pause, or its end? The rules and the model behind one face, for one talk."""

import asyncio
from typing import TYPE_CHECKING

from voiceagent.audio.pcm import EAR_RATE
from voiceagent.session.utterance import Utterance, Verdict
from voiceagent.turn.endpoint import Endpointer
from voiceagent.turn.watch import PauseWatch

if TYPE_CHECKING:  # its package is optional
    from voiceagent.turn.smart_turn import SmartTurn

PAUSE_MS = 160
"""Silence after which recognition is finished ahead, in case the turn is over: longer than the gaps inside words."""
UNDECIDED_MS = 800
"""Silence after which a voice that never took the floor is forgotten: longer than the decision on its last words."""


class Pausing:
    """Silences are counted in samples at EAR_RATE by the caller."""

    def __init__(self, watch: PauseWatch, model: "SmartTurn | None", tasks: asyncio.TaskGroup) -> None:
        self._watch = watch
        self._model = model
        self._tasks = tasks
        self._asking: asyncio.Task[None] | None = None
        self._paused = False
        self._utterance: Utterance | None = None

    def obey(self, endpointer: Endpointer) -> None:
        self._watch.endpointer = endpointer

    def attend(self, utterance: Utterance | None) -> None:
        """This is the utterance from now on."""
        self._utterance = utterance
        self._paused = False

    def silent(self, utterance: Utterance, samples: int) -> bool:
        """The utterance has been silent for so long. True when that has just become a pause."""
        if self._paused or samples * 1000 // EAR_RATE < PAUSE_MS:
            return False
        self._paused = True
        self._watch.paused(utterance.latest(samples), utterance.speech_samples * 1000 / EAR_RATE, utterance.text)
        if self._model is not None:
            self._asking = self._tasks.create_task(self._ask(self._model, utterance), name="turn model")
        return True

    def is_over(self, utterance: Utterance, samples: int) -> bool:
        """Whether a silence so long ends the turn."""
        self._watch.know(text=utterance.text)
        silence_ms = samples * 1000 // EAR_RATE
        undecided = 0 if utterance.confirmed else UNDECIDED_MS
        return silence_ms >= undecided and self._watch.is_over(silence_ms)

    def why(self, samples: int) -> Verdict:
        """For what reasons a silence so long is the end."""
        return Verdict(samples * 1000 // EAR_RATE, self._watch.wait_ms, self._watch.evidence)

    def went_on(self) -> None:
        """There is voice again."""
        if self._paused:
            self._paused = False
            self._stop_asking()
            self._watch.went_on()

    def ended(self, utterance: Utterance) -> None:
        """The utterance is over, for whatever reason."""
        self._stop_asking()
        if utterance.confirmed:
            self._watch.ended(utterance.speech_samples * 1000 / EAR_RATE)

    async def _ask(self, model: "SmartTurn", utterance: Utterance) -> None:
        """Let the model hear the turn: its answer makes the wait shorter or longer."""
        finished = await model.finished(utterance.latest(0))
        if finished is not None and utterance is self._utterance:
            self._watch.know(finished=finished)

    def _stop_asking(self) -> None:
        """An answer that comes now would be taken for one on the next pause."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
