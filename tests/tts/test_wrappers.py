"""What every voice has around it: words for figures, a second attempt, a check at the start."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest

from tests.support.speech_server import SpeechServer
from voiceagent.audio.pcm import Pcm
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.section import EngineSection
from voiceagent.server.app import VoiceServer
from voiceagent.server.resources import make_engines
from voiceagent.server.settings import AgentSection
from voiceagent.session.spoken_text import SpokenText
from voiceagent.settings import Settings
from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest, WordTiming
from voiceagent.tts.cache import CachedTts
from voiceagent.tts.checked import CheckedTts
from voiceagent.tts.edge_tts.engine import EdgeTts
from voiceagent.tts.hibari import HibariTts
from voiceagent.tts.languages import is_language, only_in
from voiceagent.tts.normalise import normalise
from voiceagent.tts.normalised import NormalisedTts, WrittenTimings
from voiceagent.tts.openai import OpenAITts
from voiceagent.tts.retried import RetriedTts
from voiceagent.tts.settings import TtsSection
from voiceagent.tts.wrapper import innermost

RATE = 24_000
SOUND: Pcm = np.full(RATE // 10, 1000, np.int16)
STORE = ModelStore()


class Voice:
    """Says a word in a tenth of a second. `failures` are what becomes of its first requests, before the word number
    `after`; None is none, a float is the seconds of silence."""

    sample_rate = RATE

    def __init__(self, *failures: EngineError | float | None, after: int = 0) -> None:
        self.asked: list[TtsRequest] = []
        self._failures = list(failures)
        self._after = after

    async def open(self) -> None: ...

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        self.asked.append(request)
        failure = self._failures.pop(0) if self._failures else None
        for number, word in enumerate(request.text.split()):
            if number == self._after and isinstance(failure, EngineError):
                raise failure
            if number == self._after and isinstance(failure, float):
                await asyncio.sleep(failure)
            yield TtsAudio(SOUND, (WordTiming(word.strip(".,"), number / 10, (number + 1) / 10),))

    async def close(self) -> None: ...


async def spoken(voice: TtsEngine, text: str, **how: str) -> list[TtsAudio]:
    return [piece async for piece in voice.speak(TtsRequest(text, **how))]  # type: ignore[arg-type]


def failed(code: str, retry_after: float = 0.0) -> EngineError:
    return EngineError("tts", code, "it failed", retry_after)


# -- words for figures -------------------------------------------------------------------------------------------------


async def test_the_voice_is_given_words_and_the_timings_are_of_what_is_written() -> None:
    voice = Voice()
    pieces = await spoken(NormalisedTts(voice), "Pay $120.35 at 9:05 now.")
    assert voice.asked[0].text == "Pay one hundred twenty dollars and thirty-five cents at nine oh five now."
    words = [word for piece in pieces for word in piece.words]
    assert [word.word for word in words] == ["Pay", "$120.35", "at", "9:05", "now"]
    assert [(word.start, round(word.end, 3)) for word in words][1] == (0.1, 0.8)


async def test_what_was_heard_of_figures_is_told_as_they_are_written() -> None:
    text = "Pay $120.35 at 9:05, I want to go at five."
    spoken_text = SpokenText()
    spoken_text.begin(text)
    async for piece in NormalisedTts(Voice()).speak(TtsRequest(text)):
        spoken_text.extend(piece.pcm, RATE, piece.words)
    spoken_text.finish()
    assert spoken_text.heard(0.25) == "Pay"
    assert spoken_text.heard(0.79) == "Pay $120.35"
    assert spoken_text.heard(1.22) == "Pay $120.35 at 9:05,"
    assert spoken_text.heard(float("inf")) == text


def timings(text: str, words: Sequence[str]) -> list[str]:
    written = WrittenTimings(normalise(text, None))
    return [found.word for found in written.push(tuple(WordTiming(word, 0.0, 0.1) for word in words))]


def test_a_voice_may_join_and_part_words_as_it_likes() -> None:
    assert timings("我有12个", ["我", "有", "十二", "个"]) == ["我", "有", "12个"]
    assert timings("It is 1,234.", ["It is", "one thousand", "two hundred thirty-four"]) == ["It is", "1,234"]
    assert timings("Hello there.", ["Hello", "there"]) == ["Hello", "there"]
    assert timings("It is 5.", ["It", "was", "five"]) == ["It", "was", "5"]


async def test_the_clause_before_helps_and_is_not_handed_on() -> None:
    voice = Voice()
    await spoken(NormalisedTts(voice), "482913.", before="Your code is")
    assert voice.asked == [TtsRequest("four eight two nine one three.")]


async def test_normalising_can_be_switched_off() -> None:
    async with SpeechServer() as server:
        section = {"engine": "openai", "base_url": server.base_url, "api_key": "x"}
        on = Settings(tts=TtsSection.model_validate(section))
        off = Settings(tts=TtsSection.model_validate({**section, "normalise": False}))
        assert isinstance(make_engines(on).tts, NormalisedTts)
        assert isinstance(make_engines(off).tts, CachedTts)
        assert isinstance(innermost(make_engines(on).tts), OpenAITts)


# -- once more ---------------------------------------------------------------------------------------------------------

virtual = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)


@virtual
@pytest.mark.parametrize("code", ["unavailable", "timeout", "rate_limited", "bad_response", "failed"])
async def test_a_request_that_fails_is_made_once_more(code: str) -> None:
    voice = Voice(failed(code))
    assert len(await spoken(RetriedTts(voice, 5.0), "Hello there")) == 2
    assert len(voice.asked) == 2


@virtual
async def test_a_second_failure_is_one() -> None:
    voice = Voice(failed("unavailable"), failed("failed"))
    with pytest.raises(EngineError) as caught:
        await spoken(RetriedTts(voice, 5.0), "Hello")
    assert (caught.value.code, len(voice.asked)) == ("failed", 2)


@virtual
@pytest.mark.parametrize("error", [failed("bad_request"), failed("unauthorized"), failed("rate_limited", 30.0)])
async def test_what_stays_wrong_is_not_asked_again(error: EngineError) -> None:
    voice = Voice(error)
    with pytest.raises(EngineError):
        await spoken(RetriedTts(voice, 5.0), "Hello")
    assert len(voice.asked) == 1


@virtual
async def test_nothing_is_said_twice() -> None:
    voice = Voice(failed("unavailable"), after=1)
    with pytest.raises(EngineError):
        await spoken(RetriedTts(voice, 5.0), "Hello there")
    assert len(voice.asked) == 1


@virtual
async def test_a_voice_that_hangs_is_asked_again_in_time() -> None:
    voice = Voice(60.0)
    began = asyncio.get_running_loop().time()
    assert len(await spoken(RetriedTts(voice, 5.0), "Hello there")) == 2
    assert asyncio.get_running_loop().time() - began < 6.0


@virtual
async def test_a_pause_within_the_clause_is_no_failure() -> None:
    voice = Voice(8.0, after=1)
    assert len(await spoken(RetriedTts(voice, 5.0), "Hello there")) == 2
    assert len(voice.asked) == 1


# -- at the start ------------------------------------------------------------------------------------------------------


class Knowing(Voice):
    languages = frozenset(["en"])
    voices = frozenset(["anna", "ben"])

    def has_voice(self, voice: str) -> bool:
        return voice in self.voices


@pytest.mark.parametrize(
    ("voice", "language", "problem"),
    [
        ("carl", None, "voice = 'carl'.*anna, ben"),
        (None, "zh", "only English"),
        (None, "zh-CN", "only English"),
        (None, "english", "is not a language"),
        (None, "xx", "is not a language"),
        (None, "", "is not a language"),
    ],
)
async def test_a_wrong_voice_or_language_is_refused_at_the_start(
    voice: str | None, language: str | None, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        await CheckedTts(Knowing(), voice=voice, language=language).open()


@pytest.mark.parametrize(("voice", "language"), [(None, None), ("anna", "en"), ("ben", "en-GB"), (None, "EN_us")])
async def test_a_right_one_is_not(voice: str | None, language: str | None) -> None:
    await CheckedTts(Knowing(), voice=voice, language=language).open()


async def test_a_voice_that_knows_nothing_takes_all_that_can_be() -> None:
    await CheckedTts(Voice(), voice="any", language="yue-HK").open()
    with pytest.raises(ConfigError):
        await CheckedTts(Voice(), voice="any", language="klingon").open()


def test_engines_know_their_voices() -> None:
    hibari = HibariTts(HibariTts.Options(), STORE)
    assert [hibari.has_voice(name) for name in ("heart", "alloy", "nobody")] == [True, True, False]
    edge = EdgeTts(EdgeTts.Options(), STORE)
    assert [edge.has_voice(name) for name in ("en-US-AriaNeural", "alloy", "anna")] == [True, True, False]
    assert {"zh", "en", "de"} <= edge.languages
    assert EdgeTts(EdgeTts.Options(voice="de-DE-KatjaNeural"), STORE).languages == {"de"}
    assert not EdgeTts(EdgeTts.Options(voice="en-US-EmmaMultilingualNeural"), STORE).languages
    theirs = OpenAITts(OpenAITts.Options(base_url="https://api.openai.com/v1"), STORE)
    assert [theirs.has_voice(name) for name in ("alloy", "voice_12ab", "anna")] == [True, True, False]
    assert OpenAITts(OpenAITts.Options(base_url="http://127.0.0.1:1/v1"), STORE).has_voice("anna")


@pytest.mark.real
async def test_the_configured_agent_is_checked() -> None:
    for agent in (AgentSection(voice="nobody"), AgentSection(language="zh")):
        tts = make_engines(Settings(agent=agent, llm=EngineSection(engine="embedded"))).tts
        with pytest.raises(ConfigError, match=r"\[agent\]"):
            await tts.open()
        await tts.close()


@pytest.mark.parametrize(
    ("tag", "expected"), [("en", True), ("zh-Hans-CN", True), ("yue", True), ("e", False), ("en us", False)]
)
def test_tags_of_languages(tag: str, expected: bool) -> None:
    assert is_language(tag) is expected


def test_the_model_is_told_what_the_voice_speaks() -> None:
    assert only_in("Be kind.", ["en"]) == "Be kind. Your voice can only speak English: always answer in English."
    assert "Chinese or English" in only_in("Be kind.", ["zh", "en"]) or "English or Chinese" in only_in(
        "", ["zh", "en"]
    )
    assert only_in("Be kind.", []) == only_in("Be kind.", ["a", "b", "c", "d"]) == "Be kind."


async def test_the_cache_keeps_what_is_said() -> None:
    voice = Voice()
    whole = NormalisedTts(CachedTts(RetriedTts(voice, 5.0)))
    await spoken(whole, "It is 5.")
    await spoken(whole, "It is five.")
    assert len(voice.asked) == 1


def test_the_default_instructions_tell_of_an_english_voice() -> None:
    settings = Settings(llm=EngineSection(engine="embedded"))
    assert VoiceServer(settings, make_engines(settings)).defaults().instructions.endswith("always answer in English.")
    own = Settings(llm=EngineSection(engine="embedded"), agent=AgentSection(instructions="Be kind."))
    assert VoiceServer(own, make_engines(own)).defaults().instructions == "Be kind."


@pytest.mark.real
async def test_hibari_leaves_out_the_sentence_it_cannot_say() -> None:
    engine = HibariTts(HibariTts.Options(), STORE)
    await engine.open()
    try:
        assert len(await spoken(engine, "It is sunny. 你好，世界。 Will you come?")) == 2
        for foreign in ("你好，世界。", "Привет, мир.", "こんにちは"):
            with pytest.raises(EngineError, match="English only"):
                await spoken(engine, foreign)
    finally:
        await engine.close()
