"""The timeline of a turn: stations with a start and an end."""

import pytest

from tests.support.session.bench import Answer, bench
from voiceagent.session import events as ev
from voiceagent.session.timeline import Station, Timeline

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)


def test_stations_not_reached_are_left_out() -> None:
    assert Timeline().stations() == ()
    typed = Timeline(prepared=1.0, asked=1.1, first_token=1.3, generated=1.5)
    assert typed.stations() == (Station("llm", 1.1, 1.5, 1.3),)


def test_station_that_was_cut_off_has_no_end() -> None:
    cut = Timeline(asked=1.0, synthesizing=1.2, first_speech=1.3, synthesized=1.4, first_audio=1.3, interrupted=2.0)
    assert cut.stations() == (
        Station("llm", 1.0, None),
        Station("tts", 1.2, 1.4, 1.3),
        Station("playout", 1.3, 2.0),
    )


async def test_stations_of_a_spoken_turn_have_a_start_and_an_end() -> None:
    async with bench(Answer("Good morning. How are you today?")) as client:
        await client.say(1.0)
        timed = await client.until(ev.TurnTimed)
        stations = timed.timeline.stations()
    assert [station.name for station in stations] == ["vad", "endpointing", "asr", "llm", "tts", "playout"]
    ends = [station.end for station in stations]
    assert all(end is not None and station.start <= end for station, end in zip(stations, ends, strict=True))
    for station in stations:
        if station.first is not None:
            assert station.start <= station.first <= (station.end or 0.0)
    assert [station.name for station in stations if station.first is not None] == ["llm", "tts"]
    assert stations[1].start == stations[0].end
