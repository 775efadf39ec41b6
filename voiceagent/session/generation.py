"""Generation of a response: what it is to be, the model's text cut into clauses, and the audio of each clause.

Two stations, a coroutine each, with a bounded queue after each. A failure travels down the queues as a value, so that
what came before it is still said.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.resample import Resampler
from voiceagent.errors import EngineError, Stage
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, TextDelta, Thinking, ToolCall
from voiceagent.session.commands import CreateResponse
from voiceagent.session.options import Modality
from voiceagent.session.phrases import FillerSpeech, Phrase
from voiceagent.session.settings import DeadlineSection
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import Timeline, now
from voiceagent.tts.base import ABOUT_THE_TEXT, TtsEngine, TtsRequest, WordTiming
from voiceagent.tts.clauses import Clause, ClauseSplitter

T = TypeVar("T")
log = logging.getLogger(__name__)

CLAUSES_AHEAD = 64
"""Clauses the model may be ahead of the speech; then its stream is read no further."""
PIECES_AHEAD = 16
"""Pieces of audio (a clause has one or a few) the speech may be ahead of the playout, so that an interrupted answer has
cost little."""
UNSPOKEN_AT_MOST = 3
"""Clauses that the voice cannot say before it has said any: then the fault is not in the text."""


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """What to answer and how. `rate` in Hz, `frame` the samples sent at a time.

    `request` is what it was asked for with; `build_prompt` waits for what the model is to be asked and may raise
    EngineError. No model is asked with `words` (just these are said), with a `phrase` (whose sound is ready) or with a
    `failure`: the turn went wrong before there was anything to answer, and the response is the `apology` for it.

    `user_item_id` is the spoken turn it answers, `rounds` how often tools were called for that before; in the `last`
    round calls are dropped. `answered` tells whether words of the agent's were heard since the user spoke last and
    before tools were called: then nothing need follow. Calls of `client_tools` are the client's business. After
    `filler_seconds` without a first word one of the `fillers` is said.
    """

    session_id: str
    response_id: str
    item_id: str
    request: CreateResponse
    build_prompt: Callable[[], Awaitable[LlmRequest]]
    modality: Modality
    rate: int
    frame: int
    apology: Phrase
    fillers: FillerSpeech
    max_tokens: int | None = None
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    user_item_id: str | None = None
    rounds: int = 0
    last: bool = False
    answered: Callable[[], bool] = lambda: False
    client_tools: frozenset[str] = frozenset()
    phrase: Phrase | None = None
    failure: EngineError | None = None
    filler_seconds: float | None = None

    @property
    def words(self) -> str | None:
        return self.request.words

    @property
    def stored(self) -> bool:
        """Whether it becomes part of the conversation."""
        return self.request.store

    @property
    def protected(self) -> bool:
        return self.request.protected

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.request.metadata


@dataclass(frozen=True, slots=True)
class SynthesizedAudio:
    """A piece of the current clause's audio at the plan's rate."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The clause that began has no audio: the voice cannot say it."""


Step = Clause | SynthesizedAudio | LeftOut | ToolCall | Completed | EngineError
"""What travels down the queues, in order: a clause begins, its audio or that it has none, a call, the end, or the end
by a failure."""
StepQueue = asyncio.Queue[Step]


MOST_ASKED = 2
"""How often the model is asked for one response: once more when it first answers nothing that can be said."""


