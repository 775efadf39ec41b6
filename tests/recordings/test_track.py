"""Both sides of a recording on one axis: what is placed where, cut, moved, and given out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.recordings.axis import GAP_SECONDS, Axis
from voiceagent.recordings.track import KEPT_SECONDS, RecordedTrack

RATE = 16_000
START = 50.0
FRAME = RATE // 50


class Talk:
    """A track that is told of a talk in real time, and all that it gave out."""

    def __init__(self) -> None:
        self.track = RecordedTrack(Axis(RATE, START))
        self.now = START
        self._user: list[Pcm] = []
        self._agent: list[Pcm] = []

    def hears(self, seconds: float, level: int = 1) -> None:
        """The microphone sends for so long."""
        for _ in range(round(seconds * 50)):
            self.now += 0.02
            self.track.user(self.now, np.full(FRAME, level, np.int16))
            self._take()

    def waits(self, seconds: float) -> None:
        """Nothing is sent."""
        self.now += seconds
        self._take()

    def says(self, seconds: float, level: int = 2, reply: str = "a") -> None:
        """The client is sent so much at once."""
        self.track.agent(self.now, reply, f"item_{reply}", np.full(round(seconds * RATE), level, np.int16))

    def _take(self) -> None:
        for user, agent in self.track.ready(self.now):
            self._user.append(user)
            self._agent.append(agent)

    @property
    def given(self) -> float:
        """Seconds given out so far."""
        return sum(map(len, self._user)) / RATE

    def end(self) -> tuple[Pcm, Pcm]:
        for user, agent in self.track.finish(self.now):
            self._user.append(user)
            self._agent.append(agent)
        return np.concatenate([silence(0), *self._user]), np.concatenate([silence(0), *self._agent])


def runs(side: Pcm, level: int = 2) -> list[tuple[float, float]]:
    """Where it is heard: seconds from and to, in hundredths."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (side == level).astype(np.int8), [0]))))
    return [(round(start / RATE, 2), round(end / RATE, 2)) for start, end in edges.reshape(-1, 2).tolist()]


def test_the_agent_is_placed_where_the_user_heard_it() -> None:
    talk = Talk()
    talk.hears(1.0)
    talk.says(0.5)
    talk.says(0.25)
    talk.hears(2.0)
    user, agent = talk.end()
    assert len(user) == len(agent) == 3 * RATE
    assert (user == 1).all()
    assert runs(agent) == [(1.0, 1.75)]


def test_what_comes_late_leaves_a_gap() -> None:
    talk = Talk()
    talk.says(0.1)
    talk.hears(0.5)
    talk.says(0.1)
    talk.hears(0.5)
    assert runs(talk.end()[1]) == [(0.0, 0.1), (0.5, 0.6)]


def test_what_was_flushed_was_not_heard() -> None:
    talk = Talk()
    talk.hears(1.0)
    talk.says(2.0)
    talk.hears(0.5)
    talk.track.cut(talk.now, "a")
    talk.hears(1.0)
    talk.says(0.3, reply="b")
    talk.hears(1.0)
    assert runs(talk.end()[1]) == [(1.0, 1.5), (2.5, 2.8)]


def test_a_cut_concerns_one_reply_and_not_the_one_before_it() -> None:
    talk = Talk()
    talk.says(0.4)
    talk.says(1.0, level=3, reply="b")
    talk.hears(0.2)
    talk.track.cut(talk.now, "b")
    talk.hears(1.0)
    agent = talk.end()[1]
    assert runs(agent) == [(0.0, 0.4)]
    assert runs(agent, 3) == []


@pytest.mark.parametrize("played", [0.0, 0.3, 0.65])
def test_a_clients_own_word_on_where_it_stopped_is_more_exact(played: float) -> None:
    talk = Talk()
    talk.hears(1.0)
    talk.says(2.0)
    talk.hears(0.5)
    talk.track.cut(talk.now, "a")
    talk.hears(0.1)
    talk.track.stopped("item_a", played)
    talk.hears(2.0)
    assert runs(talk.end()[1]) == ([(1.0, 1.0 + played)] if played else [])


def test_what_is_sent_of_an_item_after_the_client_stopped_it_is_not_heard() -> None:
    talk = Talk()
    talk.says(0.5)
    talk.hears(0.2)
    talk.track.stopped("item_a", 0.2)
    talk.says(0.5)
    talk.hears(2.0)
    assert runs(talk.end()[1]) == [(0.0, 0.2)]


