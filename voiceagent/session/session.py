"""One conversation. It carries out the protocol's commands, tells it what happens, and joins the stations:

    feed ─▶ listener ─▶ utterance ─▶ words ─▶ user turn ─▶ reply (model ─▶ clauses ─▶ voice ─▶ playout) ─▶ emit

Every decision is taken in a plain method here; every wait is a task of the one task group in `run`.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from voiceagent.audio.pcm import EAR_RATE
from voiceagent.audio.playout import Playout
from voiceagent.engines import Engines
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import LlmRequest, Message
from voiceagent.memory import context
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import Conversation
from voiceagent.session.heard import SpokenText
from voiceagent.session.items import Item, Part
from voiceagent.session.listener import Listener
from voiceagent.session.options import SessionOptions, TurnOptions
from voiceagent.session.remember import Remembrance
from voiceagent.session.reply import Apology, Reply, ReplyPlan
from voiceagent.session.timeline import Timeline
from voiceagent.session.utterance import Utterance
from voiceagent.settings import Settings
from voiceagent.turn.endpoint import Endpointer, FixedSilence

log = logging.getLogger(__name__)

End = Literal["idle", "expired"]
"""Why a session ends of itself: nobody did anything, or the talk reached its longest time."""

REPLIES_KEPT = 8
"""Replies of which a late report of what was played is still understood."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all conversations of the process have in common."""

    engines: Engines
    settings: Settings
    apology: Apology


class Ended(Exception):
    """Not an error: it takes the task group down when the talk is over."""

    def __init__(self, end: End) -> None:
        self.end = end


