"""The user's side of a conversation: who has the floor, when a turn is over, what is prepared before that is sure."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.errors import EngineError
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import SessionContext
from voiceagent.session.conversation import Item, Part
from voiceagent.session.events import (
    AudioCleared,
    AudioCommitted,
    Interruption,
    Speculated,
    SpeechStarted,
    SpeechStopped,
    TranscriptDone,
    TranscriptFailed,
    TranscriptPartial,
    TurnEnded,
)
from voiceagent.session.response import Response
from voiceagent.session.response_manager import ResponseManager
from voiceagent.session.timeline import now
from voiceagent.session.user_turn import UserTurn
from voiceagent.turn.barge_in import BargeInAction, BargeInDetector, BargeInStep, WordsRequest
from voiceagent.turn.endpointing import Endpointer
from voiceagent.turn.options import Phase
from voiceagent.vad.base import WINDOW

log = logging.getLogger(__name__)


# Who has the floor while the agent talks: a voice makes the reply pause at once; whether it takes the floor is decided
# a little later by `turn.interrupt`, which is fed here.

FIRST_WORDS_SECONDS = 1.0
"""So long a reply counts as having just begun."""
LAST_WORDS_SECONDS = 1.0
"""So long before its end whoever speaks answers it."""

ACTIONS: Mapping[BargeInAction, Literal["pause", "confirm", "resume"]] = {
    BargeInAction.PAUSE: "pause",
    BargeInAction.CONFIRM: "confirm",
    BargeInAction.RESUME: "resume",
}


class BargeIn:
    def __init__(self, talk: SessionContext, agent: ResponseManager, give: Callable[[UserTurn], None]) -> None:
        """`give` is called when the user has taken the floor."""
        self._talk = talk
        self._agent = agent
        self._give = give
        self._interrupter = BargeInDetector(talk.shared.settings.interrupt)

    def hear(self, probability: float, window: Pcm, utterance: UserTurn | None) -> None:
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

    def _phase(self, utterance: UserTurn | None) -> Phase:
        turn, reply = self._talk.options.turn, self._agent.current
        if not self._agent.busy or turn is None or (utterance is not None and utterance.confirmed):
            return Phase.SILENT
        if not turn.interrupt_response or self._agent.protected:
            return Phase.PROTECTED
        if reply is None or not reply.audible:  # while tools run, too
            return Phase.THINKING
        if reply.left is not None and reply.left < LAST_WORDS_SECONDS:
            return Phase.LAST_WORDS
        return Phase.FIRST_WORDS if reply.heard_seconds < FIRST_WORDS_SECONDS else Phase.SPEAKING

    def _do(self, step: BargeInStep, utterance: UserTurn | None) -> None:
        reply = self._agent.current
        match step.action:
            case BargeInAction.PAUSE if reply is not None:
                reply.pause()
            case BargeInAction.RESUME if reply is not None:
                reply.resume()
            case BargeInAction.CONFIRM if utterance is not None and not utterance.confirmed:
                self._give(utterance)
        if step.action is not BargeInAction.NOTHING and step.reason is not None:
            self._talk.emit(Interruption(ACTIONS[step.action], step.reason.value))
        if step.ask is not WordsRequest.NOTHING and utterance is not None:
            self._talk.tasks.create_task(self._ask(utterance, step.ask is WordsRequest.FINAL), name="barge-in words")

    async def _ask(self, utterance: UserTurn, final: bool) -> None:
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


@dataclass(frozen=True, slots=True)
class PreparedResponse:
    """A reply made ahead, to a turn of just these words, when so many results of tools were known."""

    text: str
    reply: Response
    results: int


class TurnManager:
    """Told by the listener what it hears; see `turn_events.py`."""

    def __init__(self, talk: SessionContext, agent: ResponseManager, pauses: Endpointer) -> None:
        self._talk = talk
        self._pauses = pauses
        self._agent = agent
        self._preparing: asyncio.Task[None] | None = None
        self._prepared: PreparedResponse | None = None
        self._speculations = 0
        self._pausing = False
        self._interruptions = 0
        self._floor = BargeIn(talk, agent, self._take_floor)
        self._unknown: list[asyncio.Future[EngineError | None]] = []
        """Turns that are over and whose words are still to come: then None, or why there are none."""

    # -- the floor --------------------------------------------------------------------------------------------------

    def voice_began(self, utterance: UserTurn) -> None:
        self._talk.touch()
        self._talk.voice = utterance
        self._speculations = 0
        self._pausing = False
        if self._talk.options.turn is None:
            utterance.confirmed = True
        elif self._floor_is_free:
            self._take_floor(utterance)

    def microphone(self, rate: int) -> None:
        self._floor.narrowband = rate < EAR_RATE

    def window(self, probability: float, window: Pcm) -> None:
        """Every window of the microphone. While the agent talks, a voice has the floor only when that is decided."""
        self._floor.hear(probability, window, self._talk.voice)

    def voice_goes_on(self, utterance: UserTurn) -> None:
        self._talk.touch()
        if self._pausing:
            self._pausing = False
            utterance.goes_on()
            self.discard()
        if not utterance.confirmed and self._floor_is_free:  # that has changed meanwhile
            self._take_floor(utterance)

    def voice_paused(self, utterance: UserTurn) -> None:
        self._pausing = True
        utterance.paused_at = now()
        if utterance.confirmed:
            utterance.anticipate()
            self._speculate(utterance)

    def words_so_far(self, utterance: UserTurn, text: str) -> None:
        if utterance.confirmed:
            self._talk.emit(TranscriptPartial(utterance.item_id, text))

    def cleared(self) -> None:
        self._talk.emit(AudioCleared())

    def dropped(self, utterance: UserTurn) -> None:
        """The client does not want what it said to count."""
        self._talk.voice = None
        self.discard()
        utterance.close()
        self._resume()

    def _take_floor(self, utterance: UserTurn) -> None:
        """The user has the floor."""
        utterance.confirmed = utterance.announced = True
        if self.understanding or (self._agent.current is not None and not self._agent.current.audible):
            self._pauses.came_back()
        self._talk.emit(SpeechStarted(utterance.item_id, milliseconds(utterance.start)))
        if self._may_interrupt:
            utterance.silenced = self._agent.busy
            self._agent.stop("turn_detected")
        if self._pausing:
            self.voice_paused(utterance)

    def interrupt(self) -> None:
        """The user took the floor without a voice: whatever is said, prepared or still to be answered is over."""
        self._interruptions += 1
        self.discard()
        self._floor.release()
        self._agent.stop("turn_detected")

    @property
    def _floor_is_free(self) -> bool:
        """Whether a voice has the floor at once. While an answer is still to come, somebody in the background has it
        not."""
        if self._agent.busy and self._may_interrupt:
            return False
        return not (self._floor.dismissed or (self.understanding and self._floor.faint))

    @property
    def _may_interrupt(self) -> bool:
        """Whether a voice can take the floor from what the agent does now."""
        turn = self._talk.options.turn
        return turn is not None and turn.interrupt_response and not self._agent.protected

    @property
    def _answers(self) -> bool:
        """Whether the agent answers turns by itself."""
        options = self._talk.options
        return options.turn is not None and options.turn.create_response and not options.listen_only

    def _resume(self) -> None:
        """It was nothing: what paused for it goes on."""
        if self._agent.current is not None:
            self._agent.current.resume()

    # -- a reply made ahead -----------------------------------------------------------------------------------------

    def _speculate(self, utterance: UserTurn) -> None:
        """The user may have finished: prepare the answer, without any effect until that is sure."""
        most = self._talk.shared.settings.turn.speculations
        idle = self._agent.answering is None and not self._agent.calls.running
        if self._answers and idle and self._speculations < most:
            self._speculations += 1
            self._preparing = self._talk.tasks.create_task(self._prepare(utterance), name="speculation")

    async def _prepare(self, utterance: UserTurn) -> None:
        try:
            text = (await utterance.transcript()).text.strip()
        except EngineError:
            return  # the turn itself will tell
        if text:
            reply = self._agent.prepare(
                CreateResponse(), user_item_id=utterance.item_id, user_text=text, speculative=True
            )
            self._prepared = PreparedResponse(text, reply, self._agent.calls.results)

    def discard(self) -> None:
        """The user goes on, or the talk is not what it was when the answer was begun: there never was one."""
        if self._preparing is not None:
            self._preparing.cancel()
            self._preparing = None
        if self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            prepared.reply.cancel("turn_detected")
            self._talk.emit(Speculated(used=False, tokens=prepared.reply.tokens))

    def _take_prepared(self, text: str) -> Response | None:
        """The reply that was made ahead, if it answers these words and knows all results."""
        prepared, results = self._prepared, self._agent.calls.results
        if prepared is None or (prepared.text, prepared.results) != (text, results):
            self.discard()
            return None
        self._prepared = None
        self._talk.emit(Speculated(used=True, tokens=0))
        return prepared.reply

    # -- the end of a turn ------------------------------------------------------------------------------------------

    def turn_ended(self, utterance: UserTurn, end: int) -> None:
        self._talk.voice = None
        if not utterance.confirmed:  # a noise: whatever paused for it goes on
            utterance.close()
            self._resume()
            return
        talk = self._talk
        talk.turns += 1
        if utterance.announced:
            talk.emit(SpeechStopped(utterance.item_id, milliseconds(end)))
        talk.emit(AudioCommitted(utterance.item_id, talk.conversation.last_id))
        talk.emit(turn_ended(utterance))
        talk.add(Item(utterance.item_id, "user", (Part("audio", ""),)), note=False)
        utterance.committed_at = now()
        words: asyncio.Future[EngineError | None] = asyncio.get_running_loop().create_future()
        self._unknown.append(words)
        answers = self._answers and not utterance.by_hand
        understanding = self._understand(utterance, answers, self._interruptions, words)
        talk.tasks.create_task(understanding, name="understand")

    @property
    def understanding(self) -> bool:
        """Whether the words of a turn that is over are still to come."""
        return bool(self._unknown)

    async def understood(self) -> None:
        """Wait for the words of all turns that are over. Raises EngineError when the last of them has none."""
        failure: EngineError | None = None
        while self._unknown:
            latest = self._unknown[-1]
            await asyncio.wait([latest])
            failure = latest.result()
        if failure is not None:
            raise failure

    async def _understand(
        self, utterance: UserTurn, answers: bool, interruptions: int, words: asyncio.Future[EngineError | None]
    ) -> None:
        """Get the words of a finished turn, and answer if there were no more interruptions than these."""
        talk, text, failure = self._talk, "", None
        try:
            text = (await utterance.transcript()).text.strip()
        except EngineError as error:
            failure = error
            log.warning("session %s: recognition failed: %s", talk.id, error.code)
            talk.emit(TranscriptFailed(utterance.item_id, f"asr_{error.code}", error.message))
        else:
            talk.set_text(utterance.item_id, text)
            talk.emit(TranscriptDone(utterance.item_id, text, utterance.seconds))
        finally:
            utterance.close()
        self._unknown.remove(words)
        words.set_result(failure)
        # A voice without words that cut the agent off must not leave it silent: it answers again.
        if not answers or not (text or failure or utterance.silenced) or self._interruptions != interruptions:
            self.discard()
            return
        prepared = self._take_prepared(text)
        await self._agent.silent()  # a reply that may not be interrupted ends first
        await self._agent.calls.settled()
        await self._agent.silent()
        if talk.user_speaks or self._interruptions != interruptions:
            # The user has gone on: the next turn's answer will be to both.
            if prepared is not None:
                prepared.cancel("turn_detected")
            return
        self._answer(utterance, prepared, failure)

    def _answer(self, utterance: UserTurn, prepared: Response | None, failure: EngineError | None) -> None:
        reply = prepared or self._agent.prepare(CreateResponse(), user_item_id=utterance.item_id, failure=failure)
        timeline = reply.timeline
        timeline.onset, timeline.speech_end = utterance.began_at, utterance.speech_ended_at or None
        timeline.paused, timeline.committed = utterance.paused_at, utterance.committed_at
        timeline.transcribed = utterance.transcribed_at
        self._agent.release(reply)


def turn_ended(utterance: UserTurn) -> TurnEnded:
    if utterance.by_hand:
        return TurnEnded(utterance.item_id, "client")
    if (verdict := utterance.verdict) is None:
        return TurnEnded(utterance.item_id, "longest")
    return TurnEnded(utterance.item_id, "silence", verdict.silence_ms, verdict.wait_ms, verdict.evidence)


def milliseconds(position: int) -> int:
    return position * 1000 // EAR_RATE
