"""Who has the floor while the agent talks: a voice makes the reply pause at once; whether it takes the floor is decided
a little later by `turn.interrupt`, which is fed here."""

from collections.abc import Callable, Mapping
from typing import Literal

from voiceagent.audio.pcm import Pcm
from voiceagent.errors import EngineError
from voiceagent.session.agent import Agent
from voiceagent.session.events import Interruption
from voiceagent.session.talk import Talk
from voiceagent.session.utterance import Utterance
from voiceagent.turn.interrupt import Action, Ask, Interrupter, Step
from voiceagent.turn.interrupt_settings import Phase
from voiceagent.vad.base import WINDOW

FIRST_WORDS_SECONDS = 1.0
"""So long a reply counts as having just begun."""
LAST_WORDS_SECONDS = 1.0
"""So long before its end whoever speaks answers it."""

ACTIONS: Mapping[Action, Literal["pause", "confirm", "resume"]] = {
    Action.PAUSE: "pause",
    Action.CONFIRM: "confirm",
    Action.RESUME: "resume",
}


class Floor:
    def __init__(self, talk: Talk, agent: Agent, give: Callable[[Utterance], None]) -> None:
        """`give` is called when the user has taken the floor."""
        self._talk = talk
        self._agent = agent
        self._give = give
        self._interrupter = Interrupter(talk.shared.settings.interrupt)

    def hear(self, probability: float, window: Pcm, utterance: Utterance | None) -> None:
        """Take every window of the microphone; `utterance` is the one it belongs to."""
        phase = self._phase(utterance)
        played = None if phase is Phase.SILENT else self._agent.playing(WINDOW)
        self._do(self._interrupter.hear(probability, window, phase, played), utterance)
        reply = self._agent.current
        if reply is not None and reply.paused and self._interrupter.deciding:
            reply.pause()  # a pause ends of itself when no audio comes that could end it

    def release(self) -> None:
        """The user took the floor by other means."""
        self._interrupter.release()

    @property
    def faint(self) -> bool:
        """Whether what is heard now is surely not the user, by its level."""
        return self._interrupter.faint

    @property
    def dismissed(self) -> bool:
        """Whether what is heard now was made by the agent, which has just fallen silent, or by nobody."""
        return self._interrupter.dismissed

    @property
    def narrowband(self) -> bool:
        """Whether the microphone is a telephone's, which has no low tones to know a near voice by."""
        return self._interrupter.narrowband

    @narrowband.setter
    def narrowband(self, narrowband: bool) -> None:
        self._interrupter.narrowband = narrowband

    def _phase(self, utterance: Utterance | None) -> Phase:
        turn, reply = self._talk.options.turn, self._agent.current
        if not self._agent.busy or turn is None or (utterance is not None and utterance.confirmed):
            return Phase.SILENT
        if not turn.interrupt_reply or self._agent.protected:
            return Phase.PROTECTED
        if reply is None or not reply.audible:  # while tools run, too
            return Phase.THINKING
        if reply.left is not None and reply.left < LAST_WORDS_SECONDS:
            return Phase.LAST_WORDS
        return Phase.FIRST_WORDS if reply.heard_seconds < FIRST_WORDS_SECONDS else Phase.SPEAKING

    def _do(self, step: Step, utterance: Utterance | None) -> None:
        reply = self._agent.current
        match step.action:
            case Action.PAUSE if reply is not None:
                reply.pause()
            case Action.RESUME if reply is not None:
                reply.resume()
            case Action.CONFIRM if utterance is not None and not utterance.confirmed:
                self._give(utterance)
        if step.action is not Action.NOTHING and step.reason is not None:
            self._talk.emit(Interruption(ACTIONS[step.action], step.reason.value))
        if step.ask is not Ask.NOTHING and utterance is not None:
            self._talk.tasks.create_task(self._ask(utterance, step.ask is Ask.FINAL), name="barge-in words")

    async def _ask(self, utterance: Utterance, final: bool) -> None:
        """Get the words the decision waits for. Without them it is made by the voice alone."""
        text = ""
        try:
            text = (await utterance.transcript()).text if final else await utterance.partial()
        except EngineError:
            pass
        finally:
            utterance.goes_on()  # that recognition was for this question only
        if not utterance.confirmed:
            self._do(self._interrupter.words(text, final=final, spoken=self._agent.lately_said), utterance)