def test_marks_move_a_client_that_plays_late() -> None:
    talk = Talk()
    talk.says(0.5)
    talk.hears(0.4)
    talk.track.reported(talk.now, "item_a", 0.1)
    talk.says(0.5)
    talk.hears(0.5)
    talk.track.reported(talk.now, "item_a", 0.59)  # as late as before, but for a little jitter
    talk.hears(1.5)
    ((start, end),) = runs(talk.end()[1])
    assert start == pytest.approx(0.3, abs=0.001)
    assert end == pytest.approx(1.3, abs=0.001)


def test_reports_of_what_nobody_knows_change_nothing() -> None:
    talk = Talk()
    talk.track.reported(talk.now, "item_x", 3.0)
    talk.track.stopped("item_x", 3.0)
    talk.track.cut(talk.now)
    talk.says(0.5)
    talk.hears(0.2)
    talk.track.reported(talk.now, "item_a", 7.0)
    talk.hears(1.0)
    assert runs(talk.end()[1]) == [(0.0, 0.5)]


def test_silence_stands_for_a_microphone_that_sends_nothing() -> None:
    talk = Talk()
    talk.hears(1.0)
    talk.waits(5.0)
    talk.says(0.5)
    talk.waits(1.0)
    talk.hears(1.0)
    user, agent = talk.end()
    assert len(user) / RATE == pytest.approx(8.0, abs=0.01)
    assert runs(user, 1) == [(0.0, 1.0), (pytest.approx(7.0, abs=0.03), 8.0)]
    assert runs(agent)[0][0] == pytest.approx(6.0, abs=0.01)


def test_audio_that_comes_late_is_no_gap() -> None:
    talk = Talk()
    talk.hears(1.0)
    talk.waits(GAP_SECONDS * 0.9)
    for _ in range(22):
        talk.track.user(talk.now, np.ones(FRAME, np.int16))
    talk.hears(1.0)
    user, _ = talk.end()
    assert runs(user, 1) == [(0.0, 2.44)]


def test_a_client_faster_than_time_loses_nothing() -> None:
    talk = Talk()
    talk.track.user(talk.now, np.ones(60 * RATE, np.int16))
    talk.waits(0.0)
    assert talk.given == pytest.approx(60 - KEPT_SECONDS)
    talk.says(0.5)
    talk.waits(1.0)
    user, agent = talk.end()
    assert runs(user, 1) == [(0.0, 60.0)]
    assert runs(agent) == [(60.0, 60.5)]


def test_what_is_being_played_when_the_client_leaves_was_heard_only_so_far() -> None:
    talk = Talk()
    talk.says(5.0)
    talk.hears(0.8)
    user, agent = talk.end()
    assert len(user) == len(agent)
    assert runs(agent) == [(0.0, 0.8)]


def test_a_past_moment_is_found_on_the_axis() -> None:
    axis = Axis(RATE, START)
    axis.user(START + 2.0, RATE)  # the microphone began late: a second of silence stands before
    first = axis.position(START + 2.0)
    axis.user(START + 2.5, 5 * RATE)  # four and a half seconds too soon
    assert axis.past(START + 2.0) == first
    assert axis.past(START + 2.5) == axis.known
    assert axis.past(START - 3) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hears"), st.floats(0, 3)),
        st.tuples(st.just("waits"), st.floats(0, 3)),
        st.tuples(st.just("says"), st.floats(0, 3)),
        st.tuples(st.just("cut"), st.sampled_from(["a", "b", None])),
        st.tuples(st.just("stopped"), st.floats(0, 5)),
        st.tuples(st.just("reported"), st.floats(0, 5)),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_both_sides_are_as_long_and_no_sample_of_the_users_is_lost(
    steps: list[tuple[str, object]],
) -> None:
    talk, heard, longest = Talk(), 0, 0
    for number, (what, value) in enumerate(steps):
        reply = "ab"[number % 2]
        match what, value:
            case "hears", float(seconds):
                talk.hears(seconds)
                heard += round(seconds * 50) * FRAME
            case "waits", float(seconds):
                talk.waits(seconds)
            case "says", float(seconds):
                talk.says(seconds, reply=reply)
                longest += round(seconds * RATE)
            case "cut", _:
                talk.track.cut(talk.now, value if isinstance(value, str) else None)
            case "stopped", float(seconds):
                talk.track.stopped(f"item_{reply}", seconds)
            case "reported", float(seconds):
                talk.track.reported(talk.now, f"item_{reply}", seconds)
    user, agent = talk.end()
    assert len(user) == len(agent)
    assert int((user == 1).sum()) == heard
    assert int((agent == 2).sum()) <= longest
