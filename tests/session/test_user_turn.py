"""The states of a user's turn, by the methods that change them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.session.bench import WordsAsr
from voiceagent.asr.base import AsrHint
from voiceagent.audio.pcm import EAR_RATE, silence
from voiceagent.session.timeline import Timeline
from voiceagent.session.user_turn import TurnEnd, TurnState, UserTurn
from voiceagent.turn.endpointing import EndpointDecision

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

SILENCE: TurnEnd = EndpointDecision(600, 500, {"words": 0.3})


@asynccontextmanager
async def begun(*words: str) -> AsyncIterator[tuple[UserTurn, WordsAsr]]:
    asr = WordsAsr(words or ("Hello.",))
    async with asyncio.TaskGroup() as tasks:
        turn = UserTurn("item_1", asr.stream(AsrHint()), 0, tasks=tasks, deadline=1.0)
        turn.push(silence(EAR_RATE))
        yield turn, asr
        turn.close()


async def test_turn_goes_from_its_first_sound_to_its_words() -> None:
    async with begun() as (turn, _):
        assert (turn.state, turn.confirmed) == (TurnState.BEGUN, False)
        turn.confirm(announced=True, interrupted_agent=True)
        assert (turn.state, turn.announced, turn.interrupted_agent) == (TurnState.CONFIRMED, True, True)
        turn.pause()
        assert (turn.state, turn.confirmed) == (TurnState.PAUSED, True)
        turn.go_on()
        assert (turn.state, turn.confirmed) == (TurnState.CONFIRMED, True)
        turn.pause()
        turn.commit(SILENCE)
        assert (turn.state, turn.end) == (TurnState.COMMITTED, SILENCE)
        assert (await turn.transcript()).text == "Hello."
        turn.close()
        assert (turn.state, turn.confirmed) == (TurnState.CLOSED, False)
        timeline = Timeline()
        turn.stamp(timeline)
        assert None not in (timeline.onset, timeline.paused, timeline.recognising, timeline.transcribed)


async def test_pause_finishes_recognition_ahead_and_more_voice_voids_it() -> None:
    async with begun("Half.", "Whole.") as (turn, asr):
        turn.confirm(announced=True)
        turn.pause()
        await asyncio.sleep(asr.seconds / 2)
        turn.go_on()
        turn.push(silence(EAR_RATE))
        turn.commit("longest")
        assert (await turn.transcript()).text == "Half."
        assert asr.heard == [2 * EAR_RATE]


async def test_turn_that_nobody_confirmed_pauses_and_ends_without_effect() -> None:
    async with begun() as (turn, asr):
        turn.pause()
        turn.commit(SILENCE)
        assert (turn.state, turn.confirmed) == (TurnState.BEGUN, False)
        await asyncio.sleep(1)
        assert asr.heard == []


@pytest.mark.parametrize("confirmed", [True, False])
async def test_client_may_commit_any_turn(confirmed: bool) -> None:
    async with begun() as (turn, _):
        if confirmed:
            turn.confirm(announced=True)
        turn.commit("client")
        assert (turn.state, turn.announced) == (TurnState.COMMITTED, confirmed)


async def test_turn_is_confirmed_once() -> None:
    async with begun() as (turn, _):
        turn.confirm(announced=False)
        turn.confirm(announced=True, interrupted_agent=True)
        assert (turn.announced, turn.interrupted_agent) == (False, False)