class Generator:
    """The first station: asks the model and cuts its text into clauses.

    Silence is no answer. One without a word to say (an emoji, three dots, a line break, a call cut off by the token
    limit) is asked for once more; then the response fails, unless the turn has been answered already.
    """

    def __init__(
        self,
        plan: ResponsePlan,
        *,
        llm: LlmEngine,
        deadlines: DeadlineSection,
        timeline: Timeline,
        show_thinking: Callable[[str], None],
    ) -> None:
        """`show_thinking` takes what the model shows of its reasoning."""
        self.tokens = 0
        """Pieces of text the model has sent."""
        self._plan = plan
        self._llm = llm
        self._deadlines = deadlines
        self._timeline = timeline
        self._show_thinking = show_thinking
        self._splitter = ClauseSplitter()
        self._unspoken: list[Clause] = []
        """Clauses without anything to say, before the first that has."""
        self._answered = False
        """Whether there was anything to say."""
        self._calls: list[ToolCall] = []

    async def run(self, out: StepQueue) -> None:
        """Put clauses, calls and the end into the queue."""
        before: Completed | None = None
        end: Completed | EngineError = Completed()
        for asked in range(1, MOST_ASKED + 1):
            end = await self._ask(out)
            if isinstance(end, Completed):
                end = before = end if before is None else _both(before, end)
            if self._answered or self._calls or not _is_empty(end) or self._plan.words is not None:
                break
            if self._plan.answered():  # there is nothing to add
                end = before or Completed()
                break
            if asked < MOST_ASKED:
                log.info("session %s: llm: nothing to say, asked once more", self._plan.session_id)
                self._unspoken.clear()
            elif self._plan.modality == "audio" or not isinstance(end, Completed) or end.reason == "stop":
                end = EngineError("llm", "empty", "the language model answered nothing")
        shown = self._unspoken if any(clause.text.strip() for clause in self._unspoken) else ()
        for step in (*shown, *self._calls) if isinstance(end, Completed) else ():
            await out.put(step)
        await out.put(end)

    async def _ask(self, out: StepQueue) -> Completed | EngineError:
        """One answer of the model's, to its end: its clauses go into the queue, its calls are kept."""
        end: Completed | EngineError = EngineError("llm", "bad_response", "the model's answer broke off")
        try:
            deadlines = (self._deadlines.llm_first_token_seconds, self._deadlines.llm_next_token_seconds)
            async with aclosing(within(await self._events(), *deadlines, stage="llm")) as events:
                async for event in events:
                    match event:
                        case TextDelta(text) if text:
                            self.tokens += 1
                            await self._put(self._cut(text), out)
                        case ToolCall():
                            self._timeline.first_token = self._timeline.first_token or now()
                            self._calls.append(event)
                        case Thinking(text):
                            self._show_thinking(text)
                        case Completed():
                            end = event
        except EngineError as error:
            end = error
        if not isinstance(end, Completed) or end.reason not in ("stop", "tool_calls") or self._plan.last:
            self._calls.clear()  # those of an answer that was cut off may be cut off too
        if isinstance(end, Completed):
            self._timeline.generated = now()
            await self._put(self._splitter.flush(), out)
        return end

    async def _put(self, clauses: Sequence[Clause], out: StepQueue) -> None:
        """What has nothing to say waits for what has."""
        for clause in clauses:
            self._timeline.first_clause = self._timeline.first_clause or now()
            self._unspoken.append(clause)
            if clause.spoken or (self._plan.modality == "text" and clause.text.strip()):
                self._answered = True
            if self._answered:
                for step in self._unspoken:
                    await out.put(step)
                self._unspoken.clear()

    async def _events(self) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError when there is nothing to be answered."""
        if self._plan.failure is not None:
            raise self._plan.failure
        if self._plan.words is not None:
            return recited(self._plan.words)
        request = await self._plan.build_prompt()
        self._timeline.asked = now()
        return self._llm.reply(request)

    def _cut(self, text: str) -> list[Clause]:
        """The clauses this piece of text completes; a typed response is not cut."""
        self._timeline.first_token = self._timeline.first_token or now()
        return list(self._splitter.push(text)) if self._plan.modality == "audio" else [Clause(text, "")]


def _is_empty(end: Completed | EngineError) -> bool:
    """Whether the model came to its end."""
    return isinstance(end, Completed) or end.code == "empty"


def _both(first: Completed, second: Completed) -> Completed:
    """The end of two answers, with what both have cost."""
    return replace(
        second,
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cached_tokens=first.cached_tokens + second.cached_tokens,
        cost=first.cost + second.cost,
    )


class Synthesizer:
    """The second station: speaks the clauses."""

    def __init__(
        self,
        plan: ResponsePlan,
        *,
        tts: TtsEngine,
        deadlines: DeadlineSection,
        timeline: Timeline,
        spoken: SpokenText,
        report: Callable[[EngineError], None],
    ) -> None:
        """`spoken` gets every clause and its audio as they are made, so that it is known how long a clause's words last
        before they are played. `report` takes why a clause is left out."""
        self._plan = plan
        self._tts = tts
        self._deadlines = deadlines
        self._timeline = timeline
        self._spoken = spoken
        self._report = report
        self._before = ""

    async def run(self, clauses: StepQueue, out: StepQueue) -> None:
        """Pass on what is in the queue of clauses, each clause followed by its audio, until the end."""
        unspoken: list[EngineError] = []
        while True:
            step = await clauses.get()
            if isinstance(step, Clause):
                self._spoken.begin(step.text)
            elif isinstance(step, Completed) and unspoken and not self._spoken.sounded:
                step = unspoken[-1]  # silence is no answer
            await out.put(step)
            match step:
                case Clause(spoken=spoken) if spoken:
                    try:
                        await self._speak(spoken, out)
                    except EngineError as error:
                        sounded = self._spoken.give_up()
                        unspoken.append(error)
                        hopeless = len(unspoken) == UNSPOKEN_AT_MOST and not self._spoken.sounded
                        if sounded or hopeless or error.code not in ABOUT_THE_TEXT:
                            await out.put(error)
                            return
                        self._report(error)
                        await out.put(LeftOut())
                case Completed() | EngineError():
                    return

    async def recite(self, phrase: Phrase, out: StepQueue) -> None:
        """Put a phrase whose sound is ready."""
        self._spoken.begin(phrase.text)
        await out.put(Clause(phrase.text, ""))
        await self._put(phrase.at(self._plan.rate), out)
        self._spoken.finish()
        await out.put(Completed())

    async def _speak(self, text: str, out: StepQueue) -> None:
        plan, seconds = self._plan, self._deadlines.tts_seconds
        request = TtsRequest(text, plan.voice, plan.language, plan.speed, self._before)
        self._before = text
        resampler = Resampler(self._tts.sample_rate, plan.rate, latency="quality")
        self._timeline.synthesizing = self._timeline.synthesizing or now()
        async with aclosing(within(self._tts.speak(request), seconds, seconds, stage="tts")) as pieces:
            async for audio in pieces:
                await self._put(resampler.push(audio.pcm), out, audio.words)
        await self._put(resampler.flush(), out)
        self._spoken.finish()

    async def _put(self, pcm: Pcm, out: StepQueue, words: tuple[WordTiming, ...] = ()) -> None:
        self._spoken.extend(pcm, self._plan.rate, words)
        if len(pcm):
            self._timeline.synthesized = now()
            self._timeline.first_speech = self._timeline.first_speech or now()
        await out.put(SynthesizedAudio(pcm))


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
