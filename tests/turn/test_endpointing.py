"""How long to wait: evidence, patience, this speaker's habits, and what the client asked for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.turn.endpointing import (
    MEMORY,
    PATIENCE,
    PATIENCE_MS,
    RULES,
    WORDS,
    AdaptiveSilence,
    FadeRule,
    FixedSilence,
    HabitRule,
    HeardRule,
    Patience,
    Pause,
    SpeakerPauses,
    WordsRule,
    endpointing_policy,
    fade_db,
)
from voiceagent.turn.options import Eagerness, TurnOptions
from voiceagent.turn.words import SentenceEnding

AUTO = PATIENCE["auto"]
EAGERNESS: tuple[Eagerness, ...] = ("high", "auto", "low")

pauses = st.builds(
    Pause,
    text=st.text(max_size=40),
    finished=st.none() | st.floats(0, 1),
    fade_db=st.none() | st.floats(-200, 0),
    speech_ms=st.floats(0, 1e9),
    pauses=st.floats(0, 1e6),
)


def voice(seconds: float, level: float) -> Pcm:
    return (np.random.default_rng(0).normal(0, level, int(seconds * EAR_RATE))).astype(np.int16)


# -- what the client asked for ----------------------------------------------------------------------------------------


@given(pauses, st.integers(0, 5000))
def test_a_silence_that_the_client_names_is_obeyed_whatever_was_said(pause: Pause, silence_ms: int) -> None:
    obeyed = endpointing_policy(TurnOptions(silence_ms=silence_ms, eagerness="low"), configured_ms=900)
    assert obeyed.wait_ms(pause) == obeyed.wait_ms(Pause(text=pause.text)) == silence_ms


def test_the_configuration_is_obeyed_where_the_client_names_none() -> None:
    assert endpointing_policy(TurnOptions(), configured_ms=700).wait_ms(Pause("and")) == 700


def test_without_either_it_adapts_as_eagerly_as_asked() -> None:
    waits = {
        eagerness: endpointing_policy(TurnOptions(eagerness=eagerness)).wait_ms(Pause(text="A coffee."))
        for eagerness in EAGERNESS
    }
    assert waits["high"] < waits["auto"] < waits["low"]
    assert endpointing_policy(TurnOptions(eagerness="medium")).wait_ms(Pause(text="A coffee.")) == waits["auto"]


@pytest.mark.parametrize("eagerness", EAGERNESS)
def test_a_fixed_silence_follows_the_eagerness_when_nothing_names_one(eagerness: Eagerness) -> None:
    assert FixedSilence(TurnOptions(eagerness=eagerness)).wait_ms(Pause()) == PATIENCE_MS[eagerness]


# -- bounds -----------------------------------------------------------------------------------------------------------


@given(pauses, st.sampled_from(EAGERNESS))
def test_nothing_waits_for_ever_or_ends_at_once(pause: Pause, eagerness: Eagerness) -> None:
    patience = PATIENCE[eagerness]
    wait = AdaptiveSilence(patience).wait_ms(pause)
    assert 200 <= patience.least_ms <= wait <= patience.most_ms <= 3000
    assert wait == AdaptiveSilence(patience).wait_ms(replace(pause))


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_more_evidence_never_waits_longer(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert AUTO.wait_ms(more) <= AUTO.wait_ms(less)


def test_patience_without_evidence() -> None:
    assert Patience(700, 200, 2000).wait_ms(0.0) == 700
    assert AdaptiveSilence(AUTO, ()).wait_ms(Pause("because")) == AUTO.usual_ms


# -- rules ------------------------------------------------------------------------------------------------------------


def test_every_ending_has_its_weight() -> None:
    assert set(WORDS) == set(SentenceEnding)


@pytest.mark.parametrize(
    ("finished", "unfinished"),
    [
        *(
            ("I want a coffee.", "I want a"),
            ("That's it.", "That's it, um"),
            ("Yes.", "Yes,"),
            ("It's two.", "My pin is 2"),
        ),
        *(("我要咖啡。", "我要咖啡和"), ("就这些。", "那个"), ("好的。", "好的，因为"), ("是三点。", "电话是三")),
    ],
)
def test_unfinished_words_wait_longer(finished: str, unfinished: str) -> None:
    adaptive = AdaptiveSilence(AUTO)
    assert adaptive.wait_ms(Pause(text=unfinished)) > adaptive.wait_ms(Pause(text=finished)) + 200


def test_a_voice_that_sinks_has_finished() -> None:
    assert FadeRule().evidence(Pause(fade_db=-20.0)) > 0 > FadeRule().evidence(Pause(fade_db=-2.0))
    assert FadeRule().evidence(Pause(fade_db=-90.0)) == FadeRule().evidence(Pause(fade_db=-30.0))
    assert FadeRule().evidence(Pause()) == 0.0


def test_fade_is_measured_against_the_loud_part() -> None:
    falling = np.concatenate((voice(1.0, 3000), voice(0.3, 300)))
    assert fade_db(falling) == pytest.approx(-20, abs=1)
    assert fade_db(voice(2.0, 3000)) == pytest.approx(0, abs=1)
    assert fade_db(np.concatenate((voice(1.0, 300), voice(0.3, 3000)))) == pytest.approx(0, abs=1)
    assert fade_db(voice(0.5, 3000)) is None
    assert fade_db(silence(EAR_RATE)) == 0.0


def test_a_speaker_who_pauses_often_is_waited_for() -> None:
    rule = HabitRule()
    assert rule.evidence(Pause()) == 0.0
    assert rule.evidence(Pause(speech_ms=8000, pauses=8)) < -0.5 < 0.5 < rule.evidence(Pause(speech_ms=8000, pauses=0))


def test_a_model_counts_once_it_has_answered() -> None:
    rule = HeardRule()
    assert rule.evidence(Pause()) == 0.0
    assert rule.evidence(Pause(finished=0.02)) < -1 < 0.5 < rule.evidence(Pause(finished=0.98))
    assert rule.evidence(Pause(finished=1.0)) == rule.evidence(Pause(finished=0.999))
    assert rule.evidence(Pause(finished=0.0)) == rule.evidence(Pause(finished=0.001))


def test_a_rule_of_ones_own_is_one_more() -> None:
    class Never:
        name = "never"

        def evidence(self, pause: Pause) -> float:
            return -100.0

    assert AdaptiveSilence(AUTO, (*RULES, Never())).wait_ms(Pause("Yes.")) == AUTO.most_ms
    assert AdaptiveSilence(AUTO, (WordsRule(),)).wait_ms(Pause("Fine.")) == AUTO.usual_ms


# -- habits -----------------------------------------------------------------------------------------------------------


def test_habits_fade_with_the_turns() -> None:
    habits = SpeakerPauses()
    habits.went_on()
    assert (habits.pauses, habits.speech_ms(1000)) == (1.0, 1000)
    habits.turn_ended(2000)
    assert (habits.pauses, habits.speech_ms(500)) == (MEMORY, MEMORY * 2000 + 500)
    for _ in range(200):
        habits.went_on()
        habits.turn_ended(3000)
    assert habits.pauses == pytest.approx(MEMORY / (1 - MEMORY))
    assert habits.speech_ms(0) == pytest.approx(3000 * MEMORY / (1 - MEMORY))


def test_few_samples_change_little() -> None:
    habits = SpeakerPauses()
    habits.went_on()
    after_one = HabitRule().evidence(Pause(speech_ms=habits.speech_ms(2000), pauses=habits.pauses))
    assert -0.5 < after_one < 0


def test_neither_words_nor_sound_can_reach_a_log() -> None:
    assert "secret" not in repr(Pause("secret words"))
