"""Clients that stop sending in the middle of a turn, in virtual time: that is silence, and they are answered."""

import asyncio

import pytest

from tests.support.session.bench import FRAME_SECONDS, SPOKEN, Bench, LoudnessVad, bench, unguarded
from voiceagent.audio.pcm import EAR_RATE, silence
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.options import SessionOptions
from voiceagent.session.settings import SilenceSection
from voiceagent.settings import Settings

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)


async def send(client: Bench, spoken: float, silent: float = 0.0) -> None:
    """At the pace of a microphone."""
    for seconds, frame in ((spoken, SPOKEN), (silent, silence(len(SPOKEN)))):
        for _ in range(round(seconds / FRAME_SECONDS)):
            client.ask(cmd.AppendAudio(frame, EAR_RATE))
            await asyncio.sleep(FRAME_SECONDS)


@pytest.mark.parametrize("silent", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("spoken", [0.5, 1.0, 1.013])
async def test_a_client_that_stops_with_the_last_word_is_answered(spoken: float, silent: float) -> None:
    async with bench("Here you are.", microphone=False) as client:
        await send(client, spoken, silent)
        stopped = asyncio.get_running_loop().time()
        await client.until(ev.TranscriptDone)
        assert asyncio.get_running_loop().time() - stopped < 2.5
        assert (await client.until(ev.ResponseDone)).status == "completed"


async def test_positions_are_those_of_the_clients_audio() -> None:
    async with bench("Yes.", microphone=False) as client:
        for number in range(3):
            await send(client, 1.0)
            await client.until(ev.ResponsePlayed, number + 1)
        starts = [event.at_ms for event in client.of(ev.SpeechStarted)]
        ends = [event.at_ms for event in client.of(ev.SpeechStopped)]
        assert starts == [0, pytest.approx(1000, abs=320), pytest.approx(2000, abs=320)]
        assert ends == [pytest.approx(1000, abs=40), pytest.approx(2000, abs=40), pytest.approx(3000, abs=40)]


async def test_a_client_that_comes_back_in_time_has_one_turn() -> None:
    async with bench("Yes.", microphone=False) as client:
        await send(client, 1.0)
        await asyncio.sleep(0.9)
        await send(client, 1.0, 2.0)
        await client.until(ev.ResponseDone)
        assert len(client.of(ev.AudioCommitted)) == 1
        assert client.asr.heard[0] < 3 * EAR_RATE


async def test_nothing_is_heard_in_place_of_audio_between_turns() -> None:
    async with bench("Yes.", microphone=False) as client:
        await send(client, 1.0, 2.0)
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(30)
        await send(client, 1.0, 2.0)
        await client.until(ev.ResponsePlayed, 2)
        assert client.of(ev.SpeechStarted)[1].at_ms == pytest.approx(2700, abs=64)  # 300 ms before its first sound


async def test_a_slow_detector_is_no_client_that_stops() -> None:
    vad = LoudnessVad()
    vad.slow = 0.2  # for every 0.1 s
    async with bench("Yes.", vad=vad, microphone=False) as client:
        await send(client, 3.0, 2.0)
        await client.until(ev.ResponseDone)
        assert len(client.of(ev.AudioCommitted)) == 1
        assert client.asr.heard[0] > 3 * EAR_RATE


async def test_a_turn_by_hand_may_wait_for_its_commit() -> None:
    async with bench("Yes.", options=SessionOptions(turn=None), microphone=False) as client:
        await send(client, 1.0)
        await asyncio.sleep(30)
        assert not client.of(ev.AudioCommitted)
        client.ask(cmd.CommitAudio())
        await client.until(ev.TranscriptDone)
        assert client.asr.heard == [EAR_RATE]


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
async def test_what_was_said_is_not_lost_to_the_question_whether_somebody_is_there(seconds: float) -> None:
    settings = Settings(silence=SilenceSection(prompt_seconds=seconds, prompts=0))
    async with bench("Here you are.", settings=settings, microphone=False) as client:
        client.asr.seconds = 3.0
        await asyncio.sleep(seconds / 2)
        await send(client, 1.0)
        assert (await client.until(ev.TranscriptDone)).text == "Hello there."
        await client.until(ev.ResponseDone)
        assert client.text().strip() == "Here you are."


async def test_who_speaks_during_the_goodbye_is_heard() -> None:
    settings = Settings(silence=SilenceSection(prompt_seconds=2.0, prompts=0))
    async with unguarded("Good that you are there.", settings=settings) as (client, running):
        await client.until(ev.ResponseAudio)
        await client.say(1.5)
        await client.until(ev.TranscriptDone)
        await client.until(ev.ResponseDone, 2)
        assert not running.done()
        assert client.text(1).strip() == "Good that you are there."
