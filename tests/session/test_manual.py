"""Turns that the client ends by hand (turn_detection null, or a commit on top of detection), in virtual time."""

import asyncio

import numpy as np
import pytest

from tests.support.session.bench import LoudnessVad, WordsAsr, bench, unguarded
from voiceagent.audio.pcm import EAR_RATE
from voiceagent.errors import EngineError, Refused
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import Item
from voiceagent.session.options import SessionOptions
from voiceagent.turn.options import TurnOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

BY_HAND = SessionOptions(instructions="Be brief.", turn=None)


def sound(seconds: float, level: int = 1000) -> cmd.AppendAudio:
    return cmd.AppendAudio(np.full(int(seconds * EAR_RATE), level, np.int16), EAR_RATE)


async def test_commit_and_create_in_one_breath_answer_what_was_said() -> None:
    """What every push-to-talk client does: append, commit and create without waiting for anything."""
    async with bench("Gladly.", words=["Open the door."], options=BY_HAND, microphone=False) as client:
        client.ask(sound(2.0))
        client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert client.model.prompt() == [("system", "Be brief."), ("user", "Open the door.")]
        assert [item.item.role for item in client.of(ev.ItemAdded) if isinstance(item.item, Item)] == ["user"]
        assert client.of(ev.ResponseItemAdded)[0].previous_item_id == client.of(ev.AudioCommitted)[0].item_id
        assert len(client.model.requests) == 1
        assert not client.of(ev.SpeechStarted)
        assert not client.of(ev.SpeechStopped)


async def test_a_reply_asked_for_with_a_slow_recogniser_waits_for_all_turns() -> None:
    asr = WordsAsr(["One.", "Two."], seconds=2.0)
    async with bench("Both.", asr=asr, options=BY_HAND, microphone=False) as client:
        for _ in range(2):
            client.ask(sound(1.0))
            client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        assert "One." in str(client.model.prompt())
        assert "Two." in str(client.model.prompt())


async def test_a_reply_that_waits_for_words_can_be_cancelled_and_refuses_a_second() -> None:
    asr = WordsAsr(["One."], seconds=2.0)
    async with bench("No.", asr=asr, options=BY_HAND, microphone=False) as client:
        client.ask(sound(1.0))
        client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        with pytest.raises(Refused):
            client.ask(cmd.CreateResponse())
        await asyncio.sleep(1.0)
        client.ask(cmd.CancelResponse())
        assert client.of(ev.ResponseDone)[0].status == "cancelled"
        await asyncio.sleep(5.0)
        assert not client.model.requests
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"


async def test_words_that_cannot_be_recognised_are_apologised_for() -> None:
    failure = EngineError("asr", "unavailable", "no recogniser")
    async with bench("Never.", words=[failure, "Two."], options=BY_HAND, microphone=False) as client:
        client.ask(sound(1.0))
        client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "asr_unavailable")
        assert len(client.audio()) == 12_000
        assert not client.model.requests
        await client.until(ev.ResponsePlayed)
        client.ask(sound(1.0))
        client.ask(cmd.CommitAudio())
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone, 2)).status == "completed"


async def test_a_commit_needs_a_tenth_of_a_second() -> None:
    async with bench(options=BY_HAND, microphone=False) as client:
        for seconds in (0.0, 0.05, 0.049):
            client.ask(sound(seconds))
            with pytest.raises(Refused) as refused:
                client.ask(cmd.CommitAudio())
            assert refused.value.code == "input_audio_buffer_commit_empty"
        client.ask(sound(0.001))
        client.ask(cmd.CommitAudio())
        await client.until(ev.TranscriptDone)
        with pytest.raises(Refused):
            client.ask(cmd.CommitAudio())


async def test_a_commit_without_any_speech_is_an_empty_turn() -> None:
    async with bench(words=[""], options=BY_HAND, microphone=False) as client:
        client.ask(sound(1.0, level=0))
        client.ask(cmd.CommitAudio())
        assert (await client.until(ev.TranscriptDone)).text == ""
        assert len(client.of(ev.AudioCommitted)) == 1
        client.ask(cmd.CreateResponse())
        assert (await client.until(ev.ResponseDone)).status == "completed"


async def test_nothing_is_answered_unasked() -> None:
    async with bench(options=BY_HAND, microphone=False) as client:
        client.ask(sound(1.0))
        client.ask(cmd.CommitAudio())
        await client.until(ev.TranscriptDone)
        await asyncio.sleep(30)
        assert not client.of(ev.ResponseStarted)


async def test_what_was_cleared_is_not_in_the_turn() -> None:
    asr = WordsAsr(["Two."])
    async with bench(asr=asr, options=BY_HAND, microphone=False) as client:
        client.ask(sound(3.0))
        client.ask(cmd.ClearAudio())
        with pytest.raises(Refused):
            client.ask(cmd.CommitAudio())
        client.ask(sound(1.0))
        client.ask(cmd.CommitAudio())
        await client.until(ev.TranscriptDone)
        assert asr.heard == [EAR_RATE]
        assert len(client.of(ev.AudioCleared)) == 1


