"""The figures, from records made up to the sample."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from voiceagent_client.pcm import FRAME, RATE, Pcm

from voiceagent.evaluation.measure import TurnResult, contains, measure, repeats
from voiceagent.evaluation.record import (
    Arrival,
    CommitRecord,
    CutRecord,
    Interjected,
    LoudspeakerTrack,
    Record,
    ResponseRecord,
    SpeechSpan,
    TurnRecord,
)
from voiceagent.evaluation.report import EvaluationReport, Run
from voiceagent.evaluation.scenario import Echo, Expect, Interjection, MicrophoneSettings, ScenarioTurn
from voiceagent.evaluation.summary import Share, Spread, shortcomings, spread, summarise
from voiceagent.evaluation.usage import SPECULATIONS, TOKENS, SpeculationCounts, speculation
from voiceagent.evaluation.words import errors, words, words_off

MS = RATE // 1000
VOICE: Pcm = np.random.default_rng(1).integers(-9000, 9000, 200 * FRAME).astype(np.int16)
"""Four seconds of the agent's."""
MISHEARD = "of the words misheard, more than"
OFF = "words off in what was heard, more than"


def talk(
    *interjected: Interjected,
    answered_at: int = 1600,
    played_frames: int = 200,
    status: str = "completed",
    committed_at: int = 1400,
    cut_at: int | None = None,
) -> Record:
    """The user speaks from 200 to 1000 ms. The answer comes at `answered_at` ms in pieces of 40 ms and is played from
    then on, as many frames of it."""
    turn = TurnRecord(
        ScenarioTurn("x"), 0, SpeechSpan(200 * MS, 1000 * MS, "what is four"), 9000 * MS, list(interjected)
    )
    record = Record([turn], commits=[CommitRecord(committed_at * MS, "u")])
    record.user_texts["u"] = "What is for?"
    record.agent_texts["a"] = "The number after three."
    record.responses["r"] = ResponseRecord("r", committed_at * MS, 6000 * MS, status)
    for number in range(100):
        piece = VOICE[number * 2 * FRAME : (number + 1) * 2 * FRAME]
        record.arrivals.append(Arrival((answered_at + 40 * number) * MS, "r", "a", piece, True))
    while record.track.frames * 20 < answered_at - 20:
        record.track.add(np.zeros(FRAME, np.int16), 0)
    for number in range(played_frames):
        record.track.add(VOICE[number * FRAME : (number + 1) * FRAME], FRAME)
    if cut_at is not None:
        record.cuts.append(CutRecord(cut_at * MS, "a", played_frames * 20))
    return record


def interjection(kind: str, at: int) -> Interjected:
    plan = Interjection(kind, "no", 500)  # type: ignore[arg-type]
    return Interjected(plan, SpeechSpan(at * MS, (at + 400) * MS, "no"), over_agent=True)


def result_of(record: Record, microphone: MicrophoneSettings | None = None) -> TurnResult:
    (result,) = measure(record, microphone or MicrophoneSettings())
    return result


def test_a_plain_turn() -> None:
    result = result_of(talk())
    assert result.response_ms == [600]
    assert not any((result.cut_off, result.unanswered, result.interrupted, result.resumed, result.distractions))
    assert (result.word_errors, result.words, result.user_text) == (1, 3, "What is for?")
    assert result.agent_text == "The number after three."


def test_a_turn_committed_inside_its_own_pause_is_cut_off() -> None:
    result = result_of(talk(committed_at=700))
    assert result.cut_off
    assert result.response_ms == []  # what came is no answer to the whole turn
    assert result.unanswered


def test_an_interruption_that_stops_the_agent() -> None:
    record = talk(interjection("interruption", 2000), played_frames=35, status="cancelled", cut_at=2350)
    record.heard_texts["a"] = "The number"
    result = result_of(record)
    assert (result.interruptions, result.missed, result.false) == (1, 0, 0)
    assert result.interrupted
    assert result.silence_ms == [1600 + 35 * 20 - 2000 - 1]  # the last sample belongs to the millisecond before
    assert result.unanswered  # nothing came after the interruption
    ((text, claimed, played),) = result.heard
    assert (text, claimed) == ("The number after three.", "The number")
    assert np.array_equal(played, VOICE[: 35 * FRAME])


def test_an_interruption_that_is_not_heeded_is_missed() -> None:
    result = result_of(talk(interjection("interruption", 2000)))
    assert (result.interruptions, result.missed, result.silence_ms) == (1, 1, [])
    assert not result.interrupted


def test_an_interruption_before_the_agent_says_anything() -> None:
    plan = replace(interjection("interruption", 1450), over_agent=False)
    result = result_of(talk(plan, played_frames=0, answered_at=8000))
    assert (result.missed, result.silence_ms) == (0, [])
    assert not result_of(talk(plan, answered_at=2500)).missed


