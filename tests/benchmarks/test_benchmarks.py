"""The benchmarks run: each once, small. What they find on a busy machine is not judged here."""

import json
from dataclasses import replace

import pytest

from benchmarks import __main__ as all_benchmarks
from benchmarks import capacity, session_cost
from benchmarks.capacity import ATTEMPTS, Step, percentile, search
from benchmarks.crowd import Talker
from benchmarks.recording import FRAME, RATE, Recording, client_message, record
from benchmarks.server_process import scripted_server
from voiceagent.models.store import ModelStore

HELD = Step(1, 10, 10, 30.0, 50.0, 0, 0.0, 0, 0.5, 0.0, 5.0, 1.0)


@pytest.mark.real
async def test_the_cost_of_a_few_sessions_that_are_answered(models: ModelStore) -> None:
    recording = await record(models, turn_seconds=1.0)
    async with scripted_server() as server:
        cost = await session_cost.measure(server, recording, sessions=3, seconds=0.5)
        assert await server.loop_lag() >= 0
    assert 1 < cost.idle_tasks < 50
    assert cost.talking_tasks >= cost.idle_tasks


@pytest.mark.real
async def test_the_recording_is_speech_for_its_share(models: ModelStore) -> None:
    recording = await record(models, turn_seconds=1.0)
    spoken = sum(recording.turns.values())
    assert len(recording.turns) > 5
    assert 0.39 < spoken / len(recording.messages) < 0.41
    assert min(recording.turns.values()) * FRAME >= RATE
    assert max(recording.turns) < len(recording.messages)


@pytest.mark.real
def test_the_capacity_of_a_small_crowd(models: ModelStore, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--start", "2", "--limit", "2", "--fineness", "2", "--seconds", "2", "--warm-up", "1", "--target", "0"]
    assert capacity.main([*small, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps"][0]["talks"] == 2
    assert result["steps"][0]["server_cpu"] > 0


@pytest.mark.parametrize("can_hold", [0, 1, 49, 50, 120, 155, 400])
async def test_the_search_finds_the_largest_number_that_is_held(can_hold: int) -> None:
    async def run(talks: int) -> Step:
        return replace(HELD, talks=talks, gaps=int(talks > can_hold))

    best, steps = await search(run, start=50, step=50, limit=300, fineness=4)
    assert best <= min(can_hold, 300)
    assert best > min(can_hold, 300) - 4
    assert best in (0, *(step.talks for step in steps if step.held))


async def test_the_search_ends_where_the_clients_are_too_slow() -> None:
    async def run(talks: int) -> Step:
        return HELD if talks <= 50 else replace(HELD, talks=talks, p95_ms=500.0, clients_late_ms=80.0)

    best, steps = await search(run, start=50, step=50, limit=300, fineness=4)
    assert best == 50
    assert [step.valid for step in steps] == [True, *[False] * ATTEMPTS]


async def test_a_step_that_others_disturbed_is_tried_again() -> None:
    tries = 0

    async def run(talks: int) -> Step:
        nonlocal tries
        tries += 1
        return replace(HELD, talks=talks, gaps=int(tries == 1 or talks > 100), others=0.4 if tries == 1 else 0.0)

    best, _ = await search(run, start=50, step=50, limit=300, fineness=4)
    assert best > 96


@pytest.mark.parametrize(
    "step",
    [
        replace(HELD, answered=9),
        replace(HELD, p95_ms=100.0),
        replace(HELD, p95_ms=None, answered=0, turns=0),
        replace(HELD, gaps=1),
        replace(HELD, lost=1),
    ],
)
def test_what_is_not_held(step: Step) -> None:
    assert HELD.held
    assert not step.held


def test_percentiles() -> None:
    assert percentile([], 95) is None
    assert percentile([7.0], 95) == 7.0
    assert percentile([float(value) for value in range(1, 101)], 95) == 95.0


def server_message(text: bytes) -> bytes:
    size = len(text)
    return b"\x81" + (bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


def delta(samples: int) -> bytes:
    return server_message(b'{"type":"response.output_audio.delta","delta":"' + b"A" * (samples * 8 // 3) + b'"}')


def test_a_talker_hears_gaps_but_not_between_answers() -> None:
    now = 0.0
    talker = Talker(Recording([b""], {}), 0, lambda: now)
    talker.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + delta(2400))  # it plays for 0.1 s
    now = 0.08
    later = delta(2400)
    talker.data_received(later[:100])  # a message may come in pieces
    talker.data_received(later[100:])
    now = 0.25
    talker.data_received(delta(2400))
    assert [round(gap.seconds, 3) for gap in talker.gaps] == [0.05]
    now = 9.0
    talker.data_received(server_message(b'{"type":"response.created"}') + delta(2400))
    assert len(talker.gaps) == 1


def test_a_client_message_is_masked() -> None:
    message = client_message({"type": "x"})
    payload = bytes(byte ^ message[2:6][index % 4] for index, byte in enumerate(message[6:]))
    assert (message[:2], payload) == (bytes((0x81, 0x80 | 12)), b'{"type":"x"}')


def test_all_benchmarks_are_run_and_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(arguments: list[str]) -> int:
        raise RuntimeError("no luck")

    assert all_benchmarks.main([], {"good": lambda arguments: 0}) == 0
    assert all_benchmarks.main([], {"bad": broken, "short": lambda arguments: 1, "good": lambda arguments: 0}) == 1
    summary = capsys.readouterr().out.split("== summary")[-1]
    assert "bad            FAILED: RuntimeError: no luck" in summary
    assert "short          MISSED" in summary
    assert "good           met" in summary


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        all_benchmarks.main(["nonsense"])
    assert "nonsense" in capsys.readouterr().err
