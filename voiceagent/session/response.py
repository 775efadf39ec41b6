"""One answer of the agent: made (`making.py`), and sent at the pace at which it is played (`sending.py`).

It is the unit of cancellation: once `cancel` returns, nothing of it is sent any more. Until `release` it is only
prepared: no event leaves and no tool runs, so it can be thrown away as if it had never been.
"""

import asyncio
from enum import Enum, auto

from voiceagent.audio.playout import Playout
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, ToolCall
from voiceagent.session.conversation import FunctionCall, Item
from voiceagent.session.events import (
    ResponseDone,
    ResponsePlayed,
    ResponseReason,
    ResponseStarted,
    ResponseStatus,
    ResponseThinking,
    TokenUsage,
)
from voiceagent.session.generation import ResponseGenerator, Step, SynthesizedAudio
from voiceagent.session.phrases import Phrase
from voiceagent.session.plan import ResponseHost, ResponsePlan
from voiceagent.session.playout import ResponsePlayout
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import Timeline, now
from voiceagent.settings import DeadlineSection
from voiceagent.tts.clauses import Clause

THOUGHT_CHARS = 20_000
"""The most of a model's reasoning that is kept while the reply is only prepared."""


class ResponseState(Enum):
    PREPARING = auto()
    ACTIVE = auto()
    SENT = auto()
    OVER = auto()


