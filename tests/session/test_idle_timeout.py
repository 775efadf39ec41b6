"""When nobody speaks after a reply and the client wants that noticed: in virtual time."""

import asyncio

import pytest

from tests.support.session.bench import bench, unguarded
from voiceagent.server.settings import LimitSection
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.options import SessionOptions
from voiceagent.session.silence import MOST_IN_A_ROW, SILENCE
from voiceagent.settings import Settings

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

IDLE = SessionOptions(instructions="Be brief.", idle_timeout_ms=5000)


async def test_the_agent_speaks_up_after_the_silence() -> None:
    async with bench("I am here.", "Still there?", options=IDLE) as client:
        await asyncio.sleep(20)
        assert not client.events  # only a reply sets the time going
        await client.turn()
        played = await client.until(ev.ResponsePlayed)
        timeout = await client.until(ev.IdleTimeoutTriggered)
        at = client.events.index(timeout)
        assert client.times[at] - client.times[client.events.index(played)] == pytest.approx(5, abs=0.05)
        assert timeout.end_ms - timeout.start_ms == pytest.approx(5000, abs=100)
        committed, added, done, started = client.events[at + 1 : at + 5]
        assert isinstance(committed, ev.AudioCommitted)
        assert isinstance(added, ev.ItemAdded)
        assert isinstance(done, ev.ItemDone)
        assert isinstance(started, ev.ResponseStarted)
        assert committed.item_id == added.item.id == timeout.item_id
        await client.until(ev.ResponseDone, 2)
        assert client.text(1) == "Still there? "
        assert client.model.prompt()[-1] == ("user", SILENCE)
        assert client.item(timeout.item_id).text == ""


async def test_it_does_so_a_few_times_and_then_the_talk_is_idle() -> None:
    settings = Settings(limits=LimitSection(idle_seconds=30))
    async with unguarded("Hello?", options=IDLE, settings=settings) as (client, running):
        client.ask(cmd.CreateResponse())
        assert await running == "idle"
        assert len(client.of(ev.IdleTimeoutTriggered)) == MOST_IN_A_ROW


async def test_a_user_who_speaks_begins_the_count_anew() -> None:
    async with bench("Hello?", options=IDLE) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.IdleTimeoutTriggered, MOST_IN_A_ROW)
        await client.until(ev.ResponsePlayed, MOST_IN_A_ROW + 1)
        await client.turn()
        await client.until(ev.IdleTimeoutTriggered, MOST_IN_A_ROW + 1)


async def test_whoever_speaks_is_not_idle() -> None:
    async with bench("Hello.", options=IDLE) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(3)
        speaking = asyncio.create_task(client.say(6.0))
        await asyncio.sleep(4)
        assert not client.of(ev.IdleTimeoutTriggered)
        await speaking
        await client.until(ev.ResponsePlayed, 2)
        assert not client.of(ev.IdleTimeoutTriggered)


async def test_it_can_be_turned_off_meanwhile() -> None:
    async with bench("Hello.", options=IDLE) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        client.ask(cmd.Configure(SessionOptions()))
        await asyncio.sleep(20)
        assert not client.of(ev.IdleTimeoutTriggered)


async def test_a_cancelled_reply_sets_no_time_going() -> None:
    async with bench("Hello and good day to you.", options=IDLE, microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseAudio, 3)
        client.ask(cmd.CancelResponse())
        await asyncio.sleep(20)
        assert not client.of(ev.IdleTimeoutTriggered)
