"""A session on a bench, in virtual time: engines that only supply numbers and words, and a client that talks, listens
and keeps what it is told. What is tested is the session's own logic, to the sample; the real engines have other tests.
"""

import asyncio
import itertools
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pytest

from voiceagent.asr.base import AsrHint, AsrStream, Transcript
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, TextDelta, Thinking, ToolCall
from voiceagent.memory.base import MemoryStore
from voiceagent.session import events as ev
from voiceagent.session.commands import AppendAudio, Command, RetrieveItem
from voiceagent.session.context import SessionResources
from voiceagent.session.conversation import Item
from voiceagent.session.memory_recorder import MemoryRecorder
from voiceagent.session.options import SessionOptions
from voiceagent.session.phrases import Fillers, Phrase
from voiceagent.session.session import End, Session
from voiceagent.settings import Settings
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.vad.base import WINDOW, VadStream

RATE = 24_000
"""Of the voice and of what the client is sent, so that nothing is resampled on the way."""
FRAME_SECONDS = 0.02
"""What the client's microphone sends at a time."""
SECONDS_PER_CHAR = 0.06
_TIME = np.arange(int(EAR_RATE * FRAME_SECONDS)) / EAR_RATE
SPOKEN: Pcm = (900 * np.sin(2 * np.pi * np.outer((150, 500, 1500), _TIME)).sum(axis=0)).astype(np.int16)
"""A frame of the user's voice, with the low, middle and high tones that a person's has."""
DEADLINE = 120.0
"""Virtual seconds that anything may take."""
APOLOGY = Phrase("Sorry.", np.full(RATE // 2, 77, np.int16), RATE)

E = TypeVar("E", bound=ev.Event)


def voice_of(text: str) -> Pcm:
    """What the bench's voice makes of a clause: noise of its own for each text, so that no sample can be mistaken."""
    noise = np.random.default_rng(zlib.crc32(text.encode()))
    return noise.integers(1, 30_000, int(len(text) * SECONDS_PER_CHAR * RATE), np.int16)


class LoudnessVad:
    """A voice is wherever the samples are not zero. `fail` makes every look at the audio fail; `slow` is how many
    seconds a look takes."""

    def __init__(self) -> None:
        self.fail = False
        self.slow = 0.0

    async def open(self) -> None: ...

    def stream(self) -> VadStream:
        return LoudnessStream(self)

    async def close(self) -> None: ...


class LoudnessStream:
    def __init__(self, engine: LoudnessVad) -> None:
        self._engine = engine
        self._audio = silence(0)
        self._pushing = False

    async def push(self, pcm: Pcm) -> list[float]:
        self._pushing = True
        if self._engine.slow:
            await asyncio.sleep(self._engine.slow)
        if self._engine.fail:
            raise EngineError("vad", "failed", "the detector broke")
        self._pushing = False
        audio = np.concatenate((self._audio, pcm))
        whole = len(audio) // WINDOW * WINDOW
        self._audio = audio[whole:]
        return [float(window.any()) for window in audio[:whole].reshape(-1, WINDOW)]

    def reset(self) -> None:
        assert not self._pushing, "reset in the middle of a push"
        self._audio = silence(0)


class WordsAsr:
    """The utterances are understood as these words, one after the other, the last for all that follow; an error or a
    number of seconds (how long to think) may stand before them."""

    def __init__(self, words: Sequence[str | EngineError], seconds: float = 0.05) -> None:
        self.words = list(words)
        self.seconds = seconds
        self.heard: list[int] = []
        """Samples of each utterance that was recognised."""

    async def open(self) -> None: ...

    def stream(self, hint: AsrHint) -> AsrStream:
        return WordsStream(self)

    def next(self) -> str | EngineError:
        return self.words.pop(0) if len(self.words) > 1 else self.words[0]

    async def close(self) -> None: ...


class WordsStream:
    def __init__(self, engine: WordsAsr) -> None:
        self._engine = engine
        self._samples = 0
        self._words: str | EngineError | None = None

    def push(self, pcm: Pcm) -> None:
        self._samples += len(pcm)

    async def partial(self) -> str:
        return ""

    async def finish(self) -> Transcript:
        await asyncio.sleep(self._engine.seconds)
        if self._words is None:
            self._words = self._engine.next()
            self._engine.heard.append(self._samples)
        self._engine.heard[-1] = self._samples
        if isinstance(self._words, EngineError):
            raise self._words
        return Transcript(self._words)

    def close(self) -> None: ...


@dataclass(frozen=True)
class Answer:
    """What the model says, word by word; `first` and `each` are seconds before the first word and between two. It shows
    its `thoughts` before, a tenth of a second each, and makes its `calls` after."""

    text: str
    first: float = 0.2
    each: float = 0.01
    calls: tuple[ToolCall, ...] = ()
    thoughts: tuple[str, ...] = ()
    end: Completed | EngineError = field(default_factory=lambda: Completed(input_tokens=7, output_tokens=3))


class ScriptedModel:
    """Gives these answers, the last for all that follow, and keeps what it was asked."""

    talk_tokens: int | None = None

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[LlmRequest] = []
        self.hung_up_in: list[str] = []
        """The tasks in which answers were given up half-way."""

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(request)
        try:
            for thought in answer.thoughts:
                yield Thinking(thought)
                await asyncio.sleep(0.1)
            await asyncio.sleep(answer.first)
            for word in answer.text.split(" ") if answer.text or not answer.calls else ():
                yield TextDelta(word + " ")
                await asyncio.sleep(answer.each)
            for call in answer.calls:
                yield call
            if isinstance(answer.end, EngineError):
                raise answer.end
            yield answer.end
        except (GeneratorExit, asyncio.CancelledError):
            self.hung_up_in.append(current_task_name())
            raise

    def prompt(self, number: int = -1) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in self.requests[number].messages]

    async def close(self) -> None: ...


class NoiseVoice:
    """Speaks at SECONDS_PER_CHAR, half a second of audio at a time. `fail_at`: the clause (from 0) that fails;
    `mute_at`: the one for which it has no sound. A clause with `refuses` in it is none that it can say."""

    sample_rate = RATE

    def __init__(self) -> None:
        self.spoken: list[str] = []
        self.fail_at: int | None = None
        self.mute_at: int | None = None
        self.refuses: str | None = None
        self.hung_up_in: list[str] = []

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        number = len(self.spoken)
        self.spoken.append(request.text)
        if number == self.fail_at:
            raise EngineError("tts", "unavailable", "the voice broke")
        if self.refuses is not None and self.refuses in request.text:
            raise EngineError("tts", "bad_request", "nothing to say in the text")
        audio = silence(0) if number == self.mute_at else voice_of(request.text)
        try:
            for start in range(0, len(audio), RATE // 2):
                await asyncio.sleep(0.01)
                yield TtsAudio(audio[start : start + RATE // 2])
        except (GeneratorExit, asyncio.CancelledError):
            self.hung_up_in.append(current_task_name())
            raise

    async def close(self) -> None: ...


def current_task_name() -> str:
    task = asyncio.current_task()
    return task.get_name() if task else "none"


class Bench:
    """The client and its session. Its microphone sends without a pause, silence where nothing is said."""

    def __init__(self, session: Session, asr: WordsAsr, model: ScriptedModel, voice: NoiseVoice) -> None:
        self.session = session
        self.asr = asr
        self.model = model
        self.voice = voice
        self.events: list[ev.Event] = []
        self.times: list[float] = []
        self.muted = False
        self.running: asyncio.Task[End] | None = None
        self._to_say: list[tuple[float, asyncio.Event]] = []
        self._changed = asyncio.Event()

    # -- what the client does ---------------------------------------------------------------------------------------

    def ask(self, command: Command) -> None:
        self.session.execute(command)

    async def say(self, seconds: float) -> None:
        """Make a sound for so long; returns when it was sent."""
        said = asyncio.Event()
        self._to_say.append((seconds, said))
        await said.wait()

    async def turn(self, seconds: float = 1.0) -> None:
        """Speak and wait until that was taken for a turn."""
        count = len(self.of(ev.AudioCommitted))
        await self.say(seconds)
        await self.until(ev.AudioCommitted, count + 1)

    async def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        await asyncio.sleep(seconds)

    async def microphone(self) -> None:
        while True:
            seconds, said = self._to_say.pop(0) if self._to_say else (FRAME_SECONDS, None)
            for _ in range(round(seconds / FRAME_SECONDS)):
                frame = SPOKEN if said else silence(len(SPOKEN))
                if not self.muted:
                    self.ask(AppendAudio(frame, EAR_RATE))
                await asyncio.sleep(FRAME_SECONDS)
            if said:
                said.set()

    # -- what it is told --------------------------------------------------------------------------------------------

    def take(self, event: ev.Event) -> None:
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], count: int = 1) -> E:
        """The event of this kind, once there have been so many."""
        async with asyncio.timeout(DEADLINE):
            while len(self.of(kind)) < count:
                if self.running is not None and self.running.done():
                    pytest.fail(f"the session is over: {self.running}")
                self._changed.clear()
                await self._changed.wait()
        return self.of(kind)[count - 1]

    def audio(self, reply: int = 0) -> Pcm:
        """What came of this reply, in order."""
        response_id = self.of(ev.ResponseStarted)[reply].response_id
        pieces = [event.pcm for event in self.of(ev.ResponseAudio) if event.response_id == response_id]
        return np.concatenate(pieces) if pieces else silence(0)

    def text(self, reply: int = 0) -> str:
        """The text that was told along with it."""
        response_id = self.of(ev.ResponseStarted)[reply].response_id
        return "".join(event.text for event in self.of(ev.ResponseText) if event.response_id == response_id)

    def item(self, item_id: str) -> Item:
        """An item as the conversation now has it."""
        self.ask(RetrieveItem(item_id))
        item = self.of(ev.ItemRetrieved)[-1].item
        assert isinstance(item, Item)
        return item

    def expected(self) -> Pcm:
        """All that the voice was made to say so far."""
        return np.concatenate([voice_of(text) for text in self.voice.spoken])

    @property
    def longest_gap(self) -> float:
        """Seconds between two pieces of audio."""
        times = [at for at, event in zip(self.times, self.events, strict=True) if isinstance(event, ev.ResponseAudio)]
        return max(after - before for before, after in itertools.pairwise(times))


MakeVad = Callable[[], LoudnessVad]


@asynccontextmanager
async def bench(
    *answers: Answer | str,
    words: Sequence[str | EngineError] = ("Hello there.",),
    options: SessionOptions | None = None,
    settings: Settings | None = None,
    vad: LoudnessVad | None = None,
    asr: WordsAsr | None = None,
    store: MemoryStore | None = None,
    user: str | None = None,
    microphone: bool = True,
    toolbox: Toolbox | None = None,
) -> AsyncIterator[Bench]:
    """A session that runs; it must not end of itself within the block."""
    async with unguarded(
        *answers,
        words=words,
        options=options,
        settings=settings,
        vad=vad,
        asr=asr,
        store=store,
        user=user,
        microphone=microphone,
        toolbox=toolbox,
    ) as (client, running):
        yield client
        await asyncio.sleep(0)
        assert not running.done(), running


@asynccontextmanager
async def unguarded(
    *answers: Answer | str,
    words: Sequence[str | EngineError] = ("Hello there.",),
    options: SessionOptions | None = None,
    settings: Settings | None = None,
    vad: LoudnessVad | None = None,
    asr: WordsAsr | None = None,
    store: MemoryStore | None = None,
    user: str | None = None,
    microphone: bool = True,
    toolbox: Toolbox | None = None,
) -> AsyncIterator[tuple[Bench, "asyncio.Task[End]"]]:
    """The same with the session's task, for those that end."""
    asr = asr or WordsAsr(words)
    model = ScriptedModel([answer if isinstance(answer, Answer) else Answer(answer) for answer in answers or ("Hi.",)])
    voice = NoiseVoice()
    numbers = itertools.count(1)
    settings = settings or Settings()
    session = Session(
        "sess_1",
        SessionResources(
            Engines(vad or LoudnessVad(), asr, model, voice),
            settings.session,
            APOLOGY,
            toolbox=toolbox or Toolbox(),
            fillers=Fillers(voice, settings.filler),
        ),
        options or SessionOptions(instructions="Be brief."),
        emit=lambda event: client.take(event),
        new_id=lambda kind: f"{kind}_{next(numbers)}",
        memory_recorder=MemoryRecorder(store, user, limit=8),
    )
    client = Bench(session, asr, model, voice)
    client.running = running = asyncio.create_task(session.run(), name="session")
    running.add_done_callback(lambda _: client.wake())
    speaking = asyncio.create_task(client.microphone(), name="microphone") if microphone else None
    try:
        await session.ready.wait()
        yield client, running
    finally:
        for task in (running, speaking):
            if task is not None:
                task.cancel()
        await asyncio.gather(running, *([speaking] if speaking else []), return_exceptions=True)
