"""Answers to devices that ask in a loop."""

import asyncio

import pytest

from voiceagent.channels.xiaozhi.fleet.access import LONGEST_SECONDS, MAX_KEYS, MAX_WAITING, RequestBrake, RequestPace


def test_a_burst_is_free_then_it_is_so_many_a_second() -> None:
    now = 100.0
    pace = RequestPace(burst=3, rate=2.0, clock=lambda: now)
    assert [pace.delay("a") for _ in range(3)] == [0, 0, 0]
    assert pace.delay("a") == pytest.approx(0.5)
    assert pace.delay("b") == 0
    now += 0.75
    assert pace.delay("a") == pytest.approx(0.25)
    now += 100
    assert [pace.delay("a") for _ in range(3)] == [0, 0, 0]


def test_however_often_one_asks_it_is_soon_forgiven() -> None:
    now = 0.0
    pace = RequestPace(burst=3, rate=1.0, clock=lambda: now)
    assert max(pace.delay("a") for _ in range(1000)) == LONGEST_SECONDS
    now += LONGEST_SECONDS + 1
    assert pace.delay("a") == 0


def test_not_more_than_so_many_are_known() -> None:
    pace = RequestPace(burst=1, rate=1.0, clock=lambda: 0.0)
    for number in range(MAX_KEYS + 1):
        pace.delay(str(number))
    assert pace.delay("1") == 1.0
    assert pace.delay("0") == 0.0


@pytest.mark.looptime
async def test_only_so_many_answers_are_held_back() -> None:
    brake = RequestBrake()
    waiting = [asyncio.create_task(brake.hold(2.0)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    assert not await brake.hold(2.0)
    assert await brake.hold(0.0)
    assert all(await asyncio.gather(*waiting))
    assert await brake.hold(0.1)
