"""The client's playback clock: what is played, what is cut, and how much of it was heard, to the sample."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceagent_client.pcm import FRAME, RATE, Pcm, silence
from voiceagent_client.playback import Cut, Player


def ramp(start: int, samples: int) -> Pcm:
    """Samples that tell their own place, none of them zero."""
    return (np.arange(start, start + samples) % 30_000 + 1).astype(np.int16)


def read(player: Player, samples: int) -> tuple[int, Pcm]:
    out = np.full(samples, -1, dtype=np.int16)
    return player.read_into(out), out


def test_silence_when_there_is_nothing() -> None:
    player = Player()
    filled, out = read(player, FRAME)
    assert filled == 0
    assert not out.any()
    assert player.idle
    assert player.played_ms("unknown") == 0


def test_starts_when_enough_is_buffered() -> None:
    player = Player(prebuffer_ms=60)
    player.add("a", 0, ramp(0, FRAME * 2))
    assert read(player, FRAME)[0] == 0
    player.add("a", 0, ramp(FRAME * 2, FRAME))
    filled, out = read(player, FRAME)
    assert filled == FRAME
    assert np.array_equal(out, ramp(0, FRAME))
    assert player.played_ms("a") == 20
    assert player.buffered_ms == 40


def test_starts_at_once_when_a_short_item_is_whole() -> None:
    player = Player(prebuffer_ms=60)
    player.add("a", 0, ramp(0, 100))
    player.end()
    filled, out = read(player, FRAME)
    assert filled == 100
    assert np.array_equal(out, np.concatenate((ramp(0, 100), silence(FRAME - 100))))
    assert player.idle


def test_waits_no_longer_than_the_prebuffer_for_an_end_that_never_comes() -> None:
    player = Player(prebuffer_ms=60)
    player.add("a", 0, ramp(0, 100))
    assert [read(player, FRAME)[0] for _ in range(4)] == [0, 0, 0, 100]


def test_buffers_again_after_running_dry_and_goes_on_at_the_next_sample() -> None:
    player = Player(prebuffer_ms=40)
    player.add("a", 0, ramp(0, FRAME * 2))
    assert [read(player, FRAME)[0] for _ in range(3)] == [FRAME, FRAME, 0]
    player.add("a", 0, ramp(FRAME * 2, FRAME))
    assert read(player, FRAME)[0] == 0
    player.add("a", 0, ramp(FRAME * 3, FRAME))
    filled, out = read(player, FRAME)
    assert filled == FRAME
    assert np.array_equal(out, ramp(FRAME * 2, FRAME))


def test_flush_is_immediate_and_tells_the_place_within_a_frame() -> None:
    player = Player()
    player.add("a", 0, ramp(0, RATE))
    read(player, FRAME * 3 + 77)
    assert player.flush() == [Cut("a", 0, (FRAME * 3 + 77) * 1000 // RATE, 1000)]
    filled, out = read(player, FRAME)
    assert filled == 0
    assert not out.any()
    assert not player.add("a", 0, ramp(0, RATE)), "what comes of a cut item later is dropped"
    assert player.flush() == []


def test_an_item_that_was_played_to_its_end_is_not_cut() -> None:
    player = Player()
    player.add("a", 0, ramp(0, FRAME * 4))
    player.end()
    read(player, FRAME * 4)
    assert player.flush() == []
    assert player.played_ms("a") == 80


def test_an_item_that_ran_dry_before_its_end_is_cut_where_it_stopped() -> None:
    player = Player()
    player.add("a", 0, ramp(0, FRAME * 4))
    read(player, FRAME * 4)
    assert player.flush() == [Cut("a", 0, 80, 80)]


def test_items_not_begun_are_cut_at_zero() -> None:
    player = Player()
    player.add("a", 0, ramp(0, RATE))
    player.end()
    player.add("b", 0, ramp(0, RATE))
    player.end()
    read(player, RATE // 2)
    assert player.flush() == [Cut("a", 0, 500, 1000), Cut("b", 0, 0, 1000)]


def test_a_full_buffer_drops_the_newest() -> None:
    player = Player(limit_seconds=1)
    assert player.add("a", 0, ramp(0, RATE))
    assert not player.add("a", 0, ramp(RATE, 1))
    assert player.buffered_ms == 1000


def test_thousands_of_items_leave_no_trace() -> None:
    player = Player()
    for number in range(2000):
        player.add(f"item {number}", 0, ramp(0, FRAME))
        player.end()
        read(player, FRAME)
    assert player.played_ms("item 1999") == 20
    assert player.played_ms("item 0") == 0
    assert len(player._items) <= 32


def test_network_and_speaker_in_two_threads_lose_nothing() -> None:
    player, rounds = Player(prebuffer_ms=0), 2000
    heard: list[Pcm] = []

    def speaker() -> None:
        total = 0
        while total < rounds * 37:
            filled, out = read(player, FRAME)
            heard.append(out[:filled])
            total += filled

    thread = threading.Thread(target=speaker)
    thread.start()
    for number in range(rounds):
        player.add("a", 0, ramp(number * 37, 37))
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert np.array_equal(np.concatenate(heard), ramp(0, rounds * 37))


@dataclass
class Model:
    """What a player should do, written down the plain way: one long list of samples still to be played."""

    queue: list[tuple[str, int]] = field(default_factory=list)
    played: dict[str, int] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3000)),
        st.tuples(st.just("read"), st.integers(1, 2000)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("next"), st.just(0)),
        st.tuples(st.just("end"), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)  # the machine may be busy
@given(STEPS, st.sampled_from([0, 20, 60]))
def test_every_sample_is_played_once_in_order_or_cut(steps: Sequence[tuple[str, int]], prebuffer_ms: int) -> None:
    player, model = Player(prebuffer_ms=prebuffer_ms), Model()
    item, position = 0, 0
    for step, count in steps:
        name = f"item {item}"
        match step:
            case "add":
                added = player.add(name, 0, ramp(position, count))
                assert added == (name not in model.cut)
                if added:
                    model.queue += [(name, int(sample)) for sample in ramp(position, count)]
                position += count
            case "read":
                filled, out = read(player, count)
                taken, model.queue = model.queue[:filled], model.queue[filled:]
                assert [sample for _, sample in taken] == out[:filled].tolist()
                assert not out[filled:].any()
                assert filled in (0, count) or not model.queue
                for owner, _ in taken:
                    model.played[owner] = model.played.get(owner, 0) + 1
            case "flush":
                cuts = player.flush()
                assert {owner for owner, _ in model.queue} <= {cut.item_id for cut in cuts}
                assert all(cut.played_ms == model.played.get(cut.item_id, 0) * 1000 // RATE for cut in cuts)
                assert player.idle
                model.cut |= {cut.item_id for cut in cuts}
                model.queue = []
            case "next":
                item += 1
            case "end":
                player.end()
        assert player.buffered_ms == len(model.queue) * 1000 // RATE
        assert player.idle == (not model.queue)
