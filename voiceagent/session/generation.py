"""Generation of a response: what it is to be, the model's text cut into clauses, and the audio of each clause.

Two stations, a coroutine each, with a bounded queue after each. A failure travels down the queues as a value, so that
what came before it is still said.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
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

    `user_item_id` is the spoken turn it answers, `rounds` how often tools were called for that before. Calls of
    `client_tools` are the client's business. After `filler_seconds` without a first word one of the `fillers` is said.
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


class Generator:
    """The first station: asks the model and cuts its text into clauses."""

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

    async def run(self, out: StepQueue) -> None:
        """Put clauses, calls and the end into the queue."""
        end: Completed | EngineError = EngineError("llm", "bad_response", "the model's answer broke off")
        called = False
        try:
            deadlines = (self._deadlines.llm_first_token_seconds, self._deadlines.llm_next_token_seconds)
            async with aclosing(within(await self._events(), *deadlines, stage="llm")) as events:
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
                            self._show_thinking(text)
                        case Completed():
                            end = event
            if isinstance(end, Completed) and not self.tokens and not called:
                end = EngineError("llm", "bad_response", "the model answered nothing")
        except EngineError as error:
            end = error
        if isinstance(end, Completed):
            self._timeline.generated = now()
            for clause in self._splitter.flush():
                self._timeline.first_clause = self._timeline.first_clause or now()
                await out.put(clause)
        await out.put(end)

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
        clauses = list(self._splitter.push(text)) if self._plan.modality == "audio" else [Clause(text, "")]
        if clauses:
            self._timeline.first_clause = self._timeline.first_clause or now()
        return clauses


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
    ) -> None:
        """`spoken` gets every clause and its audio as they are made, so that it is known how long a clause's words last
        before they are played."""
        self._plan = plan
        self._tts = tts
        self._deadlines = deadlines
        self._timeline = timeline
        self._spoken = spoken
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
                        log.warning("session %s: tts: %s, a clause is left out", self._plan.session_id, error.code)
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
