"""Who has the floor, and that not one sample is lost, repeated or sent too much: in virtual time, by the sample."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from tests.support.session.bench import Answer, WordsAsr, bench, voice_of
from voiceagent.audio.pcm import Pcm
from voiceagent.errors import Refused
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import Item, Part
from voiceagent.session.options import SessionOptions
from voiceagent.session.timeline import MARKS
from voiceagent.turn.options import TurnOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

LONG = (
    "The moon goes around the earth. It takes about a month for one round. It has no air and no water to speak of. "
    "People have walked on it twelve times so far."
)


async def test_a_turn_is_answered_to_the_sample() -> None:
    async with bench(LONG, words=["Tell me about the moon."]) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        assert client.text().strip() == LONG
        assert client.model.prompt() == [("system", "Be brief."), ("user", "Tell me about the moon.")]
        await client.until(ev.ResponsePlayed)
        assert all(partial.text for partial in client.of(ev.TranscriptPartial))  # a guess never takes words back


@pytest.mark.parametrize("cough", [0.06, 0.09])
async def test_a_cough_costs_a_pause_and_not_one_sample(cough: float) -> None:
    async with bench(LONG) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 20)
        for _ in range(3):
            await client.say(cough)
            await asyncio.sleep(1.0)
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        assert len(client.of(ev.SpeechStarted)) == 1
        assert client.longest_gap > 0.1  # it did fall silent


async def test_a_cough_while_the_agent_thinks_changes_nothing() -> None:
    async with bench(Answer(LONG, first=2.0)) as client:
        await client.turn()
        await client.until(ev.ResponseStarted)
        await client.say(0.1)
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        assert len(client.of(ev.SpeechStarted)) == 1


async def test_interrupted_while_thinking_the_next_answer_is_to_both() -> None:
    async with bench(Answer("Late.", first=3.0), "To both.", words=["One.", "Two."]) as client:
        await client.turn()
        await client.until(ev.ResponseStarted)
        await client.turn()
        done = await client.until(ev.ResponseDone, 2)
        assert [reply.status for reply in client.of(ev.ResponseDone)] == ["cancelled", "completed"]
        assert client.of(ev.ResponseDone)[0].item is None
        assert client.text(1) == "To both. "
        assert client.model.prompt()[1:] == [("user", "One.\nTwo.")]
        assert done.item is not None


async def test_going_on_before_the_answer_began_gives_one_answer_to_all() -> None:
    async with bench("All.", asr=WordsAsr(["One.", "Two."], seconds=1.0)) as client:
        await client.turn(1.0)
        await client.turn(2.0)
        await client.until(ev.ResponseDone)
        await asyncio.sleep(3.0)
        assert len(client.of(ev.ResponseStarted)) == 1
        assert "One." in str(client.model.prompt())
        assert "Two." in str(client.model.prompt())


async def test_a_cancelled_answer_sends_not_one_sample_more() -> None:
    async with bench(LONG, "Yes?") as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 30)
        await client.say(1.0)
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.reason) == ("cancelled", "turn_detected")
        position = client.events.index(done)
        late = [event for event in client.events[position:] if isinstance(event, ev.ResponseAudio)]
        assert all(event.response_id != done.response_id for event in late)
        started = client.events.index(client.of(ev.SpeechStarted)[1])
        assert started < position  # the client is told to flush before anything else
        heard = client.audio(0)
        assert np.array_equal(heard, client.expected()[: len(heard)])
        assert done.item is not None
        assert LONG.startswith(done.item.text)
        assert 0 < len(done.item.text) < len(LONG) / 2


async def test_ten_interruptions_in_a_row_and_what_was_heard_each_time() -> None:
    async with bench(LONG, words=[f"Turn {number}." for number in range(11)]) as client:
        for number in range(10):
            sent = len(client.of(ev.ResponseAudio))
            await client.turn(0.6)
            await client.until(ev.ResponseAudio, sent + 15 + 7 * number)
        await client.say(0.6)
        await client.until(ev.ResponseDone, 10)
        heard = [done.item.text for done in client.of(ev.ResponseDone)[:10] if done.item]
        assert len(heard) == 10
        assert all(LONG.startswith(text) and text for text in heard)
        assert [len(text) for text in heard] == sorted(len(text) for text in heard)
        await client.until(ev.ResponseDone, 11)
        prompt = [text for role, text in client.model.prompt() if role == "assistant"]
        assert prompt == heard


async def test_two_short_turns_in_quick_succession() -> None:
    async with bench("First answer here.", "Second answer here.", words=["One.", "Two."]) as client:
        await client.turn(0.3)
        await client.turn(0.6)
        await client.until(ev.TranscriptDone, 2)
        await asyncio.sleep(8)
        assert client.of(ev.ResponseDone)[-1].status == "completed"
        assert [done.text for done in client.of(ev.TranscriptDone)] == ["One.", "Two."]
        assert "Two." in client.model.prompt()[-1][1]


async def test_an_answer_that_may_not_be_interrupted_ends_first() -> None:
    options = SessionOptions(turn=TurnOptions(interrupt_response=False))
    async with bench(LONG, "Second.", options=options, words=["One.", "Two.", "Three."]) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 10)
        await client.turn(0.5)
        await client.turn(0.5)
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        first = voice_of_reply(client.voice.spoken, LONG)
        assert np.array_equal(client.audio(0), first)
        await client.until(ev.ResponseDone, 2)
        assert "Three." in str(client.model.prompt(1))


def voice_of_reply(spoken: list[str], text: str) -> Pcm:
    """The audio of the clauses that belong to this text."""
    clauses = [clause for clause in spoken if clause in text]
    return np.concatenate([voice_of(clause) for clause in clauses])


async def test_without_create_reply_only_the_words_come() -> None:
    options = SessionOptions(turn=TurnOptions(create_response=False))
    async with bench("On request.", options=options) as client:
        await client.turn()
        await client.until(ev.TranscriptDone)
        await asyncio.sleep(5)
        assert not client.of(ev.ResponseStarted)
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert client.model.prompt()[-1] == ("user", "Hello there.")


# -- a reply always ends, whatever the client does while it is paused -------------------------------------------------


async def test_a_reply_asked_for_while_the_user_speaks_is_not_stuck() -> None:
    options = SessionOptions(turn=TurnOptions(create_response=False))
    async with bench("Here you are.", options=options) as client:
        speaking = asyncio.create_task(client.say(1.0))
        await client.until(ev.SpeechStarted)
        client.ask(cmd.CreateResponse())
        await speaking
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())


async def test_a_reply_asked_for_while_the_user_speaks_does_not_hold_back_the_next() -> None:
    async with bench("Here you are.", "And to that.") as client:
        speaking = asyncio.create_task(client.say(1.0))
        await client.until(ev.SpeechStarted)
        client.ask(cmd.CreateResponse())
        await speaking
        await client.until(ev.ResponseDone, 2)
        assert [done.status for done in client.of(ev.ResponseDone)] == ["completed", "completed"]


async def test_clearing_the_audio_ends_the_pause() -> None:
    async with bench(LONG) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 20)
        await client.say(0.09)
        client.muted = True
        client.ask(cmd.ClearAudio())
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())


async def test_a_microphone_that_falls_silent_for_good_ends_the_pause() -> None:
    async with bench(LONG) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 20)
        await client.say(0.09)
        client.muted = True
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        assert client.longest_gap < 5


async def test_turning_detection_off_ends_the_pause() -> None:
    async with bench(LONG) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 20)
        await client.say(0.09)
        client.ask(cmd.Configure(SessionOptions(turn=None)))
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        assert client.longest_gap < 5


async def test_a_voice_given_up_is_closed_in_its_own_task() -> None:
    async with bench(LONG * 3, "Yes?") as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 30)
        await client.say(1.0)
        await client.until(ev.ResponseDone, 2)
        assert client.voice.hung_up_in == ["tts"]


# -- asked for by the client ------------------------------------------------------------------------------------------


async def test_an_answer_while_another_is_active_is_refused_and_disturbs_nothing() -> None:
    async with bench(LONG) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 5)
        for _ in range(3):
            with pytest.raises(Refused) as refused:
                client.ask(cmd.CreateResponse())
            assert refused.value.code == "conversation_already_has_active_response"
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        assert len(client.model.requests) == 1


@pytest.mark.parametrize("stage", ["created", "thinking", "first sound", "middle"])
async def test_cancelling_at_every_stage(stage: str) -> None:
    async with bench(Answer(LONG, first=1.0), "Again.", microphone=False) as client:
        with pytest.raises(Refused) as refused:
            client.ask(cmd.CancelResponse())
        assert refused.value.code == "response_cancel_not_active"
        client.ask(cmd.CreateResponse())
        response_id = client.of(ev.ResponseStarted)[0].response_id
        match stage:
            case "thinking":
                await asyncio.sleep(0.5)
            case "first sound":
                await client.until(ev.ResponseAudio)
            case "middle":
                await client.until(ev.ResponseAudio, 60)
        with pytest.raises(Refused):
            client.ask(cmd.CancelResponse("resp_of_somebody_else"))
        client.ask(cmd.CancelResponse(response_id))
        done = client.of(ev.ResponseDone)[0]
        assert (done.status, done.reason) == ("cancelled", "client_cancelled")
        with pytest.raises(Refused):
            client.ask(cmd.CancelResponse(response_id))
        sent = len(client.of(ev.ResponseAudio))
        client.ask(cmd.CreateResponse())  # the next may follow at once
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"
        assert client.events.index(client.of(ev.ResponseStarted)[1]) > client.events.index(done)
        assert all(audio.response_id != response_id for audio in client.of(ev.ResponseAudio)[sent:])


async def test_cancelling_what_is_already_sent_is_refused() -> None:
    async with bench("Short.", microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        with pytest.raises(Refused):
            client.ask(cmd.CancelResponse())
        await client.until(ev.ResponsePlayed)


async def test_changing_the_session_in_the_middle_of_a_reply_is_for_the_next_one() -> None:
    async with bench(LONG, "Kurz.") as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 10)
        client.ask(cmd.Configure(SessionOptions(instructions="Now be a pirate.", output_rate=8000, voice="x")))
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())
        spoken = len(client.voice.spoken)
        await client.until(ev.ResponsePlayed)
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert client.model.prompt()[0] == ("system", "Now be a pirate.")
        seconds = sum(len(voice_of(text)) for text in client.voice.spoken[spoken:]) / 24_000
        assert len(client.audio(1)) == pytest.approx(seconds * 8000, abs=2)


# -- an answer prepared in a pause is to the talk as it is when the turn ends ----------------------------------------


async def test_what_the_client_changes_in_the_pause_is_in_the_answer() -> None:
    options = SessionOptions(instructions="Be brief.", turn=TurnOptions(silence_ms=1500))
    async with bench(LONG, "Aye.", "Aye.", options=options) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 60)
        await client.say(1.0)
        reply_item = client.of(ev.ResponseItemAdded)[0].item.id
        await asyncio.sleep(0.8)  # the next answer is being prepared
        assert len(client.model.requests) == 2
        client.ask(cmd.TruncateItem(reply_item, 1000))
        client.ask(cmd.CreateItem(Item("note", "system", (Part("text", "It is night."),))))
        client.ask(cmd.Configure(replace(options, instructions="Be a pirate.")))
        await client.until(ev.ResponseDone, 2)
        prompt = client.model.prompt()
        assert prompt[0] == ("system", "Be a pirate.")
        heard = next(text for role, text in prompt if role == "assistant")
        assert 5 < len(heard) < 25
        assert "It is night." in str(prompt)
        assert len(client.of(ev.ResponseStarted)) == 2


async def test_the_timeline_of_a_turn_names_every_station_in_order() -> None:
    async with bench("An answer.") as client:
        await client.turn(0.8)
        timed = await client.until(ev.TurnTimed)
        marks = timed.timeline.marks()
        assert list(marks) == [mark for mark in MARKS if mark != "interrupted"]
        assert marks["onset"] == 0 < marks["speech_end"] < marks["paused"] <= marks["prepared"] < marks["committed"]
        assert marks["committed"] <= marks["first_audio"] < marks["heard"]
        assert sum(timed.timeline.parts().values()) == timed.timeline.response_ms


async def test_a_voice_without_words_that_cut_the_agent_off_is_answered_all_the_same() -> None:
    async with bench(LONG, "As I said.", words=["Tell me.", ""]) as client:
        await client.turn(0.8)
        await client.until(ev.ResponseAudio, 20)
        await client.turn(2.0)
        await client.until(ev.ResponseDone, 2)
        assert [done.status for done in client.of(ev.ResponseDone)] == ["cancelled", "completed"]
        assert [role for role, _ in client.model.prompt()] == ["system", "user", "assistant"]
