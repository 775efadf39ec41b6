from hypothesis import given
from hypothesis import strategies as st

from voiceagent.audio.playout import Playout


def test_sends_a_lead_at_once_and_then_at_the_pace_of_playing() -> None:
    playout = Playout(lead=0.2)
    now, sent_at = 100.0, []
    for index in range(10):
        now += playout.wait(now)
        sent_at.append(round(now - 100.0, 3))
        playout.send(now, 0.1, first=index == 0)
    # The client's buffer may hold the lead when a frame is added: three frames go at once, then one every 0.1 s.
    assert sent_at == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert playout.gaps == 0


def test_played_follows_the_clock_and_stops_when_the_client_starves() -> None:
    playout = Playout(lead=1.0)
    playout.send(0.0, 0.5, first=True)
    assert playout.played(0.2) == 0.2
    assert playout.played(3.0) == 0.5
    playout.send(3.0, 0.5, first=True)
    assert playout.played(3.25) == 0.75
    assert playout.gaps == 0


def test_a_gap_counts_only_in_the_middle_of_a_reply() -> None:
    playout = Playout(lead=0.2)
    playout.send(0.0, 0.1, first=True)
    playout.send(0.5, 0.1, first=False)
    assert playout.gaps == 1


def test_what_was_flushed_was_never_sent() -> None:
    playout = Playout(lead=1.0)
    playout.send(10.0, 0.8, first=True)
    playout.flush(10.3)
    assert round(playout.sent, 6) == 0.3
    assert playout.remaining(10.3) == 0.0
    assert round(playout.played(11.0), 6) == 0.3


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.01, 1)), max_size=30))
def test_played_never_runs_backwards_nor_ahead_of_sent(steps: list[tuple[float, float]]) -> None:
    playout, now, before = Playout(lead=0.3), 5.0, 0.0
    for pause, seconds in steps:
        now += pause
        played = playout.played(now)
        assert before - 1e-6 <= played <= playout.sent + 1e-6
        before = played
        playout.send(now, seconds, first=False)
