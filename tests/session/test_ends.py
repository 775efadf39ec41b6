"""How a talk ends of itself, in virtual time."""

import asyncio

import pytest

from tests.support.session.bench import Answer, LoudnessVad, unguarded
from voiceagent.errors import EngineError
from voiceagent.server.settings import LimitSection
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import Item, Part
from voiceagent.session.options import SessionOptions
from voiceagent.settings import Settings

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

LIMITS = Settings(limits=LimitSection(idle_seconds=30, session_seconds=200))


def clock() -> float:
    return asyncio.get_running_loop().time()


async def test_a_talk_in_which_nobody_speaks_is_idle() -> None:
    async with unguarded(settings=LIMITS) as (_, running):  # silence streams in all the time
        assert await running == "idle"
        assert clock() == pytest.approx(30, abs=0.1)


async def test_every_turn_begins_the_idle_time_anew() -> None:
    async with unguarded("Yes.", settings=LIMITS) as (client, running):
        for number in range(4):
            await client.turn()
            await client.until(ev.ResponsePlayed, number + 1)
            await asyncio.sleep(20)
        assert not running.done()
        last = clock()
        assert await running == "idle"
        assert clock() - last == pytest.approx(10, abs=1)


async def test_an_answer_longer_than_the_idle_time_is_not_cut() -> None:
    async with unguarded("A month has four weeks. " * 40, settings=LIMITS, microphone=False) as (client, running):
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        assert clock() > 45
        assert await running == "idle"


async def test_a_talk_ends_at_its_longest_time_even_in_the_middle_of_a_word() -> None:
    async with unguarded("A month has four weeks. " * 200, settings=LIMITS, microphone=False) as (client, running):
        client.ask(cmd.CreateResponse())
        assert await running == "expired"
        assert clock() == pytest.approx(200, abs=0.1)
        assert client.of(ev.ResponseDone)[0].status == "cancelled"
        assert isinstance(client.events[-1], ev.ResponsePlayed)


async def test_a_client_that_vanishes_while_speaking_is_idle_too() -> None:
    """A half-open connection: the audio just ends, and no silence comes that would end the turn."""
    async with unguarded(settings=LIMITS) as (client, running):
        speaking = asyncio.create_task(client.say(3.0))
        await client.until(ev.SpeechStarted)
        client.muted = True
        assert await running == "idle"
        assert clock() < 40
        await speaking


async def test_a_client_that_vanishes_while_it_is_listened_to_by_hand() -> None:
    async with unguarded(settings=LIMITS, options=SessionOptions(turn=None)) as (client, running):
        await client.say(3.0)
        client.muted = True
        assert await running == "idle"
        assert clock() < 60


async def test_a_long_dictation_by_hand_is_not_idle() -> None:
    async with unguarded(settings=LIMITS, options=SessionOptions(turn=None)) as (client, running):
        await client.say(50.0)
        assert not running.done()


async def test_a_detector_that_breaks_ends_the_talk_with_its_error() -> None:
    vad = LoudnessVad()
    async with unguarded("Yes. " * 30, vad=vad) as (client, running):
        await client.turn()
        await client.until(ev.ResponseAudio, 5)
        vad.fail = True
        with pytest.raises(ExceptionGroup) as failure:
            await running
        assert failure.group_contains(EngineError, match="detector")
        assert client.of(ev.ResponseDone)[0].status == "cancelled"


@pytest.mark.parametrize("stage", ["listening", "understanding", "thinking", "speaking", "paused"])
async def test_a_talk_can_be_ended_at_every_stage(stage: str) -> None:
    """What is left behind, if anything, is found by the checks around every test."""
    async with unguarded(Answer("A long answer. " * 10, first=1.0)) as (client, running):
        speaking = asyncio.create_task(client.say(1.0))
        match stage:
            case "listening":
                await client.until(ev.SpeechStarted)
            case "understanding":
                await client.until(ev.AudioCommitted)
            case "thinking":
                await client.until(ev.ResponseStarted)
            case "speaking":
                await client.until(ev.ResponseAudio, 20)
            case "paused":
                await client.until(ev.ResponseAudio, 20)
                await client.say(0.09)
        running.cancel()
        await asyncio.wait([running])
        told = len(client.events)
        speaking.cancel()
        await asyncio.sleep(10)
        assert len(client.events) == told


async def test_typing_keeps_a_talk_alive() -> None:
    async with unguarded(settings=LIMITS, microphone=False) as (client, running):
        for number in range(5):
            await asyncio.sleep(20)
            client.ask(cmd.CreateItem(Item(f"i{number}", "user", (Part("text", "Hello."),))))
        assert not running.done()
