"""What is said when the answer is slow: in virtual time, to the sample."""

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise

import numpy as np
import pytest

from tests.session.test_items import Notes
from tests.support.session.bench import RATE, Answer, NoiseVoice, bench, voice_of
from tests.support.session.tools import PlainTool, box, call
from voiceagent.errors import EngineError
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.context import without_filler
from voiceagent.session.options import SessionOptions
from voiceagent.session.phrases import STYLES_KEPT, Fillers, SpeakingStyle
from voiceagent.session.settings import FillerSection
from voiceagent.settings import Settings
from voiceagent.tools.base import ToolPolicy
from voiceagent.tts.base import TtsAudio, TtsRequest

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

SLOW = Settings(filler=FillerSection(after_ms=600))
EN = ("Let me see…", "One moment…", "Let me think…")
LONG = "The moon goes around the earth. It takes about a month for one round. It has no air and no water to speak of."


async def test_a_slow_model_is_covered_and_the_answer_follows() -> None:
    notes = Notes()
    async with bench(Answer(LONG, first=3.0), "Next.", settings=SLOW, store=notes, user="me") as client:
        await client.turn()
        started = await client.until(ev.ResponseStarted)
        released = client.times[client.events.index(started)]
        audio = await client.until(ev.ResponseAudio)
        assert client.times[client.events.index(audio)] - released == pytest.approx(0.6)
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        assert done.item is not None
        assert done.item.text == client.text() == f"{EN[0]} {LONG} "
        expected = np.concatenate([voice_of(EN[0]), *(voice_of(text) for text in client.voice.spoken[3:])])
        assert np.array_equal(client.audio(), expected)
        await client.until(ev.ResponsePlayed)
        # What was heard is in the memory; the model is not taught the habit.
        assert list(notes.now().values())[-1].startswith(EN[0])
        timed = client.of(ev.TurnTimed)[0].timeline
        assert timed.first_audio is not None
        assert timed.first_token is not None
        assert timed.first_audio >= timed.first_token
        assert sum(timed.parts().values()) == timed.response_ms
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert ("assistant", f"{LONG} ") in client.model.prompt()
        assert client.session._responses.clock.gaps == 0


async def test_a_quick_model_needs_none() -> None:
    async with bench(Answer(LONG, first=0.3), settings=SLOW) as client:
        await client.turn()
        await client.until(ev.ResponseDone)
        assert client.text() == f"{LONG} "


async def test_by_default_nothing_is_said() -> None:
    async with bench(Answer("Late.", first=5.0)) as client:
        await client.turn()
        await client.until(ev.ResponseDone)
        assert client.text() == "Late. "
        assert client.voice.spoken == ["Late."]


async def test_never_the_same_twice_in_a_row() -> None:
    async with bench(Answer("Late.", first=2.0), settings=SLOW, microphone=False) as client:
        for number in range(7):
            client.ask(cmd.CreateResponse())
            await client.until(ev.ResponsePlayed, number + 1)
        said = [client.text(number).removesuffix(" Late. ") for number in range(7)]
        assert set(said) == set(EN)
        assert all(one != after for one, after in pairwise(said))


@pytest.mark.parametrize(
    ("options", "words"), [(SessionOptions(language="zh-CN"), "hi"), (SessionOptions(), "你好吗?")]
)
async def test_in_the_language_of_the_talk(options: SessionOptions, words: str) -> None:
    async with bench(Answer("好。", first=2.0), words=[words], options=options, settings=SLOW) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await client.turn()  # by now its phrases are ready, even if the language was a surprise
        await client.until(ev.ResponseDone, 2)
        assert client.text(1) == "我想想…好。 " or client.text(1) == "稍等一下…好。 "


async def test_a_filler_can_be_interrupted_and_what_was_heard_of_it_is_kept() -> None:
    async with bench(Answer("Late.", first=5.0), "Yes?", words=["One.", "Two."], settings=SLOW) as client:
        await client.turn()
        await client.until(ev.ResponseAudio)
        await client.turn(1.2)
        done = await client.until(ev.ResponseDone, 2)
        first = client.of(ev.ResponseDone)[0]
        assert first.status == "cancelled"
        assert first.item is not None
        assert EN[0].startswith(first.item.text)
        assert first.item.text
        assert client.model.prompt()[1:] == [("user", "One.\nTwo.")]
        assert done.status == "completed"


async def test_typed_replies_and_those_of_set_words_have_none() -> None:
    async with bench(Answer("Late.", first=3.0), settings=SLOW, microphone=False) as client:
        client.ask(cmd.CreateResponse(modality="text"))
        await client.until(ev.ResponseDone)
        assert client.text() == "Late. "
        client.ask(cmd.CreateResponse(words="Just this."))
        await client.until(ev.ResponseDone, 2)
        assert client.text(1) == "Just this."
        assert len(client.model.requests) == 1


async def test_a_failure_after_a_filler_is_apologised_for() -> None:
    answer = Answer("", first=2.0, end=EngineError("llm", "unavailable", "gone"))
    async with bench(answer, settings=SLOW, microphone=False) as client:
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.status == "failed"
        assert client.text().endswith("Sorry.")


