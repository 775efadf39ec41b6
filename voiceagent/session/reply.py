"""One answer of the agent: text from the model, cut into clauses, spoken, and sent at the pace at which it is played.

It is the unit of cancellation: once `cancel` returns, nothing of it is sent any more. Until `release` it is only
prepared: no event leaves, so it can be thrown away as if it had never been.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol, TypeVar

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.playout import Playout
from voiceagent.audio.resample import Resampler
from voiceagent.errors import EngineError, Stage
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, Message, TextDelta
from voiceagent.session.clock import now
from voiceagent.session.events import (
    Event,
    ReplyAudio,
    ReplyDone,
    ReplyItemAdded,
    ReplyPlayed,
    ReplyReason,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    Usage,
)
from voiceagent.session.heard import SpokenText
from voiceagent.session.items import Item, ItemStatus, Part
from voiceagent.session.options import Modality
from voiceagent.session.timeline import Timeline
from voiceagent.settings import DeadlineSection
from voiceagent.tts.base import TtsEngine, TtsRequest, WordTiming
from voiceagent.tts.clauses import Clause, ClauseSplitter

T = TypeVar("T")

CLAUSES_AHEAD = 64
"""Clauses the model may be ahead of the voice; then its stream is read no further."""
PIECES_AHEAD = 16
"""Pieces of audio (a clause has one or a few) the voice may be ahead of the playout, so that an interrupted answer has
cost little."""

PAUSE_SECONDS = 1.0
"""How long a pause lasts without a further sign of the user's voice: then no audio comes that could end it."""
TICK = 1e-6
"""Seconds that are not worth waiting for: what rounding leaves over of two equal times."""


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """What to answer and how. `rate` in Hz; `stored` False keeps it out of the conversation; `user_item_id` is the
    spoken turn it answers."""

    reply_id: str
    item_id: str
    request: LlmRequest
    modality: Modality
    rate: int
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    stored: bool = True
    user_item_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Apology:
    """What is said when an engine fails, rendered beforehand since the voice itself may be what failed."""

    text: str
    pcm: Pcm
    rate: int


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of the current clause's audio at the plan's rate."""

    pcm: Pcm
    words: tuple[WordTiming, ...] = ()
    last: bool = False
    """Nothing more of this clause comes."""


Step = Clause | Sound | Completed | EngineError
"""What the playout takes in order: a clause begins, its audio, the end, or the end by a failure."""


class ReplyHost(Protocol):
    """The session, as its reply sees it."""

    def emit(self, event: Event) -> None: ...

    def reply_item_added(self, item: Item, *, stored: bool) -> str | None:
        """The reply has its first words: add its item; returns the id of the item before it."""
        ...

    def reply_heard(self, reply: "Reply", item: Item) -> None:
        """The reply's text is known, as far as it was or will be heard."""
        ...

    def reply_over(self, reply: "Reply") -> None:
        """The client has played all there is of it."""
        ...


class Stand(Enum):
    PREPARING = auto()
    ACTIVE = auto()
    SENT = auto()
    OVER = auto()


