"""Turn manager: the user's side of a session. It decides whose turn it is to speak and what is prepared for an answer.

audio input ─turn events─▶ handle ─▶ barge-in ─▶ pause, resume or stop the agent
                              │
                              └─▶ pause: prepare a response ─▶ commit: words ─▶ release it, or one made now
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from voiceagent.audio.pcm import EAR_RATE
from voiceagent.errors import EngineError
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import Dialogue, SessionContext
from voiceagent.session.conversation import FunctionOutput, Item, Part
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
from voiceagent.session.settings import SessionSettings
from voiceagent.session.user_turn import (
    BufferCleared,
    MicrophoneChanged,
    TurnBegun,
    TurnCommitted,
    TurnDropped,
    TurnEvent,
    TurnPaused,
    TurnVoice,
    UserTurn,
    WindowHeard,
)
from voiceagent.turn.barge_in import BargeInAction, BargeInDetector, BargeInStep, WordsRequest
from voiceagent.turn.endpointing import Endpointer
from voiceagent.turn.options import Phase
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import SegmentedWindow

log = logging.getLogger(__name__)

FIRST_WORDS_SECONDS = 1.0
"""So long a response counts as having just begun."""
LAST_WORDS_SECONDS = 1.0
"""So long before its end whoever speaks answers it."""
PARTIAL_SECONDS = 0.4
"""Between two partial transcripts: as often as captions need."""

ACTIONS: Mapping[BargeInAction, Literal["pause", "confirm", "resume"]] = {
    BargeInAction.PAUSE: "pause",
    BargeInAction.CONFIRM: "confirm",
    BargeInAction.RESUME: "resume",
}


@dataclass(frozen=True, slots=True)
class PreparedResponse:
    """A response made ahead, to a turn of just these words, when so many results of tools were known."""

    text: str
    response: Response
    results: int


class TurnManager:
    def __init__(
        self,
        context: SessionContext,
        dialogue: Dialogue,
        responses: ResponseManager,
        endpointer: Endpointer,
        settings: SessionSettings,
    ) -> None:
        self._context = context
        self._dialogue = dialogue
        self._responses = responses
        self._endpointer = endpointer
        self._barge_in = BargeInDetector(settings.barge_in)
        self._max_speculations = settings.turn.speculations
        self._preparing: asyncio.Task[None] | None = None
        self._prepared: PreparedResponse | None = None
        self._speculations = 0
        self._interruptions = 0
        self._turn_open = asyncio.Event()
        self._awaiting_words: list[asyncio.Future[EngineError | None]] = []
        """Turns that are over and whose words are still to come: then None, or why there are none."""
        self._unanswered: set[UserTurn] = set()
        """Turns that are over and that the agent is to answer by itself."""
        self._deferred: CreateResponse | None = None
        """What the client has asked for while the user spoke: it is the answer to the turn, too."""
        self._commits_ahead = 0
        """Commits still to be reached that came before the latest request for a response. The audio before them is
        older than that request: no voice in it interrupts the response, and its turns are answered by it."""

    def handle(self, event: TurnEvent) -> None:
        """Take what audio input has heard."""
        match event:
            case WindowHeard(window):
                self._on_window(window)
            case TurnVoice(turn, resumed):
                self._on_voice(turn, resumed)
            case TurnBegun(turn):
                self._on_begun(turn)
            case TurnPaused(turn):
                self._on_paused(turn)
            case TurnCommitted(turn, speech_end):
                self._on_committed(turn, speech_end)
            case TurnDropped(turn):
                self._close_turn()
                self.discard()
                turn.close()
                self._resume()
                self._answer_deferred()
            case BufferCleared():
                self._context.emit(AudioCleared())
            case MicrophoneChanged(rate):
                self._barge_in.narrowband = rate < EAR_RATE

    async def caption(self) -> None:
        """Show the client the words so far while the user speaks, until cancelled."""
        while True:
            await self._turn_open.wait()
            await asyncio.sleep(PARTIAL_SECONDS)
            turn = self._context.user_turn
            if turn is None or not turn.confirmed:  # its words are asked for when the decision on it needs them
                continue
            before = turn.text
            text = await turn.partial()
            if text != before and turn is self._context.user_turn:
                self._context.emit(TranscriptPartial(turn.item_id, text))

    def interrupt(self, *, withdraw: bool = False) -> None:
        """The user interrupts without a voice: whatever is said, prepared or still to be answered is over. For
        `withdraw` see `Dialogue.withdraw`."""
        self._interruptions += 1
        self._deferred = None
        self.discard()
        self._barge_in.release()
        self._responses.stop("turn_detected")
        if withdraw:
            self._dialogue.withdraw()

    # -- responses that the client asks for -------------------------------------------------------------------------

    def defer(self, request: CreateResponse) -> bool:
        """Whether the request, for the answer to a tool's result, waits for the turn that the user is in: one answer
        is enough for both."""
        items = self._dialogue.conversation.items
        results = bool(items) and isinstance(items[-1], FunctionOutput)
        speaks = self._context.user_speaks and self._context.options.turn is not None
        if not (results and speaks and request.answers_turns):
            return False
        self.discard()
        self._deferred = request
        return True

    def cancel_deferred(self) -> bool:
        """Drop the request that waits for the turn; False when there is none."""
        deferred, self._deferred = self._deferred, None
        return deferred is not None

    def claim(self, commits: int) -> None:
        """The client has asked for the answer to all turns so far, and to what comes before so many commits more."""
        self._unanswered.clear()
        self._commits_ahead = commits
        self.discard()

    def _answer_deferred(self) -> None:
        """There is no turn to wait for any more."""
        if self._deferred is not None and self._responses.active is None:
            request, self._deferred = self._deferred, None
            self._responses.release(self._responses.prepare(request))

    def close(self) -> None:
        """The session is over."""
        if (turn := self._context.user_turn) is not None:
            self._close_turn()
            self.discard()
            turn.close()

    # -- a turn while it is heard -----------------------------------------------------------------------------------

    def _on_begun(self, turn: UserTurn) -> None:
        self._context.touch()
        self._context.user_turn = turn
        self._turn_open.set()
        self._speculations = 0
        if self._context.options.turn is None:
            turn.confirm(announced=False)
        elif self._voice_counts_at_once:
            self._confirm(turn)

    def _on_voice(self, turn: UserTurn, resumed: bool) -> None:
        self._context.touch()
        if resumed:
            turn.go_on()
            self.discard()
        if not turn.confirmed and self._voice_counts_at_once:  # that has changed meanwhile
            self._confirm(turn)

    def _on_paused(self, turn: UserTurn) -> None:
        if turn.confirmed:
            turn.pause()
            self._speculate(turn)

    def _confirm(self, turn: UserTurn) -> None:
        """It is the user's turn: the agent is silent from now on, where it may be interrupted."""
        interrupts = self._may_interrupt
        turn.confirm(announced=True, interrupted_agent=interrupts and self._responses.busy)
        current = self._responses.current
        if self.understanding or (current is not None and not current.audible):
            self._endpointer.came_back()
        self._context.emit(SpeechStarted(turn.item_id, milliseconds(turn.start)))
        if interrupts:
            self._responses.stop("turn_detected")
        if self._endpointer.pausing:
            self._on_paused(turn)

    def _close_turn(self) -> None:
        self._context.user_turn = None
        self._turn_open.clear()

    @property
    def _voice_counts_at_once(self) -> bool:
        """Whether a voice is the user's turn without further ado. While an answer is still to come, that of somebody in
        the background is not."""
        if self._responses.busy and self._may_interrupt:
            return False
        return not (self._barge_in.dismissed or (self.understanding and self._barge_in.faint))

    @property
    def _may_interrupt(self) -> bool:
        """Whether a voice can interrupt what the agent does now."""
        turn = self._context.options.turn
        return turn is not None and turn.interrupt_response and not self._protected

    @property
    def _protected(self) -> bool:
        """Whether no voice interrupts what the agent does now."""
        return self._responses.protected or self._commits_ahead > 0

    @property
    def listening(self) -> bool:
        """Whether a turn of the user's is being heard or understood. A turn by hand may be open for ever."""
        hearing = self._context.user_turn is not None and self._context.options.turn is not None
        return hearing or bool(self._awaiting_words) or bool(self._unanswered)

    @property
    def _answers(self) -> bool:
        """Whether the agent answers turns by itself."""
        options = self._context.options
        return options.turn is not None and options.turn.create_response and not options.listen_only

    def _resume(self) -> None:
        """It was nothing: what paused for it goes on."""
        if self._responses.current is not None:
            self._responses.current.resume()

    # -- barge-in: a voice while the agent talks --------------------------------------------------------------------

    def _on_window(self, window: SegmentedWindow) -> None:
        turn = self._context.user_turn
        phase = self._phase(turn)
        played = None if phase is Phase.SILENT else self._responses.playing(WINDOW)
        self._apply(self._barge_in.hear(window, phase, played), turn)
        response = self._responses.current
        if response is not None and response.paused and self._barge_in.deciding:
            response.pause()  # a pause ends of itself when no audio comes that could end it

    def _phase(self, turn: UserTurn | None) -> Phase:
        options, response = self._context.options.turn, self._responses.current
        if not self._responses.busy or options is None or (turn is not None and turn.confirmed):
            return Phase.SILENT
        if not options.interrupt_response or self._protected:
            return Phase.PROTECTED
        if response is None or not response.audible:  # while tools run, too
            return Phase.THINKING
        if response.left is not None and response.left < LAST_WORDS_SECONDS:
            return Phase.LAST_WORDS
        return Phase.FIRST_WORDS if response.heard_seconds < FIRST_WORDS_SECONDS else Phase.SPEAKING

    def _apply(self, step: BargeInStep, turn: UserTurn | None) -> None:
        response = self._responses.current
        match step.action:
            case BargeInAction.PAUSE if response is not None:
                response.pause()
            case BargeInAction.RESUME if response is not None:
                response.resume()
            case BargeInAction.CONFIRM if turn is not None and not turn.confirmed:
                self._confirm(turn)
        if step.action is not BargeInAction.NOTHING and step.reason is not None:
            self._context.emit(Interruption(ACTIONS[step.action], step.reason.value))
        if step.ask is not WordsRequest.NOTHING and turn is not None:
            asking = self._ask_words(turn, final=step.ask is WordsRequest.FINAL)
            self._context.tasks.create_task(asking, name="barge-in words")

    async def _ask_words(self, turn: UserTurn, *, final: bool) -> None:
        """Get the words that the decision waits for. Without them it is made by the voice alone."""
        text = ""
        try:
            text = (await turn.transcript()).text if final else await turn.partial()
        except EngineError as error:
            self._context.engine_failed(error)
        finally:
            turn.drop_recognition()  # it was for this question only
        if not turn.confirmed:
            self._apply(self._barge_in.words(text, final=final, spoken=self._responses.recent_text), turn)

    # -- a response made ahead --------------------------------------------------------------------------------------

    def _speculate(self, turn: UserTurn) -> None:
        """The user may have finished: prepare the answer, without any effect until that is sure."""
        idle = self._responses.active is None and not self._responses.calls.running
        if self._answers and idle and self._speculations < self._max_speculations:
            self._speculations += 1
            self._preparing = self._context.tasks.create_task(self._prepare(turn), name="speculation")

    async def _prepare(self, turn: UserTurn) -> None:
        try:
            text = (await turn.transcript()).text.strip()
        except EngineError:
            return  # reported by the turn itself
        if text:
            response = self._responses.prepare(
                self._deferred or CreateResponse(), user_item_id=turn.item_id, user_text=text, speculative=True
            )
            self._prepared = PreparedResponse(text, response, self._responses.calls.results)

    def discard(self) -> None:
        """The user goes on, or the conversation is not what it was when the answer was begun: there never was one."""
        if self._preparing is not None:
            self._preparing.cancel()
            self._preparing = None
        if self._prepared is not None:
            prepared, self._prepared = self._prepared, None
            prepared.response.cancel("turn_detected")
            self._context.emit(Speculated(used=False, tokens=prepared.response.tokens))

    def _take_prepared(self, text: str) -> Response | None:
        """The response that was made ahead, if it answers these words and knows all results."""
        prepared, results = self._prepared, self._responses.calls.results
        if prepared is None or (prepared.text, prepared.results) != (text, results):
            self.discard()
            return None
        self._prepared = None
        self._context.emit(Speculated(used=True, tokens=0))
        return prepared.response

    # -- the end of a turn ------------------------------------------------------------------------------------------

    def _on_committed(self, turn: UserTurn, speech_end: int) -> None:
        self._close_turn()
        if not turn.confirmed:  # a noise: whatever paused for it goes on
            turn.close()
            self._resume()
            return
        context = self._context
        context.turns += 1
        if turn.announced:
            context.emit(SpeechStopped(turn.item_id, milliseconds(speech_end)))
        context.emit(AudioCommitted(turn.item_id, self._dialogue.conversation.last_id))
        context.emit(turn_ended(turn))
        self._dialogue.add(Item(turn.item_id, "user", (Part("audio", ""),)), note=False)
        words: asyncio.Future[EngineError | None] = asyncio.get_running_loop().create_future()
        self._awaiting_words.append(words)
        if turn.end == "client":
            self._commits_ahead = max(0, self._commits_ahead - 1)
        elif self._answers and not self._commits_ahead:
            self._unanswered.add(turn)
        context.tasks.create_task(self._answer(turn, self._interruptions, words), name="understand")

    @property
    def understanding(self) -> bool:
        """Whether the words of a turn that is over are still to come."""
        return bool(self._awaiting_words)

    async def understood(self) -> None:
        """Wait for the words of all turns that are over. Raises EngineError when the last of them has none."""
        failure: EngineError | None = None
        while self._awaiting_words:
            latest = self._awaiting_words[-1]
            await asyncio.wait([latest])
            failure = latest.result()
        if failure is not None:
            raise failure

    async def _answer(self, turn: UserTurn, interruptions: int, words: asyncio.Future[EngineError | None]) -> None:
        """Get the words of a finished turn, and answer if it is still to be answered and there were no more
        interruptions than these."""
        try:
            text, failure = await self._understand(turn, words)
            if self._wants_answer(turn, interruptions) and (
                text or failure or turn.interrupted_agent or self._deferred
            ):
                await self._respond(turn, text, failure, interruptions)
            else:
                self.discard()
        finally:
            self._unanswered.discard(turn)

    def _wants_answer(self, turn: UserTurn, interruptions: int) -> bool:
        return self._interruptions == interruptions and (turn in self._unanswered or self._deferred is not None)

    async def _understand(
        self, turn: UserTurn, words: asyncio.Future[EngineError | None]
    ) -> tuple[str, EngineError | None]:
        """The words of a finished turn, or why there are none. A voice without words that cut the agent off must not
        leave it silent: it answers again."""
        text, failure, context = "", None, self._context
        try:
            text = (await turn.transcript()).text.strip()
        except EngineError as error:
            failure = error
            context.emit(TranscriptFailed(turn.item_id, f"asr_{error.code}", error.message))
            context.engine_failed(error)
        else:
            self._dialogue.set_text(turn.item_id, text)
            context.emit(TranscriptDone(turn.item_id, text, turn.seconds))
        finally:
            turn.close()
        self._awaiting_words.remove(words)
        words.set_result(failure)
        return text, failure

    async def _respond(self, turn: UserTurn, text: str, failure: EngineError | None, interruptions: int) -> None:
        """Let the response go that was made ahead, or one that is made now."""
        prepared = self._take_prepared(text)
        await self._responses.until_sent()  # a response that may not be interrupted ends first
        await self._responses.calls.settled()
        await self._responses.until_sent()
        if self._context.user_speaks or not self._wants_answer(turn, interruptions):
            # The user has gone on: the next turn's answer will be to both. Or the client has asked for it itself.
            if prepared is not None:
                prepared.cancel("turn_detected")
            return
        request, self._deferred = self._deferred or CreateResponse(), None
        response = prepared or self._responses.prepare(request, user_item_id=turn.item_id, failure=failure)
        turn.stamp(response.timeline)
        self._responses.release(response)


def turn_ended(turn: UserTurn) -> TurnEnded:
    match turn.end:
        case "client":
            return TurnEnded(turn.item_id, "client")
        case "longest" | None:
            return TurnEnded(turn.item_id, "longest")
        case decision:
            return TurnEnded(turn.item_id, "silence", decision.silence_ms, decision.wait_ms, decision.evidence)


def milliseconds(position: int) -> int:
    return position * 1000 // EAR_RATE
