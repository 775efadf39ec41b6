"""Response: one answer of the agent, generated, synthesized and played.

    model ─▶ generate ─clauses─▶ synthesize ─steps─▶ play ─▶ emit

It is the unit of cancellation: once `cancel` returns, nothing of it is sent any more. Until `release` it is only
prepared: no event leaves and no tool runs, so it can be thrown away as if it had never been.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from voiceagent.audio.playout import Playout
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, ToolCall
from voiceagent.session.context import Dialogue
from voiceagent.session.conversation import Item
from voiceagent.session.events import (
    Event,
    ResponseDone,
    ResponsePlayed,
    ResponseReason,
    ResponseStarted,
    ResponseStatus,
    ResponseThinking,
    TokenUsage,
)
from voiceagent.session.generation import (
    CLAUSES_AHEAD,
    PIECES_AHEAD,
    Generator,
    LeftOut,
    ResponsePlan,
    Step,
    StepQueue,
    SynthesizedAudio,
    Synthesizer,
)
from voiceagent.session.playout import ResponsePlayout
from voiceagent.session.settings import DeadlineSection
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import Timeline, now
from voiceagent.tts.clauses import Clause

THINKING_CHARS = 20_000
"""The most of a model's reasoning that is kept while the response is only prepared."""


class ResponseState(Enum):
    PREPARING = auto()
    ACTIVE = auto()
    """Released, and not yet sent to its end."""
    SENT = auto()
    OVER = auto()
    """Played to its end, or cancelled."""