class Response:
    def __init__(
        self,
        plan: ResponsePlan,
        *,
        engines: Engines,
        apology: Phrase,
        playout: Playout,
        deadlines: DeadlineSection,
        host: ResponseHost,
    ) -> None:
        """`apology` is said when an engine fails."""
        self.plan = plan
        self.timeline = Timeline()
        self.done = asyncio.Event()
        """Set once nothing more of it will be sent."""
        self.over = asyncio.Event()
        """Set once the client has played it to its end, or will not."""
        self.calls: tuple[FunctionCall, ...] = ()
        """The tools it has called, known once it is sent."""
        self._apology = apology
        self._host = host
        self._stand = ResponseState.PREPARING
        self._released = asyncio.Event()
        self._thoughts = ""
        self._called: list[ToolCall] = []
        self.spoken = SpokenText()
        self._sender = ResponsePlayout(plan, playout=playout, timeline=self.timeline, spoken=self.spoken, host=host)
        self._maker = ResponseGenerator(
            plan,
            llm=engines.llm,
            tts=engines.tts,
            deadlines=deadlines,
            timeline=self.timeline,
            spoken=self.spoken,
            thinks=self._thinks,
        )
        self._task: asyncio.Task[None] | None = None

    # -- from the session -------------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to prepare it."""
        self.timeline.prepared = now()
        self._task = tasks.create_task(self._run(), name=f"reply {self.plan.response_id}")

    def release(self) -> None:
        """The turn is committed: what is ready goes out."""
        if self._stand is not ResponseState.PREPARING:
            return
        self._stand = ResponseState.ACTIVE
        plan = self.plan
        self._host.emit(ResponseStarted(plan.response_id, plan.modality, plan.max_tokens, plan.stored, plan.metadata))
        if self._thoughts:
            self._host.emit(ResponseThinking(plan.response_id, self._thoughts))
        self._released.set()

    def pause(self) -> None:
        """Send nothing more for now: the client falls silent when its small lead is played."""
        self._sender.pause()

    def resume(self) -> None:
        """Go on from the very sample where it stopped."""
        self._sender.resume()

    def cancel(self, reason: ResponseReason) -> None:
        """End it now, wherever it is. What was heard of it becomes its text."""
        stand, self._stand = self._stand, ResponseState.OVER
        if stand in (ResponseState.ACTIVE, ResponseState.SENT):
            item = self._sender.item(self.spoken.heard(self.heard_seconds), "incomplete")
            self.timeline.interrupted = now()
            self._sender.flush()
            if self._sender.item_added:
                self._host.response_heard(self, item)
            if stand is ResponseState.ACTIVE:
                self._emit_done(item, "cancelled", reason=reason)
            self._end()
        if self._task is not None:
            self._task.cancel()

    def report_played(self, seconds: float) -> None:
        """The client has played so much of it by now, and goes on."""
        self._sender.report(seconds)

    def report_stopped(self, seconds: float) -> None:
        """The client has played so much of it, and no more."""
        self._sender.final_report = seconds

    # -- what it is doing -------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Released and not yet sent to its end."""
        return self._stand is ResponseState.ACTIVE

    @property
    def audible(self) -> bool:
        """Whether the client is playing it, or is to play more of it."""
        return self._stand in (ResponseState.ACTIVE, ResponseState.SENT) and self._sender.audible

    @property
    def left(self) -> float | None:
        """Seconds until the client has played it to its end; None while more is to be sent."""
        return self._sender.left if self._stand is ResponseState.SENT else None

    @property
    def heard_seconds(self) -> float:
        """How much of it the client has played."""
        return self._sender.played()

    @property
    def lag(self) -> float:
        """Seconds by which the client plays later than the playout clock thinks, by its reports."""
        return self._sender.lag

    @property
    def sounded_seconds(self) -> float:
        """The same by the clock alone, for a client that holds nothing back."""
        return self._sender.by_clock()

    @property
    def paused(self) -> bool:
        return self._sender.paused

    @property
    def tokens(self) -> int:
        """Pieces of text the model has sent."""
        return self._maker.tokens

    # -- its task ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            workers = self._maker.start(tasks)
            await self._send()
            for worker in workers:
                worker.cancel()
        await self._sender.played_out()
        self._stand = ResponseState.OVER
        self.timeline.heard = now()
        self._end()

    async def _send(self) -> None:
        """Send what is ready, at the pace of the playout, until the end."""
        await self._released.wait()
        step = await self._first_step()
        while True:
            match step:
                case Clause():
                    self._sender.begin(step)
                case SynthesizedAudio():
                    await self._sender.send(step.pcm)
                case ToolCall():
                    self._called.append(step)
                case Completed():
                    self._finish(step)
                    return
                case EngineError():
                    if self.plan.modality == "audio":
                        await self._sender.phrase(self._apology)
                    self._finish(step)
                    return
            step = await self._maker.steps.get()

    async def _first_step(self) -> Step:
        """Something is said meanwhile when the model takes too long for its first word."""
        if self.plan.filler_seconds is not None:
            try:
                async with asyncio.timeout(self.plan.filler_seconds):
                    return await self._maker.steps.get()
            except TimeoutError:
                filler = self._host.response_filler(self) if self.timeline.first_token is None else None
                if filler is not None:
                    await self._sender.phrase(filler, meanwhile=True)
        return await self._maker.steps.get()

    def _thinks(self, text: str) -> None:
        if self._stand is ResponseState.ACTIVE:
            self._host.emit(ResponseThinking(self.plan.response_id, text))
        elif len(self._thoughts) < THOUGHT_CHARS:
            self._thoughts += text

    # -- the end ----------------------------------------------------------------------------------------------------

    def _finish(self, end: Completed | EngineError) -> None:
        """All is sent."""
        self._sender.say()  # what the voice had no sound for
        self._stand = ResponseState.SENT
        self.timeline.sent = now()
        self.spoken.finish()
        whole = isinstance(end, Completed) and end.reason in ("stop", "tool_calls")
        item = self._sender.item(self.spoken.text, "completed" if whole else "incomplete")
        if whole and self._called:
            self.calls = self._host.response_called(self, self._called)
        match end:
            case EngineError():
                self._emit_done(item, "failed", error=end)
            case Completed() if whole:
                self._emit_done(item, "completed", usage=end)
            case Completed():
                reason: ResponseReason = "max_output_tokens" if end.reason == "length" else "content_filter"
                self._emit_done(item, "incomplete", reason=reason, usage=end)
        if self._sender.item_added:
            self._host.response_heard(self, item)

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
        self._host.emit(
            ResponseDone(
                self.plan.response_id,
                item if self._sender.item_added else None,
                self._sender.previous_item_id,
                status,
                reason=reason,
                error_code=f"{error.stage}_{error.code}" if error else None,
                error_message=error.message if error else None,
                usage=used,
                calls=self.calls,
            )
        )
        self.done.set()

    def _end(self) -> None:
        self.over.set()
        self._host.emit(ResponsePlayed(self.plan.response_id))
        self._host.response_over(self)