async def test_turns_by_hand_hold_exactly_what_was_appended() -> None:
    asr = WordsAsr(["x"])
    async with bench(asr=asr, options=BY_HAND, microphone=False) as client:
        for seconds in (0.5, 2.0, 0.25):
            for _ in range(5):
                client.ask(sound(seconds / 5))
            client.ask(cmd.CommitAudio())
        await client.until(ev.TranscriptDone, 3)
        assert asr.heard == [EAR_RATE // 2, 2 * EAR_RATE, EAR_RATE // 4]
        ids = [event.item_id for event in client.of(ev.AudioCommitted)]
        assert [event.previous_item_id for event in client.of(ev.AudioCommitted)] == [None, *ids[:-1]]


async def test_the_agent_goes_on_while_the_user_records_by_hand() -> None:
    async with bench("One answer that takes a while.", options=BY_HAND) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseAudio)
        await client.say(1.0)
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert np.array_equal(client.audio(), client.expected())


async def test_a_commit_on_top_of_detection_is_a_turn_but_asks_for_no_answer() -> None:
    """As in the real protocol: a commit by itself never makes a response."""
    async with bench(microphone=False) as client:
        client.ask(sound(1.0, level=0))
        client.ask(cmd.CommitAudio())
        assert (await client.until(ev.TranscriptDone)).text == "Hello there."
        assert not client.of(ev.SpeechStopped)  # it never started
        await asyncio.sleep(10)
        assert not client.of(ev.ResponseStarted)


async def test_a_commit_in_the_middle_of_speech_ends_the_turn_there() -> None:
    async with bench("Yes.", words=["One.", "Two."]) as client:
        speaking = asyncio.create_task(client.say(3.0))
        await client.until(ev.SpeechStarted)
        await asyncio.sleep(1.0)
        client.ask(cmd.CommitAudio())
        await client.until(ev.SpeechStopped)
        await speaking
        await client.until(ev.ResponseDone)
        assert [done.text for done in client.of(ev.TranscriptDone)] == ["One.", "Two."]
        kinds = [type(event) for event in client.events if isinstance(event, ev.SpeechStarted | ev.SpeechStopped)]
        assert kinds == [ev.SpeechStarted, ev.SpeechStopped] * 2
        assert len(client.of(ev.ResponseStarted)) == 1


async def test_a_commit_while_the_agent_talks_is_a_turn_too() -> None:
    async with bench("A rather long answer that goes on and on for a good while.", words=["One.", "Two."]) as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 15)
        client.ask(cmd.CommitAudio())
        await client.until(ev.AudioCommitted, 2)
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert [done.text for done in client.of(ev.TranscriptDone)] == ["One.", "Two."]


@pytest.mark.parametrize("slow", [0.0, 0.003])
async def test_detection_turned_off_and_on_under_way(slow: float) -> None:
    vad = LoudnessVad()
    vad.slow = slow
    by_voice = SessionOptions(instructions="Be brief.")
    async with bench("Yes.", vad=vad, words=["One.", "Two.", "Three."]) as client:
        speaking = asyncio.create_task(client.say(1.0))
        for number in range(20):
            await asyncio.sleep(0.031)
            client.ask(cmd.Configure(BY_HAND if number % 2 else by_voice))
            if number % 3 == 0:
                client.ask(cmd.Configure(by_voice if number % 2 else BY_HAND))
        client.ask(cmd.Configure(by_voice))
        await speaking
        await client.until(ev.TranscriptDone)
        await asyncio.sleep(5)
        committed = len(client.of(ev.AudioCommitted))
        await client.turn()
        await client.until(ev.TranscriptDone, committed + 1)


async def test_a_very_long_turn_is_cut_and_goes_on() -> None:
    from voiceagent.settings import Settings
    from voiceagent.turn.options import TurnSection

    settings = Settings(turn=TurnSection(max_turn_seconds=2.0))
    options = SessionOptions(turn=TurnOptions(create_response=False))
    asr = WordsAsr(["x"])
    async with bench(asr=asr, settings=settings, options=options) as client:
        await client.say(7.0)
        await asyncio.sleep(2.0)
        committed = len(client.of(ev.AudioCommitted))
        assert committed == len(client.of(ev.SpeechStarted)) == len(client.of(ev.SpeechStopped))
        assert committed == 4
        assert all(samples <= 2.2 * EAR_RATE for samples in asr.heard)


async def test_a_broken_detector_ends_the_session_and_says_why() -> None:
    vad = LoudnessVad()
    async with unguarded("Yes.", vad=vad) as (client, running):
        await client.turn()
        await client.until(ev.ResponseDone)
        vad.fail = True
        with pytest.raises(ExceptionGroup) as group:
            await running
        assert group.group_contains(EngineError, match="detector")