class Session:
    def __init__(
        self,
        session_id: str,
        shared: Shared,
        options: SessionOptions,
        *,
        emit: Callable[[ev.Event], None],
        new_id: Callable[[str], str],
        remembrance: Remembrance,
    ) -> None:
        """`emit` is called for every event, in order; it must be quick and must not raise."""
        self.id = session_id
        self.ready = asyncio.Event()
        """Set when commands may come."""
        self.emit = emit
        self._options = options
        self._shared = shared
        self._settings = shared.settings
        self._new_id = new_id
        self._remembrance = remembrance
        self._conversation = Conversation()
        self._playout = Playout(shared.settings.playout.lead_ms / 1000)
        self._spoken: OrderedDict[str, SpokenText] = OrderedDict()
        self._replies: list[Reply] = []  # the last is the current one; one before it may still be being played
        self._active_at = 0.0
        self._tasks = asyncio.TaskGroup()
        self._listener = Listener(
            vad=shared.engines.vad.stream(),
            asr=shared.engines.asr,
            options=options,
            endpointer=self._endpointer,
            events=self,
            tasks=self._tasks,
            new_id=new_id,
            deadline=shared.settings.deadlines.asr_seconds,
            max_turn_seconds=shared.settings.turn.max_turn_seconds,
        )

    # -- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> End:
        """Hold the conversation until it ends of itself or is cancelled. Nothing of it is left afterwards."""
        end: End = "idle"
        await self._remembrance.recall()
        try:
            async with self._tasks as tasks:
                tasks.create_task(self._listener.run(), name="listener")
                tasks.create_task(self._listener.caption(), name="captions")
                tasks.create_task(self._remembrance.run(), name="memory")
                self._touch()
                self.ready.set()
                raise Ended(await self._watch())
        except* Ended as ended:
            end = next(error.end for error in ended.exceptions if isinstance(error, Ended))
        finally:
            self._stop_talking("turn_detected")
            await self._remembrance.finish()
        return end

    async def _watch(self) -> End:
        """Wait until the talk has been idle or has lasted too long."""
        limits = self._settings.limits
        last_moment = self._now() + limits.session_seconds
        while True:
            now = self._now()
            if now >= last_moment:
                return "expired"
            if self._replies or self._listener.utterance is not None:
                self._touch()
            idle_left = self._active_at + limits.idle_seconds - now
            if idle_left <= 0:
                return "idle"
            await asyncio.sleep(min(idle_left, last_moment - now))

    # -- commands ---------------------------------------------------------------------------------------------------

    def execute(self, command: cmd.Command) -> None:
        """Carry out what the client asks. Raises Refused, and then nothing has changed."""
        match command:
            case cmd.AppendAudio(pcm, rate):
                self._listener.feed(pcm, rate, self._now())
                return
            case cmd.Configure(options):
                self._options = options
                self._listener.configure(options)
            case cmd.CommitAudio():
                self._listener.commit()
            case cmd.ClearAudio():
                self._listener.clear()
                self.emit(ev.AudioCleared())
            case cmd.CreateItem(item, previous_item_id):
                self._add_item(item if item.id else replace(item, id=self._new_id("item")), previous_item_id)
            case cmd.RetrieveItem(item_id):
                self.emit(ev.ItemRetrieved(self._conversation.get(item_id, "item_retrieve_invalid_item_id")))
            case cmd.DeleteItem(item_id):
                self._conversation.remove(item_id)
                self._remembrance.forget(item_id)
                self.emit(ev.ItemDeleted(item_id))
            case cmd.TruncateItem(item_id, audio_end_ms):
                self._truncate(item_id, audio_end_ms)
            case cmd.CreateReply():
                self._start_reply(command, Timeline())
            case cmd.CancelReply(reply_id):
                self._cancel_reply(reply_id)
        self._touch()

    def _add_item(self, item: Item, after: str | None = None) -> None:
        previous = self._conversation.add(item, after)
        self._remembrance.note(item)
        self.emit(ev.ItemAdded(item, previous))
        self.emit(ev.ItemDone(item, previous))

    def _truncate(self, item_id: str, audio_end_ms: int) -> None:
        """The client tells how far it played a reply: what was heard, better known than by the playout clock."""
        self._conversation.get(item_id, "item_truncate_invalid_item_id")
        spoken = self._spoken.get(item_id)
        if spoken is not None:
            self._set_text(item_id, spoken.heard(audio_end_ms / 1000), complete=False)
        self.emit(ev.ItemTruncated(item_id, audio_end_ms))

    def _cancel_reply(self, reply_id: str | None) -> None:
        reply = self._current
        if reply is None or not reply.active or reply_id not in (None, reply.plan.reply_id):
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        reply.cancel("client_cancelled")

    # -- the user's turn (called by the listener) ---------------------------------------------------------------------

    def voice_began(self, utterance: Utterance) -> None:
        self._touch()
        if self._options.turn is None:
            utterance.confirmed = True
        elif not self._replies:
            self._give_floor(utterance, self._options.turn)

    def voice_goes_on(self, utterance: Utterance, speech_ms: int) -> None:
        """While the agent talks, a voice first makes it pause; only when it lasts does the user have the floor."""
        self._touch()
        turn = self._options.turn
        if utterance.confirmed or turn is None:
            return
        reply = self._current
        if reply is None or not turn.interrupt_reply or speech_ms >= self._settings.turn.interrupt_ms:
            self._give_floor(utterance, turn)
        else:
            reply.pause()

    def voice_paused(self, utterance: Utterance) -> None:
        if utterance.confirmed:
            utterance.anticipate()
        elif self._current is not None:
            self._current.resume()

    def words_so_far(self, utterance: Utterance, text: str) -> None:
        if utterance.confirmed:
            self.emit(ev.TranscriptPartial(utterance.item_id, text))

    def turn_ended(self, utterance: Utterance, end: int) -> None:
        if not utterance.confirmed:  # a noise: whatever paused for it goes on
            utterance.close()
            if self._current is not None:
                self._current.resume()
            return
        if self._options.turn is not None:
            self.emit(ev.SpeechStopped(utterance.item_id, milliseconds(end)))
        self.emit(ev.AudioCommitted(utterance.item_id, self._conversation.last_id))
        item = Item(utterance.item_id, "user", (Part("audio", ""),))
        previous = self._conversation.add(item)
        self.emit(ev.ItemAdded(item, previous))
        self.emit(ev.ItemDone(item, previous))
        timeline = Timeline(speech_end=utterance.speech_ended_at or None, committed=self._now())
        self._tasks.create_task(self._understand(utterance, timeline, self._options.turn), name="understand")

    def _give_floor(self, utterance: Utterance, turn: TurnOptions) -> None:
        utterance.confirmed = True
        self.emit(ev.SpeechStarted(utterance.item_id, milliseconds(utterance.start)))
        if turn.interrupt_reply:
            self._stop_talking("turn_detected")

    async def _understand(self, utterance: Utterance, timeline: Timeline, turn: TurnOptions | None) -> None:
        """Get the words of a finished turn, and answer."""
        failure: EngineError | None = None
        text = ""
        try:
            text = (await utterance.transcript()).text.strip()
        except EngineError as error:
            failure = error
            log.warning("session %s: recognition failed: %s", self.id, error.code)
            self.emit(ev.TranscriptFailed(utterance.item_id, f"asr_{error.code}", error.message))
        else:
            self._set_text(utterance.item_id, text)
            self.emit(ev.TranscriptDone(utterance.item_id, text, utterance.seconds))
        finally:
            utterance.close()
        timeline.transcribed = self._now()
        if turn is None or not turn.create_reply or not (text or failure):
            return
        while self._current is not None and self._current.active:  # one that may not be interrupted
            await self._current.done.wait()
        speaking = self._listener.utterance
        if speaking is not None and speaking.confirmed:
            return  # the user has gone on: the next turn's answer will be to both
        self._start_reply(cmd.CreateReply(), timeline, utterance.item_id, failure)

    # -- the agent's turn -------------------------------------------------------------------------------------------

    @property
    def _current(self) -> Reply | None:
        return self._replies[-1] if self._replies else None

    def _start_reply(
        self,
        request: cmd.CreateReply,
        timeline: Timeline,
        user_item_id: str | None = None,
        failure: EngineError | None = None,
    ) -> None:
        if self._current is not None and self._current.active:
            raise Refused("conversation_already_has_active_response", "a response is already in progress")
        options, engines = self._options, self._shared.engines
        plan = ReplyPlan(
            reply_id=self._new_id("resp"),
            item_id=self._new_id("item"),
            request=LlmRequest(self._prompt(request), request.max_output_tokens or options.max_output_tokens),
            modality=request.modality or options.modality,
            rate=options.output_rate,
            voice=options.voice,
            language=options.language,
            speed=options.speed,
            stored=request.store,
            metadata=request.metadata,
            user_item_id=user_item_id,
        )
        reply = Reply(
            plan,
            llm=engines.llm,
            tts=engines.tts,
            apology=self._shared.apology,
            playout=self._playout,
            frame_seconds=self._settings.playout.frame_ms / 1000,
            deadlines=self._settings.deadlines,
            host=self,
            timeline=timeline,
            failure=failure,
        )
        self._replies.append(reply)
        reply.start(self._tasks)
        reply.release()
        if self._listener.utterance is not None and options.turn is not None:
            reply.pause()

    def _prompt(self, request: cmd.CreateReply) -> tuple[Message, ...]:
        memory = self._settings.memory
        items = self._conversation.items if request.input is None else request.input
        return context.build(
            self._options.instructions if request.instructions is None else request.instructions,
            self._remembrance.earlier if request.input is None else (),
            [Message(item.role, item.text) for item in items if item.text],
            turn_limit=memory.turns,
            token_budget=memory.tokens,
        )

    def _stop_talking(self, reason: ev.ReplyReason) -> None:
        for reply in list(self._replies):
            reply.cancel(reason)

    # -- called by replies ------------------------------------------------------------------------------------------

    def reply_item_added(self, item: Item, *, stored: bool) -> str | None:
        return self._conversation.add(item) if stored else None

    def reply_heard(self, reply: Reply, item: Item) -> None:
        self._spoken[item.id] = reply.spoken
        if len(self._spoken) > REPLIES_KEPT:
            self._spoken.popitem(last=False)
        if reply.plan.stored:
            self._set_text(item.id, item.text, complete=item.status == "completed", kind=reply.plan.modality)

    def reply_done(self, reply: Reply) -> None:
        if reply.plan.user_item_id is not None:
            self.emit(ev.TurnTimed(reply.plan.user_item_id, reply.plan.reply_id, reply.timeline))
        log.info("session %s: reply %s: %s", self.id, reply.plan.reply_id, reply.timeline.parts())

    def reply_over(self, reply: Reply) -> None:
        self._replies.remove(reply)
        self._touch()

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _set_text(
        self, item_id: str, text: str, *, complete: bool = True, kind: Literal["audio", "text"] = "audio"
    ) -> None:
        item = self._conversation.set_text(item_id, text, "completed" if complete else "incomplete", kind)
        if item is not None:
            self._remembrance.note(item)

    def _endpointer(self, options: SessionOptions) -> Endpointer:
        return FixedSilence(options.turn or TurnOptions(), self._settings.turn.silence_ms)

    def _touch(self) -> None:
        self._active_at = self._now()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def milliseconds(position: int) -> int:
    return position * 1000 // EAR_RATE
