"""One conversation: its life, and the commands of its client.

    feed ─▶ listener ─▶ utterance ─▶ turns ─user turn─▶ agent ─▶ reply (model ─▶ clauses ─▶ voice ─▶ playout) ─▶ emit
                                                          ▲        │
                                                          └─ calls ◀┘

`listener.py` hears, `turns.py` decides what is a turn and who has the floor, `agent.py` answers, `calls.py` runs the
tools that answers call for, which `toolkit.py` knows; `talk.py` is what they share. Every decision is taken in a plain
method; every wait is a task of the one task group in `run`.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from voiceagent.errors import Refused
from voiceagent.session import commands as cmd
from voiceagent.session import prompt
from voiceagent.session.audio_input import AudioInput
from voiceagent.session.context import SessionContext, SessionResources
from voiceagent.session.conversation import ApprovalResponse, FunctionCall, Item
from voiceagent.session.events import Event, ItemDeleted, ItemRetrieved, ItemTruncated
from voiceagent.session.memory_recorder import MemoryRecorder, memory_key
from voiceagent.session.options import SessionOptions
from voiceagent.session.response import Response
from voiceagent.session.response_manager import ResponseManager
from voiceagent.session.silence import IdleTimeout, SilencePrompter
from voiceagent.session.timeline import now
from voiceagent.session.turn_manager import TurnManager
from voiceagent.session.user_turn import TurnEndDetector
from voiceagent.turn.endpointing import Endpointer, EndpointingPolicy, endpointing_policy
from voiceagent.turn.options import TurnOptions

log = logging.getLogger(__name__)

End = Literal["idle", "expired", "finished"]
"""Why a session ends of itself: nobody did anything, the talk reached its longest time, or it was asked to end."""


class SessionEnded(Exception):
    """Not an error: it takes the task group down when the talk is over."""

    def __init__(self, end: End) -> None:
        self.end = end


class Session:
    def __init__(
        self,
        session_id: str,
        shared: SessionResources,
        options: SessionOptions,
        *,
        emit: Callable[[Event], None],
        new_id: Callable[[str], str],
        memory_recorder: MemoryRecorder,
        tenant: str = "",
        user: str = "",
    ) -> None:
        """`emit` is called for every event, in order; it must be quick and must not raise. `tenant` and `user`: see
        `llm.base.Caller`."""
        self.id = session_id
        self.ready = asyncio.Event()
        """Set when commands may come."""
        self._talk = talk = SessionContext(session_id, shared, options, emit, new_id, memory_recorder, tenant, user)
        self._agent = ResponseManager(talk)
        pauses = Endpointer(self._endpointer(options))
        self._turns = TurnManager(talk, self._agent, pauses)
        self._prompting = SilencePrompter(talk, self._agent)
        self._known_gaps: set[str] = set()
        self._listener = AudioInput(
            vad=shared.engines.vad.stream(),
            asr=shared.engines.asr,
            options=options,
            endpointer=self._endpointer,
            pausing=TurnEndDetector(pauses, shared.turn_model, talk.tasks),
            events=self._turns,
            tasks=talk.tasks,
            new_id=new_id,
            deadline=shared.settings.deadlines.asr_seconds,
            max_turn_seconds=shared.settings.turn.max_turn_seconds,
        )
        self._idling = IdleTimeout(
            talk,
            self._agent,
            heard_ms=lambda: self._listener.heard_ms,
            understanding=lambda: self._turns.understanding,
        )

    async def run(self) -> End:
        """Hold the conversation until it ends of itself or is cancelled. Nothing of it is left afterwards."""
        end: End = "idle"
        memory_recorder = self._talk.memory_recorder
        await memory_recorder.recall()
        try:
            async with self._talk.tasks as tasks:
                tasks.create_task(self._listener.run(), name="listener")
                tasks.create_task(self._listener.caption(), name="captions")
                tasks.create_task(memory_recorder.run(), name="memory")
                tasks.create_task(self._idling.run(), name="idling")
                self._talk.tools.use(self._talk.options.servers or ())
                self._configured()
                self._talk.touch()
                self.ready.set()
                raise SessionEnded(await self._watch())
        except* SessionEnded as ended:
            end = next(error.end for error in ended.exceptions if isinstance(error, SessionEnded))
        finally:
            self._agent.stop("client_cancelled")
            try:
                await memory_recorder.finish()
            finally:
                await self._talk.tools.close()
        return end

    async def _watch(self) -> End:
        """Wait until the talk has been idle or has lasted too long."""
        talk, limits = self._talk, self._talk.shared.settings.limits
        last_moment = now() + limits.session_seconds
        while now() < last_moment:
            if self._agent.busy:
                talk.touch()
            idle_left = talk.active_at + limits.idle_seconds - now()
            prompt_left = await self._prompting.check()
            if idle_left <= 0 or prompt_left is None:
                return "idle"
            await asyncio.sleep(min(idle_left, prompt_left, last_moment - now()))
        return "expired"

    def execute(self, command: cmd.Command) -> None:
        """Carry out what the client asks. Raises Refused, and then nothing has changed."""
        talk = self._talk
        match command:
            case cmd.AppendAudio(pcm, rate):
                self._listener.feed(pcm, rate, now())
                if talk.options.turn is None:  # nobody else looks whether there is a voice in it
                    talk.touch()
                return
            case cmd.Configure(options):
                talk.tools.use(options.servers or ())
                talk.options = options
                if options.user and not talk.user:
                    self._meet(options.user)
                self._listener.configure(options)
                self._turns.discard()
                self._configured()
            case cmd.CommitAudio():
                self._listener.commit()
            case cmd.ClearAudio():
                self._listener.clear()
            case cmd.CreateItem(ApprovalResponse() as item, previous_item_id):
                self._agent.calls.decide(item, previous_item_id)
                self._turns.discard()
            case cmd.CreateItem(item, previous_item_id):
                talk.add(item if item.id else replace(item, id=talk.new_id("item")), previous_item_id)
                talk.turns += isinstance(item, Item) and item.role == "user"
                self._turns.discard()
            case cmd.RetrieveItem(item_id):
                item = talk.conversation.get(item_id, "item_retrieve_invalid_item_id")
                result = talk.conversation.result(item) if isinstance(item, FunctionCall) else None
                talk.emit(ItemRetrieved(item, result))
            case cmd.DeleteItem(item_id):
                talk.conversation.remove(item_id)
                talk.memory_recorder.forget(item_id)
                talk.emit(ItemDeleted(item_id))
                self._turns.discard()
            case cmd.TruncateItem(item_id, audio_end_ms):
                talk.conversation.get(item_id, "item_truncate_invalid_item_id")
                self._agent.played(item_id, audio_end_ms)
                talk.emit(ItemTruncated(item_id, audio_end_ms))
                self._turns.discard()
            case cmd.ReportPlayed(item_id, audio_ms):
                self._agent.playing_reported(item_id, audio_ms)
                return
            case cmd.Interrupt():
                self._turns.interrupt()
            case cmd.EndSession():
                talk.tasks.create_task(self._finish(self._agent.current), name="end")
            case cmd.CreateResponse():
                self._create_reply(command)
            case cmd.CancelResponse(response_id):
                self._cancel_reply(response_id)
        talk.touch()

    def _configured(self) -> None:
        """The options are new."""
        options = self._talk.options
        self._agent.configure()
        unknown = prompt.unknown_names(options.instructions, options.variables) - self._known_gaps
        if unknown:
            self._known_gaps |= unknown
            log.warning("session %s: nothing fills %d names in the instructions", self.id, len(unknown))

    async def _finish(self, reply: Response | None) -> None:
        """End the talk once this is played."""
        if reply is not None:
            await reply.over.wait()
        raise SessionEnded("finished")

    def _meet(self, user: str) -> None:
        """The client has told who its user is."""
        talk = self._talk
        talk.user = user
        if talk.memory_recorder.bind(memory_key(talk.tenant, user)):
            talk.tasks.create_task(talk.memory_recorder.recall(), name="recall")

    def _create_reply(self, command: cmd.CreateResponse) -> None:
        if self._talk.options.listen_only:
            raise Refused("response_not_available", "this session only transcribes")
        if command == cmd.CreateResponse() and self._agent.calls.invited and self._answered_anyway:
            return
        if self._agent.answering is not None:
            raise Refused("conversation_already_has_active_response", "a response is already in progress")
        wait = self._listener.committing or self._turns.understanding or self._agent.calls.running
        self._agent.release(self._agent.prepare(command, after=self._understood if wait else None))

    @property
    def _answered_anyway(self) -> bool:
        """Whether the results that the client was shown are being answered, or will be with the user's turn: clients
        ask for the answer as soon as they see a result."""
        return self._agent.answering_results or self._talk.user_speaks

    async def _understood(self) -> None:
        """Wait for the words of all that was committed, and the results of what was called. Raises EngineError when
        the last turn has none."""
        await self._listener.caught_up()
        await self._turns.understood()
        await self._agent.calls.settled()

    def _cancel_reply(self, response_id: str | None) -> None:
        reply = self._agent.answering
        if reply is None or response_id not in (None, reply.plan.response_id):
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        reply.cancel("client_cancelled")

    def _endpointer(self, options: SessionOptions) -> EndpointingPolicy:
        return endpointing_policy(options.turn or TurnOptions(), self._talk.shared.settings.turn.silence_ms)
