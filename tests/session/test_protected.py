"""Replies that no voice interrupts, and interruptions without a voice: in virtual time."""

import asyncio

import numpy as np
import pytest

from tests.support.session.bench import Answer, WordsAsr, bench, unguarded, voice_of
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import Item, Part
from voiceagent.session.options import SessionOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

NOTICE = "This call is recorded. Your words are kept for ninety days. You may object at any time."
LONG = "The moon goes around the earth. It takes about a month for one round. It has no air and no water to speak of."


async def test_no_voice_stops_a_protected_reply_and_its_words_are_answered_afterwards() -> None:
    async with bench("To that.", words=["I object."]) as client:
        client.ask(cmd.CreateResponse(words=NOTICE, protected=True))
        await client.until(ev.ResponseAudio, 5)
        await client.say(0.1)
        await client.say(1.5)
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        notice = np.concatenate([voice_of(text) for text in client.voice.spoken[:3]])
        assert np.array_equal(client.audio(0), notice)
        assert client.longest_gap < 0.2
        await client.until(ev.ResponseDone, 2)
        assert client.text(1) == "To that. "
        assert client.model.prompt()[1:] == [("assistant", NOTICE), ("user", "I object.")]
        assert client.of(ev.SpeechStarted)


async def test_a_voice_in_doubt_when_the_protected_reply_begins_is_heard_as_a_turn() -> None:
    async with bench("Short one here.", "To that.", words=["One.", "Two words of mine."]) as client:
        await client.turn()
        await client.until(ev.ResponseDone)
        speaking = asyncio.create_task(client.say(1.5))
        await asyncio.sleep(0.1)
        client.ask(cmd.CreateResponse(words=NOTICE, protected=True))
        await speaking
        await client.until(ev.ResponseDone, 3)
        assert "Two words of mine." in str(client.model.prompt())
        assert client.text(1) == NOTICE
        assert client.of(ev.ResponseDone)[1].status == "completed"


async def test_the_next_reply_is_as_easy_to_interrupt_as_ever() -> None:
    async with bench(LONG, "Yes?", words=["One.", "Two."]) as client:
        client.ask(cmd.CreateResponse(words="A notice.", protected=True))
        await client.until(ev.ResponsePlayed)
        await client.turn()
        await client.until(ev.ResponseAudio, 40)
        await client.turn(1.5)
        await client.until(ev.ResponseDone, 3)
        assert [done.status for done in client.of(ev.ResponseDone)] == ["completed", "cancelled", "completed"]


async def test_the_client_itself_may_cancel_or_interrupt_it() -> None:
    for command in (cmd.CancelResponse(), cmd.Interrupt()):
        async with bench("Never.", microphone=False) as client:
            client.ask(cmd.CreateResponse(words=NOTICE, protected=True))
            await client.until(ev.ResponseAudio, 10)
            client.ask(command)
            done = client.of(ev.ResponseDone)[0]
            assert done.status == "cancelled"
            assert done.reason == ("turn_detected" if isinstance(command, cmd.Interrupt) else "client_cancelled")
            assert client.of(ev.ResponsePlayed)
            sent = len(client.of(ev.ResponseAudio))
            await asyncio.sleep(5)
            assert len(client.of(ev.ResponseAudio)) == sent


# -- without a voice --------------------------------------------------------------------------------------------------


async def test_an_interrupt_by_a_key_then_typed_words() -> None:
    async with bench(LONG, "Typed answer.") as client:
        await client.turn()
        await client.until(ev.ResponseAudio, 40)
        client.ask(cmd.Interrupt())
        done = client.of(ev.ResponseDone)[0]
        assert (done.status, done.reason) == ("cancelled", "turn_detected")
        assert done.item is not None
        assert 0 < len(done.item.text) < len(LONG)
        client.ask(cmd.CreateItem(Item("", "user", (Part("text", "Five."),))))
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert client.model.prompt()[-1] == ("user", "Five.")
        client.ask(cmd.Interrupt())  # of what is sent and not yet played
        assert client.of(ev.ResponsePlayed)[-1].response_id == client.of(ev.ResponseDone)[1].response_id


async def test_an_interrupt_while_words_are_understood_leaves_them_unanswered() -> None:
    async with bench("Never.", asr=WordsAsr(["One."], seconds=1.0)) as client:
        await client.turn()
        client.ask(cmd.Interrupt())
        await client.until(ev.TranscriptDone)
        await asyncio.sleep(5)
        assert not client.of(ev.ResponseStarted)


async def test_an_interrupt_when_nothing_is_said_is_harmless() -> None:
    async with bench("Yes.") as client:
        client.ask(cmd.Interrupt())
        await client.turn()
        assert (await client.until(ev.ResponseDone)).status == "completed"


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_the_talk_ends_when_the_last_words_were_played() -> None:
    async with unguarded(Answer("Goodbye and thank you."), microphone=False) as (client, running):
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseAudio, 3)
        client.ask(cmd.EndSession())
        client.ask(cmd.EndSession())
        assert await running == "finished"
        assert client.of(ev.ResponseDone)[0].status == "completed"
        assert isinstance(client.events[-1], ev.ResponsePlayed)


async def test_a_talk_in_which_nothing_is_said_ends_at_once() -> None:
    async with unguarded(microphone=False) as (client, running):
        start = asyncio.get_running_loop().time()
        client.ask(cmd.EndSession())
        assert await running == "finished"
        assert asyncio.get_running_loop().time() - start < 0.1


