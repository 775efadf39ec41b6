"""Sentences that the voice cannot say, in virtual time: the rest is spoken, and the transcript holds what was heard."""

import pytest

from tests.support.session.bench import bench
from voiceagent.session import events as ev

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

FIRST = "The moon goes around the earth. "
LAST = "It has no air and no water to speak of. "
FOREIGN = "月亮绕着地球转圈一个月。"
APOLOGY = "Sorry"


async def test_a_sentence_that_cannot_be_said_is_left_out() -> None:
    async with bench(f"{FIRST}{FOREIGN} {LAST}") as client:
        client.voice.refuses = "月"
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        assert done.item is not None
        assert done.item.text.split() == f"{FIRST}{LAST}".split()
        assert client.text().split() == f"{FIRST}{LAST}".split()
        assert client.item(done.item.id).text.split() == done.item.text.split()


@pytest.mark.parametrize("text", [f"{FOREIGN} {FIRST}", f"{FIRST}{FOREIGN}"])
async def test_it_may_be_the_first_or_the_last(text: str) -> None:
    async with bench(text) as client:
        client.voice.refuses = "月"
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert done.status == "completed"
        assert client.text().split() == FIRST.split()


async def test_a_reply_of_which_nothing_can_be_said_is_apologised_for() -> None:
    async with bench(FOREIGN) as client:
        client.voice.refuses = "月"
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "tts_bad_request")
        assert done.item is not None
        assert "月" not in done.item.text
        assert len(client.audio())


async def test_a_voice_that_says_nothing_at_all_is_not_asked_for_ever() -> None:
    async with bench(f"{FOREIGN}\n" * 20) as client:
        client.voice.refuses = "月"
        await client.turn()
        assert (await client.until(ev.ResponseDone)).status == "failed"
        assert len(client.voice.spoken) == 3


async def test_words_never_heard_are_in_no_transcript() -> None:
    async with bench(f"{FIRST}{LAST}") as client:
        client.voice.fail_at = 1
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "tts_unavailable")
        assert done.item is not None
        assert "moon" in done.item.text
        assert "water" not in done.item.text
        assert "water" not in client.text()
