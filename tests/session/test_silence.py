"""What the agent does when nobody says anything."""

import asyncio

import pytest

from tests.support.session.bench import bench, unguarded
from voiceagent.session import events as ev
from voiceagent.session.settings import SilenceSection
from voiceagent.settings import Settings

pytestmark = pytest.mark.looptime

SILENCE = Settings(silence=SilenceSection(prompt_seconds=5, prompts=2, prompt="Still there?", goodbye="Goodbye."))


async def test_a_silent_user_is_asked_and_then_told_goodbye() -> None:
    async with unguarded("Never asked.", settings=SILENCE) as (client, running):
        start = asyncio.get_running_loop().time()
        assert await asyncio.wait_for(asyncio.shield(running), 60) == "idle"
        said = [done.item.text.strip() for done in client.of(ev.ResponseDone) if done.item is not None]
        assert said == ["Still there?", "Still there?", "Goodbye."]
        assert client.of(ev.ResponsePlayed)[-1].response_id == client.of(ev.ResponseDone)[-1].response_id
        assert 15 <= asyncio.get_running_loop().time() - start < 25


async def test_a_user_who_answers_is_asked_afresh() -> None:
    async with bench("I am glad.", words=["Yes."], settings=SILENCE) as client:
        await client.until(ev.ResponseDone, 2)
        await asyncio.sleep(2)
        await client.turn(0.6)
        await client.until(ev.ResponseDone, 5)
        said = [done.item.text.strip() for done in client.of(ev.ResponseDone) if done.item is not None]
        assert said == ["Still there?", "Still there?", "I am glad.", "Still there?", "Still there?"]


async def test_nobody_is_asked_unless_that_is_configured() -> None:
    async with bench("Never asked.") as client:
        await asyncio.sleep(100)
        assert client.of(ev.ResponseStarted) == []