async def test_last_words_that_are_interrupted_end_the_talk_too() -> None:
    async with unguarded(Answer("Goodbye and thank you very much for calling us today.")) as (client, running):
        await client.turn()
        await client.until(ev.ResponseAudio, 5)
        client.ask(cmd.EndSession())
        client.ask(cmd.Interrupt())
        assert await running == "finished"


# -- marks ------------------------------------------------------------------------------------------------------------


async def test_marks_tell_what_was_heard() -> None:
    """A client whose buffer is 400 ms deeper than the clock thinks."""
    async with bench(LONG, microphone=False) as client:
        client.ask(cmd.CreateResponse())
        first = await client.until(ev.ResponseAudio)
        began = asyncio.get_running_loop().time()
        for number in range(1, 20):
            at = began + 0.4 + number * 0.2
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            client.ask(cmd.ReportPlayed(first.item_id, number * 200))
        await asyncio.sleep(0.05)
        client.ask(cmd.ReportPlayed("unknown", 10**9))
        played = asyncio.get_running_loop().time() - began - 0.4
        client.ask(cmd.Interrupt())
        client.ask(cmd.ReportPlayed(first.item_id, 10**9))  # a flush brings all marks back
        heard = client.item(first.item_id).text
        spoken = client.session._responses._spoken[first.item_id]
        assert heard == spoken.heard(played)
        assert heard != spoken.heard(played + 0.4)


async def test_a_client_that_plays_late_is_waited_for() -> None:
    async with bench("A short answer.", microphone=False) as client:
        client.ask(cmd.CreateResponse())
        first = await client.until(ev.ResponseAudio)
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.8)
        client.ask(cmd.ReportPlayed(first.item_id, 300))  # half a second behind
        played = await client.until(ev.ResponsePlayed)
        lasted = len(voice_of("A short answer.")) / 24_000
        assert client.times[client.events.index(played)] - began == pytest.approx(lasted + 0.5, abs=0.02)


async def test_a_client_that_reports_too_much_or_nothing_more_ends_all_the_same() -> None:
    for milliseconds in (10**9, 0):
        async with bench("A short answer.", microphone=False) as client:
            client.ask(cmd.CreateResponse())
            first = await client.until(ev.ResponseAudio)
            await asyncio.sleep(0.5)
            client.ask(cmd.ReportPlayed(first.item_id, milliseconds))
            await client.until(ev.ResponsePlayed)


# -- options ----------------------------------------------------------------------------------------------------------


async def test_variables_fill_the_instructions(caplog: pytest.LogCaptureFixture) -> None:
    options = SessionOptions(
        instructions="You help {{ name }}, {{who}} calls from {{city}}. {{name}}!", variables={"name": "{{city}}"}
    )
    async with bench("Yes.", options=options, microphone=False) as client:
        client.ask(cmd.Configure(options))
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        assert client.model.prompt()[0][1] == "You help {{city}},  calls from . {{city}}!"
        assert caplog.text.count("nothing fills 2 names") == 1
        assert not client.model.requests[0].caller.alone


async def test_lead_and_frame_are_the_clients() -> None:
    options = SessionOptions(lead_ms=1000, frame_ms=20)
    async with bench(LONG, options=options, microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseAudio, 50)
        audio = client.of(ev.ResponseAudio)
        assert {len(piece.pcm) for piece in audio[:20]} == {480}
        times = [
            at for at, event in zip(client.times, client.events, strict=True) if isinstance(event, ev.ResponseAudio)
        ]
        assert times[45] - times[0] < 0.05
        assert times[49] == pytest.approx(times[0], abs=0.1)


async def test_a_session_that_only_listens_never_answers() -> None:
    options = SessionOptions(listen_only=True, idle_timeout_ms=1000)
    async with bench("Never.", words=["One.", "Two."], options=options) as client:
        await client.turn()
        await client.turn()
        await client.until(ev.TranscriptDone, 2)
        with pytest.raises(Exception, match="only transcribes"):
            client.ask(cmd.CreateResponse())
        await asyncio.sleep(20)
        assert not client.model.requests
        assert not client.of(ev.ResponseStarted)


async def test_thoughts_are_told_once_the_turn_is_over_and_never_spoken() -> None:
    thoughts = tuple(f"thought {number} " for number in range(5))
    async with bench(Answer("Yes.", thoughts=thoughts)) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone)
        told = client.of(ev.ResponseThinking)
        assert "".join(event.text for event in told) == "".join(thoughts)
        assert client.events.index(told[0]) > client.events.index(client.of(ev.ResponseStarted)[0])
        assert done.item is not None
        assert done.item.text == "Yes. "


async def test_who_asks_is_told_to_the_model() -> None:
    async with bench("Yes.", words=["One.", "Two."], options=SessionOptions(language="en")) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        first, second = (request.caller for request in client.model.requests[-2:])
        assert (first.session, first.language, first.turn, first.speculative, first.alone) == (
            "sess_1",
            "en",
            1,
            True,
            True,
        )
        assert (second.turn, second.alone) == (2, False)


async def test_a_reply_whose_tail_was_flushed_with_the_next_one_is_over_too() -> None:
    async with bench("One short answer.", LONG, options=SessionOptions(lead_ms=900), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        client.ask(cmd.CreateResponse())
        await asyncio.sleep(0.3)
        client.ask(cmd.CancelResponse())
        await client.until(ev.ResponsePlayed, 2)
        await client.until(ev.ResponseDone, 2)