# -- while tools run --------------------------------------------------------------------------------------------------


async def test_a_slow_tool_is_covered() -> None:
    notes = Notes()
    tool = PlainTool("a", "there", 3.0, ToolPolicy(filler_ms=700))
    async with bench(
        Answer("", calls=(call("a"),)), "Here it is.", toolbox=box(tool), store=notes, user="me"
    ) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed, 3)
        assert [client.text(number) for number in range(3)] == ["", f"{EN[0]} ", "Here it is. "]
        called = client.times[client.events.index(client.of(ev.ToolCalled)[0])]
        audio = client.times[client.events.index(client.of(ev.ResponseAudio)[0])]
        assert audio - called == pytest.approx(0.7, abs=0.01)
        await asyncio.sleep(1)
        assert list(notes.now().values())[1:] == [f"{EN[0]} ", "Here it is. "]
        assert all("see" not in text for _, text in client.model.prompt())
        assert np.array_equal(client.audio(1), voice_of(EN[0]))


async def test_the_answer_waits_for_the_filler_to_end() -> None:
    tool = PlainTool("a", "there", 0.8, ToolPolicy(filler_ms=700))
    async with bench(Answer("", calls=(call("a"),)), "Here it is.", toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed, 3)
        assert [done.status for done in client.of(ev.ResponseDone)] == ["completed"] * 3
        assert np.array_equal(client.audio(2), voice_of("Here it is."))


@pytest.mark.parametrize("tool", [PlainTool("a", "x", 0.3), PlainTool("a", "x", 3.0, ToolPolicy(filler_ms=0))])
async def test_a_quick_tool_or_one_that_wants_none(tool: PlainTool) -> None:
    async with bench(Answer("", calls=(call("a"),)), "Here.", toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert client.text(1) == "Here. "


async def test_the_user_interrupts_the_filler_and_with_it_the_tool() -> None:
    tool = PlainTool("a", "late", 9.0)
    async with bench(Answer("", calls=(call("a"),)), "Yes?", toolbox=box(tool), words=["One.", "Two."]) as client:
        await client.turn()
        await client.until(ev.ResponseAudio)
        await client.turn(1.2)
        await client.until(ev.ResponseDone, 3)
        assert tool.cancelled == 1
        assert [done.status for done in client.of(ev.ResponseDone)] == ["completed", "cancelled", "completed"]


async def test_typed_talks_have_no_filler() -> None:
    options = SessionOptions(modality="text")
    tool = PlainTool("a", "x", 3.0)
    async with bench(
        Answer("", calls=(call("a"),)), "Here.", toolbox=box(tool), options=options, microphone=False
    ) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert [client.text(number) for number in range(2)] == ["", "Here. "]


# -- the phrases ------------------------------------------------------------------------------------------------------


class EnglishVoice(NoiseVoice):
    """Has no sound for Chinese."""

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        if request.text.isascii() or ("…" in request.text and request.text[0] < "z"):
            async for audio in super().speak(request):
                yield audio


async def test_phrases_are_rendered_once_for_every_manner() -> None:
    voice = NoiseVoice()
    fillers = Fillers(voice, FillerSection())
    for rate in (RATE, 8000, RATE):
        await fillers.prepare(SpeakingStyle("en", rate))
    assert len(voice.spoken) == 6
    phrase = fillers.after(SpeakingStyle("en", 8000), "")
    assert phrase is not None
    assert len(phrase.pcm) == pytest.approx(len(voice_of(EN[0])) / 3, abs=1)
    for rate in range(1, STYLES_KEPT + 1):
        await fillers.prepare(SpeakingStyle("xx", rate))
    assert fillers.after(SpeakingStyle("en", 8000), "") is None


async def test_a_voice_that_cannot_say_them_says_nothing() -> None:
    fillers = Fillers(EnglishVoice(), FillerSection())
    await fillers.prepare(SpeakingStyle("zh", RATE))
    assert fillers.after(SpeakingStyle("zh", RATE), "") is None
    voice = NoiseVoice()
    voice.fail_at = 1
    fillers = Fillers(voice, FillerSection())
    await fillers.prepare(SpeakingStyle("en", RATE))
    assert fillers.after(SpeakingStyle("en", RATE), "") is None
    await fillers.prepare(SpeakingStyle("en", RATE))  # the voice is back
    assert fillers.after(SpeakingStyle("en", RATE), "") is not None


async def test_one_phrase_alone_is_not_said_twice() -> None:
    fillers = Fillers(NoiseVoice(), FillerSection(phrases={"en": ("Well…",)}))
    await fillers.prepare(SpeakingStyle("en", RATE))
    assert fillers.after(SpeakingStyle("en", RATE), "Well… ") is None
    assert fillers.after(SpeakingStyle("en", RATE), "") is not None
    assert fillers.language(None, "de-DE", words="你好") == "en"


@pytest.mark.parametrize(
    ("text", "own"),
    [("Let me see… Paris.", "Paris."), ("Let me see…", ""), ("Let", ""), ("Paris.", "Paris."), ("", "")],
)
def test_what_is_left_without_the_filler(text: str, own: str) -> None:
    assert without_filler(text, "Let me see… ") == own
    assert without_filler(text, "") == text