class Response:
    def __init__(
        self,
        plan: ResponsePlan,
        *,
        engines: Engines,
        deadlines: DeadlineSection,
        clock: Playout,
        dialogue: Dialogue,
        emit: Callable[["Response", Event], None],
        report: Callable[[EngineError], None],
    ) -> None:
        """`clock` is the session's playout clock. `emit` takes this response and what comes of it, in order: it is
        quick and does not raise. Of these events a ResponseDone still lacks the calls that are made of `called`.
        `report` takes what fails without ending it."""
        self.plan = plan
        self.timeline = Timeline()
        self.spoken = SpokenText()
        self.done = asyncio.Event()
        """Set once nothing more of it will be sent."""
        self.over = asyncio.Event()
        """Set once the client has played it to its end, or will not."""
        self.failure: EngineError | None = None
        """Why it has failed, once it has."""
        self.called: tuple[ToolCall, ...] = ()
        """The tools it calls, known once it is complete."""
        self._dialogue = dialogue
        self._emit_event = emit
        self._state = ResponseState.PREPARING
        self._released = asyncio.Event()
        self._thinking = ""
        self._generator = Generator(
            plan, llm=engines.llm, deadlines=deadlines, timeline=self.timeline, show_thinking=self._show_thinking
        )
        self._synthesizer = Synthesizer(
            plan, tts=engines.tts, deadlines=deadlines, timeline=self.timeline, spoken=self.spoken, report=report
        )
        self._playout = ResponsePlayout(
            plan, clock=clock, timeline=self.timeline, spoken=self.spoken, dialogue=dialogue, emit=self._emit
        )
        self._task: asyncio.Task[None] | None = None

    # -- from the session -------------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to prepare it."""
        self.timeline.prepared = now()
        self._task = tasks.create_task(self.run(), name=f"response {self.plan.response_id}")

    def release(self) -> None:
        """The turn is committed: what is ready goes out."""
        if self._state is not ResponseState.PREPARING:
            return
        self._state = ResponseState.ACTIVE
        plan = self.plan
        self._emit(ResponseStarted(plan.response_id, plan.modality, plan.max_tokens, plan.stored, plan.metadata))
        if self._thinking:
            self._emit(ResponseThinking(plan.response_id, self._thinking))
        self._released.set()

    def pause(self) -> None:
        """Send nothing more for now: the client falls silent when its small lead is played."""
        self._playout.pause()

    def resume(self) -> None:
        """Go on from the very sample where it stopped."""
        self._playout.resume()

    def cancel(self, reason: ResponseReason) -> None:
        """End it now, wherever it is. What was heard of it becomes its text."""
        state, self._state = self._state, ResponseState.OVER
        if state in (ResponseState.ACTIVE, ResponseState.SENT):
            item = self._playout.item(self.spoken.heard(self.heard_seconds), "incomplete")
            self.timeline.interrupted = now()
            self._playout.flush()
            self._set_text(item)
            if state is ResponseState.ACTIVE:
                self._emit_done(item, "cancelled", reason=reason)
            self._end()
        if self._task is not None:
            self._task.cancel()

    def report_played(self, seconds: float) -> None:
        """The client has played so much of it by now, and goes on."""
        self._playout.report(seconds)

    def report_stopped(self, seconds: float) -> None:
        """The client has played so much of it, and no more."""
        self._playout.final_report = seconds

    # -- what it is doing -------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Released and not yet sent to its end."""
        return self._state is ResponseState.ACTIVE

    @property
    def audible(self) -> bool:
        """Whether the client is playing it, or is to play more of it."""
        return self._state in (ResponseState.ACTIVE, ResponseState.SENT) and self._playout.audible

    @property
    def left(self) -> float | None:
        """Seconds until the client has played it to its end; None while more is to be sent."""
        return self._playout.left if self._state is ResponseState.SENT else None

    @property
    def heard_seconds(self) -> float:
        """How much of it the client has played."""
        return self._playout.played()

    @property
    def lag(self) -> float:
        """Seconds by which the client plays later than the playout clock thinks, by its reports."""
        return self._playout.lag

    @property
    def sounded_seconds(self) -> float:
        """How much of it was played by the clock alone, by a client that holds nothing back."""
        return self._playout.by_clock()

    @property
    def paused(self) -> bool:
        return self._playout.paused

    @property
    def tokens(self) -> int:
        """Pieces of text the model has sent."""
        return self._generator.tokens

    # -- its task ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Generate, synthesize and play it; returns when the client has played it to its end."""
        clauses: StepQueue = asyncio.Queue(CLAUSES_AHEAD)
        steps: StepQueue = asyncio.Queue(PIECES_AHEAD)
        async with asyncio.TaskGroup() as tasks:
            if self.plan.phrase is not None:
                stations = [tasks.create_task(self._synthesizer.recite(self.plan.phrase, steps))]
            elif self.plan.modality == "text":
                stations = [tasks.create_task(self._generator.run(steps), name="llm")]
            else:
                stations = [
                    tasks.create_task(self._generator.run(clauses), name="llm"),
                    tasks.create_task(self._synthesizer.run(clauses, steps), name="tts"),
                ]
            await self._play(steps)
            for station in stations:
                station.cancel()
        await self._playout.played_out()
        self._state = ResponseState.OVER
        self.timeline.heard = now()
        self._end()

    async def _play(self, steps: StepQueue) -> None:
        """Send what is ready, at the pace of the playout, until the end."""
        called: list[ToolCall] = []
        await self._released.wait()
        step = await self._first_step(steps)
        while True:
            match step:
                case Clause():
                    self._playout.begin(step)
                case SynthesizedAudio():
                    await self._playout.send(step.pcm)
                case LeftOut():
                    self._playout.leave_out()
                case ToolCall():
                    called.append(step)
                case Completed():
                    self._finish(step, called)
                    return
                case EngineError():
                    if self.plan.modality == "audio":
                        self._playout.leave_out()
                        await self._playout.phrase(self.plan.apology)
                    self._finish(step, called)
                    return
            step = await steps.get()

    async def _first_step(self, steps: StepQueue) -> Step:
        """A filler is said meanwhile when the model takes too long for its first word."""
        plan = self.plan
        if plan.filler_seconds is not None:
            try:
                async with asyncio.timeout(plan.filler_seconds):
                    return await steps.get()
            except TimeoutError:
                filler = None
                if self.timeline.first_token is None:
                    filler = plan.fillers.next(self._dialogue.latest_words())
                if filler is not None:
                    self._dialogue.begin_with_filler(plan.item_id, filler.text)
                    await self._playout.phrase(filler, meanwhile=True)
        return await steps.get()

    def _show_thinking(self, text: str) -> None:
        if self._state is ResponseState.ACTIVE:
            self._emit(ResponseThinking(self.plan.response_id, text))
        elif len(self._thinking) < THINKING_CHARS:
            self._thinking += text

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finish(self, end: Completed | EngineError, called: list[ToolCall]) -> None:
        """All is sent."""
        self._playout.flush_text()  # what the voice had no sound for
        self._state = ResponseState.SENT
        self.timeline.sent = now()
        self.spoken.finish()
        complete = isinstance(end, Completed) and end.reason in ("stop", "tool_calls")
        if complete:
            self.called = tuple(called)
        item = self._playout.item(self.spoken.text, "completed" if complete else "incomplete")
        self._set_text(item)
        match end:
            case EngineError():
                self.failure = end
                self._emit_done(item, "failed", error=end)
            case Completed() if complete:
                self._emit_done(item, "completed", usage=end)
            case Completed():
                reason: ResponseReason = "max_output_tokens" if end.reason == "length" else "content_filter"
                self._emit_done(item, "incomplete", reason=reason, usage=end)

    def _set_text(self, item: Item) -> None:
        """Its text is known, as far as it was or will be heard."""
        if self._playout.item_added and self.plan.stored:
            complete = item.status == "completed"
            self._dialogue.set_text(item.id, item.text, complete=complete, kind=self.plan.modality)

    def _emit_done(
        self,
        item: Item,
        status: ResponseStatus,
        *,
        reason: ResponseReason | None = None,
        error: EngineError | None = None,
        usage: Completed | None = None,
    ) -> None:
        used = TokenUsage()
        if usage is not None:
            tokens = (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
            used = TokenUsage(*tokens, cost=usage.cost, endpoint=usage.endpoint)
        self._emit(
            ResponseDone(
                self.plan.response_id,
                item if self._playout.item_added else None,
                self._playout.previous_item_id,
                status,
                reason=reason,
                error_code=f"{error.stage}_{error.code}" if error else None,
                error_message=error.message if error else None,
                usage=used,
            )
        )
        self.done.set()

    def _end(self) -> None:
        self.over.set()
        self._emit(ResponsePlayed(self.plan.response_id))

    def _emit(self, event: Event) -> None:
        self._emit_event(self, event)