class Reply:
    def __init__(
        self,
        plan: ReplyPlan,
        *,
        llm: LlmEngine,
        tts: TtsEngine,
        apology: Apology,
        playout: Playout,
        frame_seconds: float,
        deadlines: DeadlineSection,
        host: ReplyHost,
        failure: EngineError | None = None,
        prompt: Callable[[], Awaitable[tuple[Message, ...]]] | None = None,
        words: str | None = None,
    ) -> None:
        """`failure`: the turn went wrong before there was anything to answer; the reply is the apology for it.
        `prompt`: waits for the messages, where those of the plan are not yet all. `words`: what to say, without asking
        the model."""
        self.plan = plan
        self.timeline = Timeline()
        self.tokens = 0
        """Pieces of text the model has sent."""
        self.spoken = SpokenText()
        self.reported: float | None = None
        """Up to where the client says it has played it, in seconds."""
        self._llm, self._tts, self._apology = llm, tts, apology
        self._playout = playout
        self._frame = int(plan.rate * frame_seconds)
        self._deadlines = deadlines
        self._host = host
        self._failure = failure
        self._prompt = prompt
        self._words = words
        self._stand = Stand.PREPARING
        self._clauses: asyncio.Queue[Clause | Completed | EngineError] = asyncio.Queue(CLAUSES_AHEAD)
        self._steps: asyncio.Queue[Step] = asyncio.Queue(PIECES_AHEAD)
        self._released = asyncio.Event()
        self.done = asyncio.Event()
        """Set once nothing more of it will be sent."""
        self.over = asyncio.Event()
        """Set once the client has played it to its end, or will not."""
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._paused_at = 0.0
        self._fresh = True
        self._item_added = False
        self._previous_item_id: str | None = None
        self._start = 0.0
        self._sent = 0.0
        self._unsaid = ""
        self._task: asyncio.Task[None] | None = None

    # -- from the session -------------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to prepare it."""
        self.timeline.prepared = now()
        self._task = tasks.create_task(self._run(), name=f"reply {self.plan.reply_id}")

    def release(self) -> None:
        """The turn is committed: what is ready goes out."""
        if self._stand is not Stand.PREPARING:
            return
        self._stand = Stand.ACTIVE
        plan = self.plan
        self._host.emit(ReplyStarted(plan.reply_id, plan.modality, plan.request.max_tokens, plan.stored, plan.metadata))
        self._released.set()

    def pause(self) -> None:
        """Send nothing more for now: the client falls silent when its small lead is played."""
        self._paused_at = now()
        self._unpaused.clear()

    def resume(self) -> None:
        """Go on from the very sample where it stopped."""
        self._fresh = True
        self._unpaused.set()

    def cancel(self, reason: ReplyReason) -> None:
        """End it now, wherever it is. What was heard by the playout clock becomes its text."""
        stand, self._stand = self._stand, Stand.OVER
        if stand in (Stand.ACTIVE, Stand.SENT):
            item = self._item(self.spoken.heard(self._played()), "incomplete")
            self.timeline.interrupted = now()
            self._playout.flush(now())
            if self._item_added:
                self._host.reply_heard(self, item)
            if stand is Stand.ACTIVE:
                self._emit_done(item, "cancelled", reason=reason)
            self._end()
        if self._task is not None:
            self._task.cancel()

    @property
    def active(self) -> bool:
        """Released and not yet sent to its end."""
        return self._stand is Stand.ACTIVE

    @property
    def audible(self) -> bool:
        """Whether the client is playing it, or is to play more of it."""
        return self._stand in (Stand.ACTIVE, Stand.SENT) and self.timeline.first_audio is not None

    @property
    def left(self) -> float | None:
        """Seconds until the client has played it to its end; None while more is to be sent."""
        return self._playout.remaining(now()) if self._stand is Stand.SENT else None

    @property
    def heard_seconds(self) -> float:
        """How much of it the client has played."""
        return self._played()

    @property
    def paused(self) -> bool:
        return not self._unpaused.is_set()

    # -- stations ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._think(), name="llm")]
            if self.plan.modality == "audio":
                workers.append(tasks.create_task(self._voice(), name="tts"))
            await self._play()
            for worker in workers:
                worker.cancel()
        await asyncio.sleep(self._playout.remaining(now()))
        self._stand = Stand.OVER
        self.timeline.heard = now()
        self._end()

    async def _think(self) -> None:
        """The model's text, cut into clauses. A failure is passed down the line: what was said before it stays said."""
        out = self._clauses if self.plan.modality == "audio" else self._steps
        splitter = ClauseSplitter()
        end: Completed | EngineError = EngineError("llm", "bad_response", "the model's answer broke off")
        try:
            if self._failure is not None:
                raise self._failure
            request = self.plan.request
            if self._prompt is not None:
                request = replace(request, messages=await self._prompt())
            deadlines = (self._deadlines.llm_first_token_seconds, self._deadlines.llm_next_token_seconds)
            answer = self._llm.reply(request) if self._words is None else recited(self._words)
            async with aclosing(within(answer, *deadlines, stage="llm")) as events:
                async for event in events:
                    match event:
                        case TextDelta(text) if text:
                            self.tokens += 1
                            self.timeline.first_token = self.timeline.first_token or now()
                            typed = [Clause(text, "")]
                            for clause in splitter.push(text) if self.plan.modality == "audio" else typed:
                                self.timeline.first_clause = self.timeline.first_clause or now()
                                await out.put(clause)
                        case Completed():
                            end = event
            if not self.tokens and isinstance(end, Completed):
                end = EngineError("llm", "bad_response", "the model answered nothing")
        except EngineError as error:
            end = error
        if isinstance(end, Completed):
            for clause in splitter.flush():
                self.timeline.first_clause = self.timeline.first_clause or now()
                await out.put(clause)
        await out.put(end)

    async def _voice(self) -> None:
        """Each clause spoken as soon as it is there."""
        while True:
            step = await self._clauses.get()
            await self._steps.put(step)
            if not isinstance(step, Clause):
                return
            if step.spoken:
                try:
                    await self._speak(step.spoken)
                except EngineError as error:
                    await self._steps.put(error)
                    return

    async def _speak(self, text: str) -> None:
        plan, seconds = self.plan, self._deadlines.tts_seconds
        request = TtsRequest(text, plan.voice, plan.language, plan.speed)
        resampler = Resampler(self._tts.sample_rate, plan.rate, latency="quality")
        async with aclosing(within(self._tts.speak(request), seconds, seconds, stage="tts")) as pieces:
            async for audio in pieces:
                await self._steps.put(Sound(resampler.push(audio.pcm), audio.words))
        await self._steps.put(Sound(resampler.flush(), last=True))

    async def _play(self) -> None:
        """Send what is ready, at the pace of the playout, until the end."""
        await self._released.wait()
        while True:
            match await self._steps.get():
                case Clause() as clause:
                    self._add_item()
                    self.spoken.begin(clause.text)
                    self._unsaid += clause.text
                    if not clause.spoken:
                        self._say()
                case Sound(pcm, words, last):
                    self.spoken.extend(len(pcm) / self.plan.rate, words)
                    if last:
                        self.spoken.finish()
                    await self._send(pcm)
                case Completed() as end:
                    self._finish(end)
                    return
                case EngineError() as error:
                    await self._apologise()
                    self._finish(error)
                    return

    async def _send(self, pcm: Pcm) -> None:
        for start in range(0, len(pcm), self._frame):
            await self._turn_to_send()
            frame = pcm[start : start + self._frame]
            seconds = len(frame) / self.plan.rate
            if self.timeline.first_audio is None:
                self.timeline.first_audio = now()
                self._start = self._playout.sent
            self._say()
            self._playout.send(now(), seconds, first=self._fresh)
            self._fresh = False
            self._sent += seconds
            self._host.emit(ReplyAudio(self.plan.reply_id, self.plan.item_id, frame))

    async def _turn_to_send(self) -> None:
        """Wait until the client's lead is used up, and while the reply is paused."""
        while True:
            if self.paused:
                await self._pause()
                continue
            wait = self._playout.wait(now())
            if wait < TICK:
                return
            await asyncio.sleep(wait)

    async def _pause(self) -> None:
        """Wait until it is resumed, or until that is overdue."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._paused_at + PAUSE_SECONDS):
                await self._unpaused.wait()
        if now() >= self._paused_at + PAUSE_SECONDS - TICK:
            self.resume()

    async def _apologise(self) -> None:
        if self.plan.modality != "audio":
            return
        self._add_item()
        resampler = Resampler(self._apology.rate, self.plan.rate, latency="quality")
        for text, pcm in ((self._apology.text, resampler.push(self._apology.pcm)), ("", resampler.flush())):
            if text:
                self.spoken.begin(text)
                self._unsaid += text
            self.spoken.extend(len(pcm) / self.plan.rate)
            await self._send(pcm)

    # -- events -----------------------------------------------------------------------------------------------------

    def _add_item(self) -> None:
        if not self._item_added:
            self._item_added = True
            item = Item(self.plan.item_id, "assistant", (), "in_progress")
            self._previous_item_id = self._host.reply_item_added(item, stored=self.plan.stored)
            self._host.emit(ReplyItemAdded(self.plan.reply_id, item, self._previous_item_id))

    def _say(self) -> None:
        """Tell the text whose audio comes next."""
        if self._unsaid:
            text, self._unsaid = self._unsaid, ""
            self._host.emit(ReplyText(self.plan.reply_id, self.plan.item_id, text))

    def _finish(self, end: Completed | EngineError) -> None:
        """All is sent."""
        self._say()  # what the voice had no sound for
        self._stand = Stand.SENT
        self.timeline.sent = now()
        self.spoken.finish()
        whole = isinstance(end, Completed) and end.reason == "stop"
        item = self._item(self.spoken.text, "completed" if whole else "incomplete")
        match end:
            case EngineError():
                self._emit_done(item, "failed", error=end)
            case Completed(reason="stop"):
                self._emit_done(item, "completed", usage=end)
            case Completed():
                reason: ReplyReason = "max_output_tokens" if end.reason == "length" else "content_filter"
                self._emit_done(item, "incomplete", reason=reason, usage=end)
        if self._item_added:
            self._host.reply_heard(self, item)

    def _emit_done(
        self,
        item: Item,
        status: ReplyStatus,
        *,
        reason: ReplyReason | None = None,
        error: EngineError | None = None,
        usage: Completed | None = None,
    ) -> None:
        tokens = Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens) if usage else Usage()
        self._host.emit(
            ReplyDone(
                self.plan.reply_id,
                item if self._item_added else None,
                self._previous_item_id,
                status,
                reason=reason,
                error_code=f"{error.stage}_{error.code}" if error else None,
                error_message=error.message if error else None,
                usage=tokens,
            )
        )
        self.done.set()

    def _end(self) -> None:
        self.over.set()
        self._host.emit(ReplyPlayed(self.plan.reply_id))
        self._host.reply_over(self)

    def _item(self, text: str, status: ItemStatus) -> Item:
        kind = self.plan.modality
        return Item(self.plan.item_id, "assistant", (Part(kind, text),), status)

    def _played(self) -> float:
        """Seconds of it that the client has played, by its own report or else by the playout clock; a typed reply is
        heard as it is sent."""
        if self.plan.modality == "text":
            return float("inf")
        if self.reported is not None:
            return self.reported
        return min(self._sent, max(0.0, self._playout.played(now()) - self._start))


async def recited(words: str) -> AsyncGenerator[LlmEvent, None]:
    """Set words, as a model would send them."""
    yield TextDelta(words)
    yield Completed()


async def within(
    events: AsyncGenerator[T, None], first: float, following: float, *, stage: Stage
) -> AsyncGenerator[T, None]:
    """The generator's events, each within its deadline in seconds. Raises EngineError "timeout" past it. Whoever stops
    half-way closes it (`aclosing`), or the engine's own generator would be ended by the garbage collector."""
    async with aclosing(events):
        seconds = first
        while True:
            try:
                async with asyncio.timeout(seconds):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise EngineError(stage, "timeout", f"no answer within {seconds:g} s") from None
            yield event
            seconds = following
