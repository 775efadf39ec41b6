"""Whether the microphone hears the agent, somebody else, or both."""

import numpy as np
import pytest

from tests.support.turn_sounds import chatter, late, windows
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.turn.echo import LAGS, LATELY, EchoJudge, EchoTracker
from voiceagent.vad.base import WINDOW

AGENT = chatter(6, seed=1)
USER = chatter(6, seed=2, level=6000)


def excesses(tracker: EchoTracker, microphone: Pcm, played: Pcm | None, *, voice: bool = True) -> list[float | None]:
    theirs = windows(played) if played is not None else [None] * (len(microphone) // WINDOW)
    return [tracker.hear(mine, other, voice=voice) for mine, other in zip(windows(microphone), theirs, strict=True)]


@pytest.mark.parametrize("milliseconds", [0, 32, 150, 400])
def test_the_delay_is_found(milliseconds: int) -> None:
    tracker = EchoTracker()
    excesses(tracker, late(AGENT, milliseconds, 0.1), AGENT)
    assert tracker.delay_ms == pytest.approx(milliseconds, abs=20)


def test_an_echo_is_explained_by_what_is_played() -> None:
    tracker = EchoTracker()
    found = excesses(tracker, late(AGENT, 200, 0.1), AGENT)
    assert found[0] is None
    known = [db for db in found[60:] if db is not None]
    assert len(known) == len(found) - 60
    assert np.percentile(known, 80) < 7


def test_somebody_else_is_louder_than_the_echo_explains() -> None:
    tracker = EchoTracker()
    echo = late(AGENT, 200, 0.05)
    excesses(tracker, echo[: 3 * EAR_RATE], AGENT[: 3 * EAR_RATE])
    assert tracker.delay_ms is not None
    both = echo[3 * EAR_RATE : 4 * EAR_RATE] + USER[:EAR_RATE]
    found = excesses(tracker, both, AGENT[3 * EAR_RATE : 4 * EAR_RATE])
    assert sum(db is None or db > 7 for db in found) > len(found) / 3


def test_a_user_alone_is_not_taken_for_the_agent() -> None:
    found = excesses(EchoTracker(), USER, AGENT)
    assert sum(db is None for db in found) > 0.9 * len(found)


def test_nothing_is_known_while_the_agent_is_silent() -> None:
    assert set(excesses(EchoTracker(), USER, None)) == {None}
    assert set(excesses(EchoTracker(), USER, silence(len(USER)))) == {None}


def test_an_echo_dies_away_when_the_agent_falls_silent() -> None:
    tracker = EchoTracker()
    excesses(tracker, late(AGENT, 100, 0.1), AGENT)
    after = excesses(tracker, silence(EAR_RATE), None)
    assert after[0] is not None
    assert set(after[LAGS // 2 + 1 :]) == {None}


def test_the_echo_may_move_and_its_delay_is_found_again() -> None:
    tracker = EchoTracker()
    excesses(tracker, late(AGENT, 100, 0.1), AGENT)
    more = chatter(8, seed=3)
    excesses(tracker, late(more, 300, 0.2), more)
    assert tracker.delay_ms == pytest.approx(300, abs=20)


def test_an_echo_that_is_gone_is_forgotten() -> None:
    tracker = EchoTracker()
    excesses(tracker, late(AGENT, 100, 0.1), AGENT)
    excesses(tracker, chatter(6, seed=5), chatter(6, seed=4))
    assert tracker.delay_ms is None


def test_windows_without_a_voice_are_compared_later() -> None:
    echo = late(AGENT, 200, 0.1)
    at_once, later = EchoTracker(), EchoTracker()
    one = None
    for index, (mine, theirs) in enumerate(zip(windows(echo), windows(AGENT), strict=True)):
        one = at_once.hear(mine, theirs)
        voice = index % 10 == 9
        other = later.hear(mine, theirs, voice=voice)
        assert voice or other is None
    assert one is not None
    assert later.delay_ms == at_once.delay_ms


def explained(judge: EchoJudge, microphone: Pcm, played: Pcm, *, watched: bool = False) -> float:
    """The share of the windows after which the echo explains all."""
    pairs = list(zip(windows(microphone), windows(played), strict=True))
    count = 0
    for mine, theirs in pairs:
        judge.hear(mine, theirs, voice=True, watched=watched)
        count += judge.explains
    return count / len(pairs)


def test_the_judge_knows_the_echo_and_who_speaks_over_it() -> None:
    judge = EchoJudge(7.0)
    assert not judge.explains
    echo = late(AGENT, 200, 0.05)
    first, second, third = slice(0, 3 * EAR_RATE), slice(3 * EAR_RATE, 4 * EAR_RATE), slice(4 * EAR_RATE, 5 * EAR_RATE)
    explained(judge, echo[first], AGENT[first])
    assert explained(judge, echo[second], AGENT[second]) > 0.7
    assert explained(judge, echo[third] + USER[third], AGENT[third]) < 0.5
    assert not judge.explains


def test_of_a_voice_that_is_judged_all_windows_count() -> None:
    judge = EchoJudge(7.0)
    echo = late(AGENT, 200, 0.05)
    explained(judge, echo, AGENT)
    for window in windows(AGENT)[:LATELY]:
        judge.hear(window, window, voice=True, watched=True)  # far louder than the echo was
    assert not judge.explains


def test_the_judge_forgets_when_nothing_is_known() -> None:
    judge = EchoJudge(7.0)
    explained(judge, late(AGENT, 200, 0.1), AGENT)
    for window in windows(silence(EAR_RATE)):
        judge.hear(window, None, voice=True, watched=False)
    assert not judge.explains