def test_a_backchannel_that_stops_the_agent_is_a_false_interruption() -> None:
    record = talk(interjection("backchannel", 2000), played_frames=40, status="cancelled", cut_at=2400)
    result = result_of(record)
    assert (result.distractions, result.false, result.interruptions) == (1, 1, 0)
    assert result.interrupted
    assert result.resumed == []


def test_after_a_backchannel_nothing_is_lost_or_repeated() -> None:
    heard = interjection("backchannel", 2000)
    assert result_of(talk(heard)).resumed == [True]
    assert result_of(talk(heard, played_frames=199)).resumed == [False]
    assert result_of(talk(heard, status="cancelled")).resumed == [False]
    twice = talk(heard)
    twice.arrivals.insert(20, twice.arrivals[19])
    twice.track = LoudspeakerTrack()
    for arrival in twice.arrivals:
        for half in (arrival.pcm[:FRAME], arrival.pcm[FRAME:]):
            twice.track.add(half, FRAME)
    assert result_of(twice).resumed == [False]


def test_an_echo_that_stops_the_agent_is_a_false_interruption() -> None:
    echo = MicrophoneSettings(echo=Echo(-20, 150))
    quiet = result_of(talk(), echo)
    assert (quiet.distractions, quiet.false, quiet.resumed) == (1, 0, [True])
    stopped = result_of(talk(played_frames=40, status="cancelled", cut_at=2400), echo)
    assert (stopped.distractions, stopped.false, stopped.resumed) == (1, 1, [])


def test_a_reply_taken_back_before_it_was_heard_is_a_false_interruption() -> None:
    record = talk(played_frames=0, status="cancelled")
    record.arrivals.clear()
    result = result_of(record)
    assert (result.distractions, result.false, result.unanswered) == (1, 1, True)
    after_more = replace(interjection("interruption", 1500), over_agent=False)
    record = talk(after_more, played_frames=0, status="cancelled", answered_at=8000)
    assert result_of(record).false == 0


def test_a_late_interjection_counts_for_nothing() -> None:
    result = result_of(talk(Interjected(interjection("interruption", 2000).plan, None)))
    assert (result.late, result.interruptions) == (1, 0)
    assert "the answer was too short for the interjection" in shortcomings(result, Expect(interrupted=True))


def test_the_track_knows_what_was_audible() -> None:
    track = LoudspeakerTrack()
    assert track.first_audible(0) is None
    track.add(np.zeros(FRAME, np.int16), FRAME)
    frame = np.zeros(FRAME, np.int16)
    frame[100:200] = 5000
    track.add(frame, FRAME)
    assert track.first_audible(0) == 2 * FRAME + 100  # a frame is heard after it was taken
    assert track.last_audible(0, 10 * FRAME) == 2 * FRAME + 199
    assert track.last_audible(0, 2 * FRAME + 150) == 2 * FRAME + 149
    assert track.last_audible(3 * FRAME, 10 * FRAME) is None
    assert track.talking(2 * FRAME + 300)
    assert not track.talking(2 * FRAME + RATE)
    assert len(track.played()) == 2 * FRAME


@given(st.lists(st.integers(-3, 3), max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_a_part_is_found_where_it_is(samples: list[int], start: int, length: int) -> None:
    pcm = np.array(samples, np.int16)
    assert contains(pcm, pcm[start : start + length])
    assert not contains(pcm, np.array([9], np.int16))


def test_half_a_sample_off_is_not_found() -> None:
    assert not contains(np.array([0x0201, 0x0403], np.int16), np.array([0x0302], np.int16))


def test_a_stretch_that_comes_twice_is_found() -> None:
    assert not repeats(VOICE, [FRAME] * 200)
    doubled = np.concatenate([VOICE[: 9 * FRAME], VOICE[5 * FRAME :]])
    assert repeats(doubled, [9 * FRAME, 195 * FRAME])


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("What's my number?", "what’s my number", (0, 3)),
        ("four one five", "415", (0, 3)),
        ("你好，世界", "你好世间", (1, 4)),
        ("one two", "", (2, 2)),
        ("", "a b", (2, 0)),
    ],
)
def test_word_errors(reference: str, hypothesis: str, expected: tuple[int, int]) -> None:
    assert errors(reference, hypothesis) == expected


@given(st.lists(st.sampled_from(["red", "green", "blue", "white", "black"]), min_size=1, max_size=12), st.data())
def test_what_was_heard_is_off_by_the_words_between(text: list[str], data: st.DataObject) -> None:
    played = data.draw(st.integers(0, len(text)))
    claimed = data.draw(st.integers(0, len(text)))
    off = words_off(" ".join(text), " ".join(text[:claimed]), " ".join(text[:played]))
    assert off == abs(claimed - played)


