"""The making of a reply: the model's text, cut into clauses, each spoken as soon as it is there."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.resample import Resampler
from voiceagent.errors import EngineError, Stage
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, TextDelta, Thinking, ToolCall
from voiceagent.session.plan import ResponsePlan
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import Timeline, now
from voiceagent.settings import DeadlineSection
from voiceagent.tts.base import TtsEngine, TtsRequest, WordTiming
from voiceagent.tts.clauses import Clause, ClauseSplitter

T = TypeVar("T")

CLAUSES_AHEAD = 64
"""Clauses the model may be ahead of the voice; then its stream is read no further."""
PIECES_AHEAD = 16
"""Pieces of audio (a clause has one or a few) the voice may be ahead of the playout, so that an interrupted answer has
cost little."""


@dataclass(frozen=True, slots=True)
class SynthesizedAudio:
    """A piece of the current clause's audio at the plan's rate."""

    pcm: Pcm


Thought = Clause | ToolCall | Completed | EngineError
Step = SynthesizedAudio | Thought
"""What the playout takes in order: a clause begins, its audio, a call, the end, or the end by a failure."""


class ResponseGenerator:
    """Two stations with a queue after each. A failure travels down the line: what was said before it stays said."""

    def __init__(
        self,
        plan: ResponsePlan,
        *,
        llm: LlmEngine,
        tts: TtsEngine,
        deadlines: DeadlineSection,
        timeline: Timeline,
        spoken: SpokenText,
        thinks: Callable[[str], None],
    ) -> None:
        """`spoken` is told of every clause and its audio as they are made, so that it is known how long a clause's
        words last before they are played. `thinks` is told what the model shows of its reasoning."""
        self.tokens = 0
        """Pieces of text the model has sent."""
        self.steps: asyncio.Queue[Step] = asyncio.Queue(PIECES_AHEAD)
        self._clauses: asyncio.Queue[Thought] = asyncio.Queue(CLAUSES_AHEAD)
        self._plan = plan
        self._llm, self._tts = llm, tts
        self._deadlines = deadlines
        self._timeline = timeline
        self._spoken = spoken
        self._thinks = thinks
        self._splitter = ClauseSplitter()

    def start(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """The tasks that make it, to be cancelled when no more is wanted."""
        if self._plan.phrase is not None:
            return [tasks.create_task(self._recite(self._plan.phrase.text, self._plan.phrase.at(self._plan.rate)))]
        workers = [tasks.create_task(self._think(), name="llm")]
        if self._plan.modality == "audio":
            workers.append(tasks.create_task(self._voice(), name="tts"))
        return workers

    async def _recite(self, text: str, pcm: Pcm) -> None:
        self._spoken.begin(text)
        await self.steps.put(Clause(text, ""))
        await self._sound(pcm)
        self._spoken.finish()
        await self.steps.put(Completed())

    # -- the model --------------------------------------------------------------------------------------------------

    async def _think(self) -> None:
        out: asyncio.Queue[Thought] | asyncio.Queue[Step]
        out = self._clauses if self._plan.modality == "audio" else self.steps
        end: Completed | EngineError = EngineError("llm", "bad_response", "the model's answer broke off")
        called = False
        try:
            deadlines = (self._deadlines.llm_first_token_seconds, self._deadlines.llm_next_token_seconds)
            async with aclosing(within(await self._answer(), *deadlines, stage="llm")) as events:
                async for event in events:
                    match event:
                        case TextDelta(text) if text:
                            self.tokens += 1
                            for clause in self._cut(text):
                                await out.put(clause)
                        case ToolCall():
                            called = True
                            self._timeline.first_token = self._timeline.first_token or now()
                            await out.put(event)
                        case Thinking(text):
                            self._thinks(text)
                        case Completed():
                            end = event
            if isinstance(end, Completed) and not self.tokens and not called:
                end = EngineError("llm", "bad_response", "the model answered nothing")
        except EngineError as error:
            end = error
        if isinstance(end, Completed):
            for clause in self._splitter.flush():
                self._timeline.first_clause = self._timeline.first_clause or now()
                await out.put(clause)
        await out.put(end)

    async def _answer(self) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError when there is nothing to be answered."""
        if self._plan.failure is not None:
            raise self._plan.failure
        if self._plan.words is not None:
            return recited(self._plan.words)
        return self._llm.reply(await self._plan.ask())

    def _cut(self, text: str) -> list[Clause]:
        """The clauses this piece of text completes; a typed reply is not cut."""
        self._timeline.first_token = self._timeline.first_token or now()
        clauses = list(self._splitter.push(text)) if self._plan.modality == "audio" else [Clause(text, "")]
        if clauses:
            self._timeline.first_clause = self._timeline.first_clause or now()
        return clauses

    # -- the voice --------------------------------------------------------------------------------------------------

    async def _voice(self) -> None:
        while True:
            step = await self._clauses.get()
            if isinstance(step, Clause):
                self._spoken.begin(step.text)
            await self.steps.put(step)
            match step:
                case Clause(spoken=spoken) if spoken:
                    try:
                        await self._speak(spoken)
                    except EngineError as error:
                        await self.steps.put(error)
                        return
                case Completed() | EngineError():
                    return

    async def _speak(self, text: str) -> None:
        plan, seconds = self._plan, self._deadlines.tts_seconds
        request = TtsRequest(text, plan.voice, plan.language, plan.speed)
        resampler = Resampler(self._tts.sample_rate, plan.rate, latency="quality")
        async with aclosing(within(self._tts.speak(request), seconds, seconds, stage="tts")) as pieces:
            async for audio in pieces:
                await self._sound(resampler.push(audio.pcm), audio.words)
        await self._sound(resampler.flush())
        self._spoken.finish()

    async def _sound(self, pcm: Pcm, words: tuple[WordTiming, ...] = ()) -> None:
        self._spoken.extend(pcm, self._plan.rate, words)
        if len(pcm):
            self._timeline.first_speech = self._timeline.first_speech or now()
        await self.steps.put(SynthesizedAudio(pcm))


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
