"""A conversation by a script, and engines that read it: the agent's voice is such that what came out of a loudspeaker,
through any codec, can be read back as words."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from voiceagent.asr.base import AsrHint, AsrStream, Transcript
from voiceagent.audio.pcm import Pcm
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, TextDelta, ToolCall
from voiceagent.tts.base import TtsAudio, TtsRequest, WordTiming

RATE = 24_000
WORD_SECONDS = 0.6
"""How long the agent takes for a word, or for a character of Chinese."""
HEARD_SHARE = 0.4
"""A word counts as heard once so much of it was played; see `session.heard`."""
LOWEST, STEP = 380, 80
"""Hz of the first word's tone, and from one word's to the next. All are below 3,200 Hz, which any telephone carries."""
MOST_WORDS = 36
WINDOW_SECONDS, HOP_SECONDS = 0.04, 0.02
AUDIBLE = 700
"""Peak of what is no silence."""
_WORD = re.compile(r"[\u4e00-\u9fff]|[A-Za-z']+")

WEATHER = "get_weather"


@dataclass(frozen=True)
class Script:
    """What both sides say. `question` calls the tool, whose result `report` tells; `wish` is answered by `story`, which
    the user cuts off with `stop`, beginning to speak when `cut_at` seconds of it were played; `keys` are typed; `end`
    ends it. `heard` is what counts as heard of the story then, with up to half a second played meanwhile."""

    question: str
    report: str
    wish: str
    story: str
    heard: str
    cut_at: float
    stop: str
    comply: str
    typed: str
    end: str
    goodbye: str
    keys: str = "42"
    result: str = "rain"

    @property
    def answers(self) -> Mapping[str, str]:
        """By what it answers."""
        return {
            self.result: self.report,
            self.wish: self.story,
            self.stop: self.comply,
            self.keys: self.typed,
            self.end: self.goodbye,
        }

    def items(self, heard: str) -> list[tuple[str, str]]:
        """The conversation as it is to be in the end, when so much of the story was heard: roles and texts."""
        return [
            ("user", self.question),
            ("call", WEATHER),
            ("result", self.result),
            ("assistant", self.report),
            ("user", self.wish),
            ("assistant", heard),
            ("user", self.stop),
            ("assistant", self.comply),
            ("user", self.keys),
            ("assistant", self.typed),
            ("user", self.end),
            ("assistant", self.goodbye),
        ]

    @property
    def vocabulary(self) -> list[str]:
        """All words of the agent's, each once."""
        return list(dict.fromkeys(word for answer in self.answers.values() for word in words(answer)))


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


ENGLISH = Script(
    question="What is the weather in Berlin?",
    report="It rains in Berlin today.",
    wish="Tell me about the moon.",
    story=(
        "Moonlight travels quietly across sleeping mountains. Restless oceans follow everywhere underneath. "
        "Nobody remembers exactly when that began."
    ),
    heard="Moonlight travels quietly across sleeping mountains.",
    cut_at=3.2,
    stop="Stop, that is enough.",
    comply="As you wish.",
    typed="Forty two then.",
    end="Goodbye.",
    goodbye="Farewell and thanks.",
)
CHINESE = Script(
    question="柏林天气怎么样？",
    report="今天有雨。",
    wish="讲讲月亮。",
    story="月亮安静地照着远山。海水跟随它起落。没人记得何时开始。",
    heard="月亮安静地照",
    cut_at=3.2,
    stop="停，够了。",
    comply="好吧。",
    typed="四十二。",
    end="再见。",
    goodbye="回头聊。",
)


class ToneVoice:
    """Every word is a tone of its own."""

    sample_rate = RATE

    def __init__(self, script: Script) -> None:
        self._known = script.vocabulary
        assert len(self._known) <= MOST_WORDS
        self.spoken: list[str] = []
        """The clauses it was asked for."""

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        self.spoken.append(request.text)
        times = np.arange(int(WORD_SECONDS * RATE)) / RATE
        for number, word in enumerate(words(request.text)):
            await asyncio.sleep(0.01)
            tone = 9000 * np.sin(2 * np.pi * (LOWEST + STEP * self._known.index(word)) * times)
            timing = WordTiming(word, number * WORD_SECONDS, (number + 1) * WORD_SECONDS)
            # Where words are not parted by spaces, the session goes by the sound alone.
            yield TtsAudio(tone.astype(np.int16), (timing,) if word.isascii() else ())

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Sounded:
    """A word that came out of a loudspeaker, and for how long."""

    word: str
    seconds: float


def read_back(pcm: Pcm, rate: int, script: Script) -> list[Sounded]:
    """What a ToneVoice said. A word that broke off and went on counts as one."""
    size, hop = int(WINDOW_SECONDS * rate), int(HOP_SECONDS * rate)
    if len(pcm) < size:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(pcm, size)[::hop]
    spectra = np.abs(np.fft.rfft(windows * np.hanning(size), 4 * size, axis=1))
    tones = np.round((spectra.argmax(axis=1) * rate / (4 * size) - LOWEST) / STEP).astype(int)
    known, sounded = script.vocabulary, list[Sounded]()
    for tone, loud in zip(tones, np.abs(windows).max(axis=1) > AUDIBLE, strict=True):
        if not loud or not 0 <= tone < len(known):
            continue
        word = known[tone]
        if sounded and sounded[-1].word == word:
            sounded[-1] = Sounded(word, sounded[-1].seconds + HOP_SECONDS)
        else:
            sounded.append(Sounded(word, HOP_SECONDS))
    return sounded


class ScriptAsr:
    """Understands whatever is `saying`."""

    def __init__(self) -> None:
        self.saying = ""

    async def open(self) -> None: ...

    def stream(self, hint: AsrHint) -> AsrStream:
        return ScriptStream(self)

    async def close(self) -> None: ...


@dataclass
class ScriptStream:
    engine: ScriptAsr

    def push(self, pcm: Pcm) -> None: ...

    async def partial(self) -> str:
        return self.engine.saying

    async def finish(self) -> Transcript:
        await asyncio.sleep(0.05)
        return Transcript(self.engine.saying)

    def close(self) -> None: ...


@dataclass
class ScriptModel:
    """Answers what was said last. It ends the call with the goodbye, where it can."""

    script: Script
    requests: list[LlmRequest] = field(default_factory=list)

    @property
    def talk_tokens(self) -> int | None:
        return None

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        self.requests.append(request)
        await asyncio.sleep(0.2)
        asked, script = request.messages[-1].content, self.script
        if asked == script.question:
            yield ToolCall("call_weather", WEATHER, "{}")
        else:
            for piece in pieces(script.answers[asked]):
                await asyncio.sleep(0.01)
                yield TextDelta(piece)
        if asked == script.end and any(tool.name == "end_call" for tool in request.tools):
            yield ToolCall("call_end", "end_call", "{}")
        yield Completed()

    async def close(self) -> None: ...


def pieces(text: str) -> Iterator[str]:
    """As models send it."""
    for start in range(0, len(text), 4):
        yield text[start : start + 4]


def user_voice(seconds: float, rate: int) -> Pcm:
    """A person's voice has low, middle and high tones."""
    times = np.arange(int(seconds * rate)) / rate
    pcm: Pcm = (900 * np.sin(2 * np.pi * np.outer((150, 500, 1500), times)).sum(axis=0)).astype(np.int16)
    return pcm
