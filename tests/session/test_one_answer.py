"""One answer to a turn, in virtual time, whoever asks for it and when."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from tests.support.session.bench import SPOKEN, Answer, Bench, WordsAsr, bench
from tests.support.session.tools import PlainTool, call
from voiceagent.audio.pcm import EAR_RATE
from voiceagent.errors import EngineError, Refused
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import FunctionOutput
from voiceagent.session.options import SessionOptions
from voiceagent.settings import Settings
from voiceagent.turn.options import TurnOptions, TurnSection

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

NO_SPECULATION = Settings(turn=TurnSection(speculations=0))
TOOLS = SessionOptions(tools=(PlainTool("a").spec,))
LONG = "This is an answer that takes some seconds to say, so that somebody can interrupt it."


def recording(*parts: float) -> cmd.AppendAudio:
    """Seconds of voice and of silence in turn, in one piece."""
    frames = [np.tile(SPOKEN, round(part * 50)) * (number % 2 == 0) for number, part in enumerate(parts)]
    return cmd.AppendAudio(np.concatenate(frames).astype(np.int16), EAR_RATE)


async def all_is_said(client: Bench) -> None:
    await asyncio.sleep(30)
    assert not client.session.busy


@pytest.mark.parametrize(
    "parts", [(1.0,), (3.0, 0.3), (1.0, 2.0), (1.0, 2.0, 1.0), (1.0, 2.0, 1.0, 2.0), (5.0, 0.5, 5.0)]
)
async def test_recorded_speech_does_not_interrupt_what_is_asked_after_it(parts: tuple[float, ...]) -> None:
    async with bench(LONG, microphone=False) as client:
        client.ask(recording(*parts))
        client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        assert client.text().strip() == LONG
        await all_is_said(client)
        assert len(client.of(ev.ResponseStarted)) == 1
        assert len(client.model.requests) == 1
        assert ("user", client.model.prompt()[-1][1]) == client.model.prompt()[-1]


async def test_two_recordings_before_one_request() -> None:
    async with bench(LONG, words=["One.", "Two."], microphone=False) as client:
        for _ in range(2):
            client.ask(recording(2.0))
            client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone)).status == "completed"
        await all_is_said(client)
        assert client.model.prompt()[-1] == ("user", "One.\nTwo.")
        assert len(client.of(ev.ResponseStarted)) == 1


async def test_a_voice_after_the_commit_interrupts() -> None:
    async with bench(LONG, microphone=False) as client:
        client.ask(recording(2.0))
        client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseAudio, 10)
        for _ in range(100):
            client.ask(cmd.AppendAudio(SPOKEN, EAR_RATE))
            await asyncio.sleep(0.02)
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.reason) == ("cancelled", "turn_detected")


@pytest.mark.parametrize("settings", [Settings(), NO_SPECULATION], ids=["speculation", "none"])
@pytest.mark.parametrize("slow", [0.05, 3.0])
@pytest.mark.parametrize("late", [0.0, 0.02, 0.2])
async def test_a_request_when_speech_stops_is_answered_once(settings: Settings, slow: float, late: float) -> None:
    async with bench("Here you are.", settings=settings, asr=WordsAsr(["Hello."], slow)) as client:
        speaking = asyncio.create_task(client.say(1.0))
        await client.until(ev.SpeechStopped)
        await asyncio.sleep(late)
        with suppress(Refused):  # it is being answered
            client.ask(cmd.CreateResponse())
        await speaking
        assert (await client.until(ev.ResponseDone)).status == "completed"
        await all_is_said(client)
        assert len(client.of(ev.ResponseStarted)) == 1
        assert client.model.prompt()[-1] == ("user", "Hello.")


async def test_a_failed_recognition_is_apologised_for_once() -> None:
    asr = WordsAsr([EngineError("asr", "unavailable", "gone")], 2.0)
    async with bench(asr=asr, settings=NO_SPECULATION) as client:
        speaking = asyncio.create_task(client.say(1.0))
        await client.until(ev.SpeechStopped)
        await asyncio.sleep(0.1)
        client.ask(cmd.CreateResponse())
        await speaking
        await all_is_said(client)
        assert [event.error_code for event in client.of(ev.ResponseDone)] == ["asr_unavailable"]


@pytest.mark.parametrize("by_itself", [True, False])
async def test_a_tools_result_waits_for_the_turn(by_itself: bool) -> None:
    options = SessionOptions(tools=TOOLS.tools, turn=TurnOptions(create_response=by_itself))
    answers = Answer("", calls=(call("a"),)), "It is four, and here you are."
    async with bench(*answers, words=["How late is it?", "And some water."], options=options) as client:
        if by_itself:
            await client.turn()
        else:
            await client.turn()
            client.ask(cmd.CreateResponse())
        called = await client.until(ev.ToolCalled)
        speaking = asyncio.create_task(client.say(2.0))
        await client.until(ev.SpeechStarted, 2)
        client.ask(cmd.CreateItem(FunctionOutput("out", called.call.call_id, "four")))
        client.ask(cmd.CreateResponse())
        await asyncio.sleep(0.3)
        assert len(client.of(ev.ResponseStarted)) == 1
        await speaking
        done = await client.until(ev.ResponseDone, 2)
        assert done.status == "completed"
        await all_is_said(client)
        assert len(client.of(ev.ResponseStarted)) == 2
        roles = [role for role, _ in client.model.prompt()]
        assert roles[-3:] == ["assistant", "tool", "user"]


async def test_a_result_is_answered_when_the_turn_comes_to_nothing() -> None:
    answers = Answer("", calls=(call("a"),)), "It is four."
    async with bench(*answers, words=["How late is it?", "[BLANK_AUDIO]"], options=TOOLS) as client:
        await client.turn()
        called = await client.until(ev.ToolCalled)
        speaking = asyncio.create_task(client.say(1.0))
        await client.until(ev.SpeechStarted, 2)
        client.ask(cmd.CreateItem(FunctionOutput("out", called.call.call_id, "four")))
        client.ask(cmd.CreateResponse())
        await speaking
        await client.until(ev.ResponseDone, 2)
        assert client.text(1).strip() == "It is four."


async def test_a_result_is_answered_when_the_turn_is_cleared() -> None:
    answers = Answer("", calls=(call("a"),)), "It is four."
    async with bench(*answers, options=TOOLS) as client:
        await client.turn()
        called = await client.until(ev.ToolCalled)
        speaking = asyncio.create_task(client.say(1.0))
        await client.until(ev.SpeechStarted, 2)
        client.ask(cmd.CreateItem(FunctionOutput("out", called.call.call_id, "four")))
        client.ask(cmd.CreateResponse())
        client.muted = True
        client.ask(cmd.ClearAudio())
        await speaking
        await client.until(ev.ResponseDone, 2)
        assert client.text(1).strip() == "It is four."


WORDLESS = (".", "...", "[BLANK_AUDIO]", "(music)", "♪", "♪♪♪", "<noise>", "<|nospeech|>", "。", "，。？！", "（音乐）",
            "【掌声】", "*coughs*", "[MUSIC PLAYING] (applause)", "🎼", "-", "[BLANK_AUDIO", " \n", "…")  # fmt: skip


@pytest.mark.parametrize("transcript", WORDLESS)
@pytest.mark.parametrize("settings", [Settings(), NO_SPECULATION], ids=["speculation", "none"])
async def test_a_transcript_without_words_is_no_turn(transcript: str, settings: Settings) -> None:
    async with bench("What?", words=[transcript, "Hello."], settings=settings) as client:
        await client.turn()
        assert (await client.until(ev.TranscriptDone)).text == ""
        await asyncio.sleep(5)
        assert not client.model.requests
        await client.turn()
        await client.until(ev.ResponseDone)
        assert client.model.prompt()[1:] == [("user", "Hello.")]


@pytest.mark.parametrize("transcript", ["No.", "[noise] Yes", "(laughs) 好", "3", "да"])
async def test_a_transcript_with_words_is_a_turn(transcript: str) -> None:
    async with bench("What?", words=[transcript]) as client:
        await client.turn()
        await client.until(ev.ResponseDone)
        assert client.model.prompt()[1:] == [("user", transcript)]


@pytest.mark.parametrize("slow", [0.05, 2.0], ids=["understood", "not yet understood"])
async def test_a_question_that_was_withdrawn_is_not_asked_with_the_next(slow: float) -> None:
    asr = WordsAsr(["What is the weather?", "What time is it?"], slow)
    async with bench(Answer("It rains.", first=3.0), Answer("Four."), asr=asr) as client:
        await client.turn()
        await asyncio.sleep(0.5)
        client.ask(cmd.Interrupt(withdraw=True))
        await client.until(ev.TranscriptDone)
        await client.turn()
        await client.until(ev.ResponseDone, len(client.of(ev.ResponseDone)) + 1)
        assert client.model.prompt()[1:] == [("user", "What time is it?")]


async def test_a_question_whose_answer_was_heard_stays() -> None:
    async with bench(LONG, "Four.", words=["What is the weather?", "What time is it?"]) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 30)
        await asyncio.sleep(1)
        client.ask(cmd.Interrupt(withdraw=True))
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert [role for role, _ in client.model.prompt()[1:]] == ["user", "assistant", "user"]
