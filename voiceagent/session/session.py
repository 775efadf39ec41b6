"""Session: one conversation, its life, and the commands of its client.

    audio ─▶ AudioInput ─turn events─▶ TurnManager ─user turn─▶ ResponseManager ─▶ Response ─▶ emit
                                                                       ▲              │
                                                                    results         calls
                                                                       └─ ToolCalls ◀─┘

    a Response: model ─▶ clauses ─▶ speech ─▶ playout

Read on in this order: `commands.py` and `events.py` are all that a client's protocol and a session say to each other.
`audio_input.py` hears and yields the events of a `user_turn.py`; `turn_manager.py` decides whose turn it is to speak;
`response_manager.py` answers by a `response.py`, whose stations are `generation.py` and `playout.py`; `tool_calls.py`
runs the tools that answers call for, which `tools.py` knows; `prompt.py` is what the model is asked. `context.py` is
what they share. Every decision is taken in a plain method; every wait is a task of the one task group in `run`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Literal

from voiceagent.errors import Refused
from voiceagent.session import commands as cmd
from voiceagent.session import prompt
from voiceagent.session.audio_input import AudioInput
from voiceagent.session.context import Dialogue, SessionContext, SessionResources
from voiceagent.session.conversation import ApprovalResponse, Conversation, FunctionCall, Item
from voiceagent.session.events import Event, ItemDeleted, ItemRetrieved, ItemTruncated
from voiceagent.session.memory_recorder import MemoryRecorder, memory_key
from voiceagent.session.options import SessionOptions
from voiceagent.session.response import Response
from voiceagent.session.response_manager import ResponseManager
from voiceagent.session.silence import IdleTimeout, SilencePrompter
from voiceagent.session.timeline import now
from voiceagent.session.tools import SessionTools
from voiceagent.session.turn_manager import TurnManager
from voiceagent.turn.endpointing import Endpointer, endpointing_policy
from voiceagent.turn.options import TurnOptions

log = logging.getLogger(__name__)

End = Literal["idle", "expired", "finished"]
"""Why a session ends of itself: nobody did anything, it reached its longest time, or it was asked to end."""


class SessionEnded(Exception):
    """Not an error: it takes the task group down when the session is over."""

    def __init__(self, end: End) -> None:
        self.end = end


class Session:
    def __init__(
        self,
        session_id: str,
        resources: SessionResources,
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
        engines, settings = resources.engines, resources.settings
        self._context = context = SessionContext(session_id, options, emit, new_id, tenant, user)
        self._memory_recorder = memory_recorder
        memory_recorder.report = partial(context.failed, "memory")
        self._dialogue = Dialogue(memory_recorder, emit)
        self._duration = settings.duration
        self._unfilled_names: set[str] = set()
        self._tools = SessionTools(
            session_id,
            resources.toolbox,
            resources.tool_server,
            conversation=self._dialogue.conversation,
            tasks=context.tasks,
            emit=emit,
            new_id=new_id,
        )
        self._responses = ResponseManager(context, resources, self._dialogue, self._tools)
        policy = endpointing_policy(options.turn or TurnOptions(), settings.turn.silence_ms)
        endpointer = Endpointer(policy, resources.turn_model, context.tasks)
        self._audio_input = AudioInput(
            vad=engines.vad.stream(),
            asr=engines.asr,
            endpointer=endpointer,
            options=options,
            settings=settings.turn,
            asr_deadline=settings.deadlines.asr_seconds,
            tasks=context.tasks,
            new_id=new_id,
        )
        self._turns = TurnManager(context, self._dialogue, self._responses, endpointer, settings)
        self._silence = SilencePrompter(context, self._responses, self._turns, settings.silence)
        self._idle_timeout = IdleTimeout(context, self._dialogue, self._responses, self._audio_input, self._turns)

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""
        return self._dialogue.conversation

    @property
    def busy(self) -> bool:
        """Whether the agent talks, or is about to."""
        return self._responses.busy

    async def run(self) -> End:
        """Hold the conversation until it ends of itself or is cancelled. Nothing of it is left afterwards."""
        end: End = "idle"
        context, memory_recorder = self._context, self._memory_recorder
        await memory_recorder.recall()
        try:
            async with context.tasks as tasks:
                tasks.create_task(self._hear(), name="audio input")
                tasks.create_task(self._turns.caption(), name="captions")
                tasks.create_task(memory_recorder.run(), name="memory")
                tasks.create_task(self._idle_timeout.run(), name="idle timeout")
                self._tools.configure(context.options.tools, context.options.servers or ())
                self._configured()
                context.touch()
                self.ready.set()
                raise SessionEnded(await self._watch())
        except* SessionEnded as ended:
            end = next(error.end for error in ended.exceptions if isinstance(error, SessionEnded))
        finally:
            self._responses.stop("client_cancelled")
            try:
                await memory_recorder.finish()
            finally:
                await self._tools.close()
        return end

    async def _hear(self) -> None:
        """Let the turn manager handle all that the microphone brings."""
        try:
            async with aclosing(self._audio_input.events()) as events:
                async for event in events:
                    self._turns.handle(event)
        finally:
            self._turns.close()

    async def _watch(self) -> End:
        """Wait until the session has been idle or has lasted too long."""
        context = self._context
        last_moment = now() + self._duration.session_seconds
        while now() < last_moment:
            if self._responses.busy or self._turns.listening:
                context.touch()
            idle_left = context.active_at + self._duration.idle_seconds - now()
            prompt_left = await self._silence.check()
            if idle_left <= 0 or prompt_left is None:
                return "idle"
            await asyncio.sleep(min(idle_left, prompt_left, last_moment - now()))
        return "expired"

    def execute(self, command: cmd.Command) -> None:
        """Carry out what the client asks. Raises Refused, and then nothing has changed."""
        context, dialogue = self._context, self._dialogue
        match command:
            case cmd.AppendAudio(pcm, rate):
                self._audio_input.feed(pcm, rate, now())
                if context.options.turn is None:  # nobody else looks whether there is a voice in it
                    context.touch()
                return
            case cmd.Configure(options):
                self._configure(options)
            case cmd.CommitAudio():
                self._audio_input.commit()
            case cmd.ClearAudio():
                self._audio_input.clear()
            case cmd.CreateItem(ApprovalResponse() as item, previous_item_id):
                self._responses.calls.decide(item, previous_item_id)
                self._turns.discard()
            case cmd.CreateItem(item, previous_item_id):
                dialogue.add(item if item.id else replace(item, id=context.new_id("item")), previous_item_id)
                context.turns += isinstance(item, Item) and item.role == "user"
                self._turns.discard()
            case cmd.RetrieveItem(item_id):
                item = dialogue.conversation.get(item_id, "item_retrieve_invalid_item_id")
                result = dialogue.conversation.result(item) if isinstance(item, FunctionCall) else None
                context.emit(ItemRetrieved(item, result))
            case cmd.DeleteItem(item_id):
                dialogue.remove(item_id)
                context.emit(ItemDeleted(item_id))
                self._turns.discard()
            case cmd.TruncateItem(item_id, audio_end_ms):
                dialogue.conversation.get(item_id, "item_truncate_invalid_item_id")
                self._responses.report_played(item_id, audio_end_ms)
                context.emit(ItemTruncated(item_id, audio_end_ms))
                self._turns.discard()
            case cmd.ReportPlayed(item_id, audio_ms):
                self._responses.report_playing(item_id, audio_ms)
                return
            case cmd.Interrupt(withdraw):
                self._turns.interrupt(withdraw=withdraw)
            case cmd.EndSession():
                context.tasks.create_task(self._finish(self._responses.current), name="end")
            case cmd.CreateResponse():
                self._create_response(command)
            case cmd.CancelResponse(response_id):
                if not self._turns.cancel_deferred():
                    self._responses.cancel(response_id, "client_cancelled")
        context.touch()

    def _configure(self, options: SessionOptions) -> None:
        """Take new options. Raises Refused."""
        context = self._context
        self._tools.configure(options.tools, options.servers or ())
        context.options = options
        if options.user and not context.user:
            self._identify(options.user)
        self._audio_input.configure(options)
        self._turns.discard()
        self._configured()

    def _configured(self) -> None:
        """The options are new."""
        options = self._context.options
        self._responses.configure()
        unfilled = prompt.unknown_names(options.instructions, options.variables) - self._unfilled_names
        if unfilled:
            self._unfilled_names |= unfilled
            log.warning("session %s: instructions: nothing fills %d names", self.id, len(unfilled))

    def _identify(self, user: str) -> None:
        """The client has said who its user is."""
        context, memory_recorder = self._context, self._memory_recorder
        context.user = user
        if memory_recorder.bind(memory_key(context.tenant, user)):
            context.tasks.create_task(memory_recorder.recall(), name="recall")

    async def _finish(self, response: Response | None) -> None:
        """End the session once this is played."""
        if response is not None:
            await response.over.wait()
        raise SessionEnded("finished")

    def _create_response(self, command: cmd.CreateResponse) -> None:
        responses = self._responses
        if self._context.options.listen_only:
            raise Refused("response_not_available", "this session only transcribes")
        if command == cmd.CreateResponse() and responses.calls.client_saw_result and responses.answering_results:
            return  # clients ask for the answer as soon as they see a result
        if responses.active is not None:
            raise Refused("conversation_already_has_active_response", "a response is already in progress")
        if self._turns.defer(command):
            return
        wait = self._audio_input.commits_waiting or self._turns.understanding or responses.calls.running
        if command.answers_turns:
            self._turns.claim(self._audio_input.commits_waiting)
        responses.release(responses.prepare(command, after=self._understood if wait else None))

    async def _understood(self) -> None:
        """Wait for the words of all that was committed, and the results of what was called. Raises EngineError when
        the last turn has none."""
        await self._audio_input.caught_up()
        await self._turns.understood()
        await self._responses.calls.settled()