def test_a_misheard_word_does_not_count_against_what_was_heard() -> None:
    assert words_off("The moon goes round the earth.", "The moon goes round", "The noon goes round") == 0
    assert words_off("月亮绕着地球转", "月亮绕", "月亮绕着") == 1
    assert words_off("", "x", "y") is None
    assert words("Café, DON'T!") == ["café", "don't"]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_that_occurred(values: list[float]) -> None:
    figure = spread(values)
    assert figure.n == len(values)
    assert figure.p50 in values
    assert figure.p95 in values
    assert sum(value <= (figure.p95 or 0) for value in values) >= 0.95 * len(values)
    assert spread([]) == Spread(0, None, None, None)


def test_figures_carry_their_number_of_cases() -> None:
    one = TurnResult("a", response_ms=[500, 700], interruptions=1, silence_ms=[200], heard_words_off=[1], words=4)
    two = TurnResult("b", cut_off=True, distractions=2, false=1, resumed=[True], heard_words_off=[3], late=1)
    figures = summarise([one, two])
    assert figures["response_ms"] == Spread(2, 500, 700, 700)
    assert figures["turns_cut_off"] == Share(2, 1, 0.5)
    assert figures["interruptions_missed"] == Share(1, 0, 0.0)
    assert figures["interruptions_false"] == Share(2, 1, 0.5)
    assert figures["heard_within_one_word"] == Share(2, 1, 0.5)
    assert figures["replies_resumed"] == Share(1, 1, 1.0)
    assert figures["interjections_late"] == Share(4, 1, 0.25)
    assert summarise([])["turns_cut_off"] == Share(0, 0, None)


@pytest.mark.parametrize(
    ("result", "expect", "wrong"),
    [
        (TurnResult("a", response_ms=[900]), Expect(), None),
        (TurnResult("a", unanswered=True), Expect(), "was not answered"),
        (TurnResult("a"), Expect(answered=False), "was answered"),
        (TurnResult("a", response_ms=[900]), Expect(max_response_ms=800), "answered after 900 ms, more than 800"),
        (TurnResult("a", interruptions=1), Expect(interrupted=False), "the agent was stopped"),
        (TurnResult("a", interruptions=1, missed=1), Expect(interrupted=True), "the agent was not stopped"),
        (TurnResult("a", cut_off=True), Expect(cut_off=False), "was cut off in a pause"),
        (TurnResult("a"), Expect(resumed=True), "the reply did not go on as it was"),
        (TurnResult("a", silence_ms=[90]), Expect(max_silence_ms=80), "silent after 90 ms, more than 80"),
        (
            TurnResult("a", word_errors=1, words=4),
            Expect(max_word_errors=0.2),
            "25% of the words misheard, more than 20%",
        ),
        (
            TurnResult("a", heard_words_off=[2]),
            Expect(max_heard_words_off=1),
            "2 words off in what was heard, more than 1",
        ),
        (TurnResult("a", agent_text="It is Paris!"), Expect(answer="paris"), None),
        (TurnResult("a", agent_text="It is comparison."), Expect(answer="paris"), "the answer does not say 'paris'"),
        (TurnResult("a", trouble=["broke"]), Expect(), "broke"),
    ],
)
def test_what_falls_short_of_a_scenario_is_said(result: TurnResult, expect: Expect, wrong: str | None) -> None:
    assert shortcomings(result, expect) == ([] if wrong is None else [wrong])


def test_speculation_is_what_came_between_two_readings() -> None:
    before = {(SPECULATIONS, "used"): 3.0, (TOKENS, "output"): 10.0}
    after = {(SPECULATIONS, "used"): 5.0, (SPECULATIONS, "thrown away"): 1.0, (TOKENS, "output"): 40.0}
    assert speculation(before, after) == SpeculationCounts(2, 1, 0, 30)
    assert speculation(None, after) is None


def test_the_report_says_what_went_wrong() -> None:
    right = Run("right", [TurnResult("a [b]", response_ms=[5])], [[]])
    wrong = Run("wrong", [TurnResult("c")], [["was [not] answered"]])
    broken = Run("broken", failure="cannot reach it")
    report = EvaluationReport("ws://x", [right, wrong, broken], SpeculationCounts(1, 2, 3, 4), ["heard text: why"])
    assert not report.passed
    assert EvaluationReport("ws://x", [right], None).passed
    console = Console(width=80, record=True, file=io.StringIO())
    report.show(console)
    shown = console.export_text()
    for text in ("wrong: 'c': was [not] answered", "broken: cannot reach it", "heard text: why", "tokens thrown away"):
        assert text in shown
    body = json.loads(report.json())
    assert body["passed"] is False
    assert body["figures"]["response_ms"] == {"n": 1, "p50": 5, "p95": 5, "max": 5}
    assert body["runs"][1]["turns"][0]["shortcomings"] == ["was [not] answered"]
    assert body["scenarios"]["broken"]["response_ms"]["n"] == 0
