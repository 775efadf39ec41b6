"""Who takes the floor: every rule on its own, with sounds made by arithmetic. One window is 32 ms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.turn_sounds import chatter, late, tone, windows
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.turn.barge_in import (
    ANSWER_MS,
    GO_ON,
    HINT_MS,
    WINDOW_MS,
    BargeInAction,
    BargeInDetector,
    BargeInReason,
    BargeInStep,
    WordsRequest,
)
from voiceagent.turn.options import BargeInSettings, BargeInThresholds, Phase
from voiceagent.turn.voice_features import UserVoiceLevels, VoiceFeatures, sound
from voiceagent.vad.base import WINDOW
from voiceagent.vad.segmenter import Segmenter

PERSON = tone(1)
THIN = tone(1, low=100.0)
HUM = tone(1, high=50.0)
SOFT = tone(1, low=200.0, middle=200.0, high=60.0)
SILENCE = silence(WINDOW)

PAUSE = BargeInStep(BargeInAction.PAUSE, BargeInReason.VOICE)
PARTIAL = BargeInStep(ask=WordsRequest.PARTIAL)
FINAL = BargeInStep(ask=WordsRequest.FINAL)
THRESHOLDS = BargeInSettings().speaking


def confirm(reason: BargeInReason) -> BargeInStep:
    return BargeInStep(BargeInAction.CONFIRM, reason)


def resume(reason: BargeInReason) -> BargeInStep:
    return BargeInStep(BargeInAction.RESUME, reason)


class Detector(BargeInDetector):
    """The detector with a segmenter, which it shares with the turns in a session."""

    def __init__(self) -> None:
        super().__init__()
        self._segmenter = Segmenter()

    def hear_window(self, probability: float, window: Pcm, phase: Phase, played: Pcm | None = None) -> BargeInStep:
        return self.hear(self._segmenter.hear(probability, window), phase, played)


class Talk:
    """Feeds a judge and notes what it says, with the milliseconds from the first window to the end of the one it was
    said after."""

    def __init__(self, phase: Phase = Phase.SPEAKING, judge: Detector | None = None) -> None:
        self.judge = judge or Detector()
        self.phase = phase
        self.said: list[tuple[int, BargeInStep]] = []
        self.milliseconds = 0

    def hear(self, milliseconds: int, probability: float = 0.98, window: Pcm = PERSON) -> "Talk":
        for _ in range(milliseconds // WINDOW_MS):
            self.milliseconds += WINDOW_MS
            self._note(self.judge.hear_window(probability, window, self.phase))
        return self

    def quiet(self, milliseconds: int) -> "Talk":
        return self.hear(milliseconds, 0.0, SILENCE)

    def words(self, text: str, *, final: bool = False, spoken: str = "") -> "Talk":
        self._note(self.judge.words(text, final=final, spoken=spoken))
        return self

    def _note(self, step: BargeInStep) -> None:
        if step != GO_ON:
            self.said.append((self.milliseconds, step))

    @property
    def steps(self) -> list[BargeInStep]:
        return [step for _, step in self.said]

    @property
    def last(self) -> BargeInStep:
        return self.said[-1][1]


# -- the pause --------------------------------------------------------------------------------------------------------


def test_the_reply_pauses_with_the_second_window_of_a_voice() -> None:
    talk = Talk().quiet(320).hear(320)
    assert talk.said == [(384, PAUSE)]
    assert talk.judge.onset == 320 * EAR_RATE // 1000


def test_a_hint_of_a_voice_is_enough_to_pause_and_is_given_up_soon() -> None:
    talk = Talk().hear(64, 0.35).quiet(640)
    assert talk.said == [(64, PAUSE), (64 + HINT_MS, resume(BargeInReason.BLIP))]


def test_a_hint_that_becomes_a_voice_pauses_once() -> None:
    talk = Talk().hear(96, 0.35).hear(320)
    assert talk.steps == [PAUSE]


def test_a_hint_that_goes_on_does_not_pause_again_until_it_has_lapsed() -> None:
    talk = Talk().hear(3200, 0.35)
    assert talk.steps == [PAUSE, resume(BargeInReason.BLIP)]
    assert talk.quiet(320).hear(64, 0.35).last == PAUSE


def test_a_lasting_hint_may_still_become_a_voice() -> None:
    talk = Talk().hear(640, 0.35).hear(160)
    assert talk.steps == [PAUSE, resume(BargeInReason.BLIP), PAUSE]


def test_a_click_does_nothing() -> None:
    assert Talk().quiet(320).hear(32).quiet(640).said == []


# -- while the voice goes on ------------------------------------------------------------------------------------------


def test_words_are_asked_for_before_the_decision_and_again() -> None:
    talk = Talk().hear(1184)
    assert talk.said == [(64, PAUSE), (608, PARTIAL), (992, PARTIAL)]


def test_real_words_confirm_once_the_voice_is_long_enough() -> None:
    talk = Talk().hear(608).words("I would like")
    assert talk.last == PARTIAL
    assert talk.hear(320).said[-1] == (THRESHOLDS.words_ms, confirm(BargeInReason.WORDS))
    assert talk.hear(2000).steps[-1] == confirm(BargeInReason.WORDS)


def test_one_word_may_be_half_a_word() -> None:
    assert Talk().hear(640).words("Bos").hear(320).last == PARTIAL


def test_a_command_confirms_at_once() -> None:
    assert Talk().hear(320).words("wait").last == confirm(BargeInReason.COMMAND)


def test_a_clear_voice_without_known_words_confirms_by_its_length() -> None:
    assert Talk().hear(3000).said[-1] == (THRESHOLDS.voice_ms, confirm(BargeInReason.LENGTH))


def test_somebody_who_only_listens_may_do_so_for_two_seconds() -> None:
    talk = Talk().hear(608).words("Yeah, yeah, yeah").hear(3000)
    assert talk.said[-1] == (THRESHOLDS.listening_ms, confirm(BargeInReason.LENGTH))


def test_yes_but_is_no_backchannel() -> None:
    assert Talk().hear(992).words("Yeah, but I think").last == confirm(BargeInReason.WORDS)


def test_a_short_gap_does_not_end_a_voice() -> None:
    talk = Talk().hear(320).quiet(64).hear(480).words("tell me about")
    assert talk.last == confirm(BargeInReason.WORDS)


# -- when the voice has ended -----------------------------------------------------------------------------------------


def test_a_blip_resumes_without_the_recogniser() -> None:
    talk = Talk().hear(128).quiet(320)
    assert talk.said == [(64, PAUSE), (128 + 96, resume(BargeInReason.BLIP))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mm-hmm.", resume(BargeInReason.BACKCHANNEL)),
        ("对的", resume(BargeInReason.BACKCHANNEL)),
        ("", resume(BargeInReason.NOISE)),
        ("Stop.", confirm(BargeInReason.COMMAND)),
        ("别说了", confirm(BargeInReason.COMMAND)),
        ("Mama.", resume(BargeInReason.SHORT)),
    ],
)
def test_the_words_of_a_short_voice_decide(text: str, expected: BargeInStep) -> None:
    talk = Talk().hear(384).quiet(128)
    assert talk.last == FINAL
    assert talk.words(text, final=True).last == expected
    assert talk.quiet(1000).last == expected


def test_a_word_of_some_length_counts() -> None:
    assert Talk().hear(512).quiet(128).words("Boston.", final=True).last == confirm(BargeInReason.WORDS)


def test_a_hum_is_a_backchannel_whatever_the_recogniser_makes_of_it() -> None:
    talk = Talk().hear(512, window=HUM).quiet(128).words("Mama.", final=True)
    assert talk.last == resume(BargeInReason.BACKCHANNEL)


def test_only_the_final_words_end_the_waiting() -> None:
    talk = Talk().hear(384).quiet(128).words("Bos", final=False)
    assert talk.last == FINAL
    assert talk.words("Okay.", final=True).last == resume(BargeInReason.BACKCHANNEL)


def test_a_recogniser_that_does_not_answer_is_not_waited_for() -> None:
    talk = Talk().hear(512).quiet(2000)
    assert talk.said[-1] == (512 + 96 + ANSWER_MS, resume(BargeInReason.NOISE))


def test_a_voice_that_goes_on_before_the_answer_is_the_same_voice() -> None:
    talk = Talk().hear(384).quiet(128).hear(64).words("I want to", final=True)
    assert talk.last == FINAL
    assert talk.hear(320).last == confirm(BargeInReason.WORDS)
    assert talk.judge.onset == 0


def test_each_voice_is_judged_by_itself() -> None:
    talk = Talk().hear(384).quiet(128).words("Yeah.", final=True).quiet(640).hear(384).quiet(128)
    assert talk.words("Stop.", final=True).steps == [
        *(PAUSE, FINAL, resume(BargeInReason.BACKCHANNEL)),
        *(PAUSE, FINAL, confirm(BargeInReason.COMMAND)),
    ]


def test_words_that_come_too_late_are_void() -> None:
    talk = Talk().hear(128).quiet(320)
    assert talk.words("stop", final=True).last == resume(BargeInReason.BLIP)
    assert Talk().words("stop").said == []


# -- doubt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("probability", "window"), [(0.6, PERSON), (0.98, THIN)])
def test_a_doubtful_voice_is_given_longer(probability: float, window: Pcm) -> None:
    with_words = Talk().hear(608, probability, window).words("we are all of").hear(3000, probability, window)
    assert with_words.said[-1] == (THRESHOLDS.doubtful_ms, confirm(BargeInReason.WORDS))
    without = Talk().hear(3000, probability, window)
    assert without.said[-1] == (THRESHOLDS.doubtful_ms, resume(BargeInReason.NOISE))
    ended = Talk().hear(640, probability, window).quiet(128).words("So hard to break.", final=True)
    assert ended.last == resume(BargeInReason.NOISE)


def test_a_noise_that_was_given_up_is_ignored_until_it_ends() -> None:
    talk = Talk().hear(10_000, 0.6)
    assert talk.last == resume(BargeInReason.NOISE)
    assert talk.quiet(320).hear(64).last == PAUSE


def test_a_thin_voice_may_still_say_stop() -> None:
    assert Talk().hear(384, window=THIN).quiet(128).words("Stop!", final=True).last == confirm(BargeInReason.COMMAND)


def test_what_is_hardly_a_voice_may_not() -> None:
    assert Talk().hear(384, 0.6).quiet(128).words("Stop!", final=True).last == resume(BargeInReason.NOISE)


def test_a_telephone_makes_every_voice_thin() -> None:
    talk = Talk()
    talk.judge.narrowband = True
    assert talk.hear(640, window=THIN).words("I would like").hear(160, window=THIN).last == confirm(BargeInReason.WORDS)


def learned(window: Pcm) -> Detector:
    """A judge who has heard the user speak with this sound, and the agent begin to answer."""
    talk = Talk(Phase.SILENT).hear(1600, window=window).quiet(320)
    assert talk.said == []
    assert talk.judge.usual.level is not None
    return talk.judge


def test_a_thin_or_dull_user_is_judged_by_their_own_voice() -> None:
    thin = Talk(judge=learned(THIN)).hear(640, window=THIN).words("I would like").hear(160, window=THIN)
    assert thin.last == confirm(BargeInReason.WORDS)
    dull = Talk(judge=learned(HUM)).hear(512, window=HUM).quiet(128).words("Boston.", final=True)
    assert dull.last == confirm(BargeInReason.WORDS)


def test_a_voice_far_below_the_users_is_somebody_elses() -> None:
    faint = Talk(judge=learned(PERSON)).hear(416, window=SOFT)
    assert faint.judge.faint
    assert faint.last == resume(BargeInReason.NOISE)
    assert faint.hear(2400, window=SOFT).words("I would like").last == resume(BargeInReason.NOISE)
    short = Talk(judge=learned(PERSON)).hear(256, window=SOFT).quiet(128).words("Stop!", final=True)
    assert short.last == resume(BargeInReason.NOISE)
    assert not Talk().judge.faint
    assert Talk().hear(640, window=SOFT).words("I would like").hear(320, window=SOFT).last == confirm(
        BargeInReason.WORDS
    )


def test_what_follows_in_the_background_takes_nothing_from_what_was_learned() -> None:
    talk = Talk(Phase.SILENT).hear(1600, window=PERSON).hear(640, 0.6, window=SOFT).quiet(320)
    assert talk.judge.usual.level is not None


def test_noises_teach_nothing_about_the_user() -> None:
    talk = Talk(Phase.SILENT).hear(1600, 0.6).quiet(320).hear(320).quiet(320)
    assert talk.judge.usual.level is None


# -- echo -------------------------------------------------------------------------------------------------------------


def test_the_agents_words_are_an_echo() -> None:
    spoken = "Your parcel will arrive on Tuesday."
    talk = Talk().hear(640).words("parcel will arrive", spoken=spoken)
    assert talk.last == resume(BargeInReason.ECHO)
    assert talk.hear(3000).last == resume(BargeInReason.ECHO)


AGENT = chatter(6, seed=1)
USER = chatter(6, seed=2, level=8000)


def overheard(judge: Detector, microphone: Pcm, played: Pcm, probability: float = 0.98) -> list[BargeInStep]:
    pairs = zip(windows(microphone), windows(played), strict=True)
    steps = [judge.hear_window(probability, mine, Phase.SPEAKING, other) for mine, other in pairs]
    return [step for step in steps if step != GO_ON]


def test_the_agents_own_sound_is_an_echo_and_then_does_not_even_pause_it() -> None:
    judge, agent = Detector(), chatter(6, seed=5)
    echo = late(agent, 150, 0.1)
    first, gap, again = slice(0, 64 * WINDOW), slice(64 * WINDOW, 80 * WINDOW), slice(80 * WINDOW, 140 * WINDOW)
    assert overheard(judge, echo[first], agent[first])[-1] == resume(BargeInReason.ECHO)
    overheard(judge, echo[gap], agent[gap], 0.1)
    assert overheard(judge, echo[again], agent[again]) == []


def test_a_pause_for_a_hint_ends_when_the_voice_turns_out_an_echo() -> None:
    agent = chatter(3, seed=5)
    echo = late(agent, 150, 0.1)
    for quiet in range(10, 40):  # the hint comes at each moment around the one when the echo gets known
        judge = Detector()
        cuts = [slice(a * WINDOW, b * WINDOW) for a, b in ((0, quiet), (quiet, quiet + 3), (quiet + 3, 60))]
        steps = [overheard(judge, echo[cut], agent[cut], p) for cut, p in zip(cuts, (0.1, 0.35, 0.98), strict=True)]
        assert steps[0] == []
        assert steps[1] in ([], [PAUSE])
        assert steps[2] == [] or steps[2][-1] == resume(BargeInReason.ECHO)


def test_somebody_over_the_echo_is_heard() -> None:
    judge, second = Detector(), EAR_RATE
    echo = late(AGENT, 150, 0.05)
    overheard(judge, echo[: 3 * second], AGENT[: 3 * second])
    both = np.clip(echo.astype(int) + USER, -32768, 32767).astype(np.int16)
    steps = overheard(judge, both[3 * second :], AGENT[3 * second :])
    assert BargeInAction.CONFIRM in [step.action for step in steps]


def test_a_hint_of_an_echo_is_no_reason_to_pause() -> None:
    judge = Detector()
    for mine, theirs in zip(windows(late(AGENT, 150, 0.1)), windows(AGENT), strict=True):
        judge.hear_window(0.1, mine, Phase.SPEAKING, theirs)
    more = chatter(0.5, seed=1)
    steps = [
        judge.hear_window(0.35, mine, Phase.SPEAKING, theirs)
        for mine, theirs in zip(windows(late(more, 150, 0.1)), windows(more), strict=True)
    ]
    assert [step for step in steps[:3] if step != GO_ON] == []


# -- phases -----------------------------------------------------------------------------------------------------------


def test_while_the_agent_thinks_a_voice_is_soon_confirmed() -> None:
    assert Talk(Phase.THINKING).hear(640).said[-1] == (384, confirm(BargeInReason.LENGTH))


def test_the_first_words_are_easier_to_interrupt_and_doubted_longer() -> None:
    assert Talk(Phase.FIRST_WORDS).hear(3000).said[-1][0] < THRESHOLDS.voice_ms
    assert Talk(Phase.FIRST_WORDS).hear(4000, 0.6).said[-1][0] > THRESHOLDS.doubtful_ms


def test_who_says_yes_over_the_last_words_answers_them() -> None:
    talk = Talk(Phase.LAST_WORDS).hear(288).quiet(128).words("Yes.", final=True)
    assert talk.last == confirm(BargeInReason.WORDS)
    assert Talk(Phase.LAST_WORDS).hear(384).words("Okay, that").hear(32).last == confirm(BargeInReason.WORDS)


def test_nothing_interrupts_a_protected_reply() -> None:
    assert Talk(Phase.PROTECTED).hear(5000).quiet(320).said == []


def test_a_reply_that_becomes_protected_goes_on() -> None:
    talk = Talk().hear(320)
    talk.phase = Phase.PROTECTED
    assert talk.hear(320).steps == [PAUSE, resume(BargeInReason.VOICE)]


def test_a_voice_in_doubt_has_the_floor_when_the_agent_falls_silent() -> None:
    talk = Talk().hear(320)
    talk.phase = Phase.SILENT
    assert talk.hear(32).steps == [PAUSE, confirm(BargeInReason.VOICE)]
    assert len(talk.hear(3000).steps) == 2


def test_a_hint_is_no_voice_when_the_agent_falls_silent() -> None:
    talk = Talk().hear(64, 0.35)
    talk.phase = Phase.SILENT
    assert talk.quiet(320).steps == [PAUSE, resume(BargeInReason.VOICE)]


def test_a_voice_that_was_there_before_the_reply_pauses_it() -> None:
    talk = Talk(Phase.SILENT).hear(640)
    talk.phase = Phase.THINKING
    assert talk.hear(32).steps == [PAUSE]


def test_a_confirmed_voice_is_not_judged_again_and_the_next_is() -> None:
    talk = Talk().hear(320).words("stop").hear(2000).quiet(320)
    assert talk.steps == [PAUSE, confirm(BargeInReason.COMMAND)]
    assert talk.hear(64).last == PAUSE


@pytest.mark.parametrize("silent", [True, False])
def test_a_released_voice_is_left_alone(silent: bool) -> None:
    talk = Talk().hear(320)
    if silent:
        talk.quiet(96)
    assert talk.judge.deciding
    talk.judge.release()
    assert not talk.judge.deciding
    heard = len(talk.steps)
    assert len(talk.quiet(640).steps) == heard
    assert talk.hear(64).last == PAUSE


# -- always -----------------------------------------------------------------------------------------------------------

Windows = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.35, 0.6, 0.98]),
        st.sampled_from([PERSON, THIN, HUM, SOFT]),
        st.sampled_from([phase for phase in Phase if phase is not Phase.SILENT]),
        st.sampled_from(["", "", "", "yeah", "stop", "I would like", "mama"]),
        st.integers(1, 30),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(Windows)
def test_pauses_and_their_ends_alternate_and_every_pause_ends(
    stretches: list[tuple[float, Pcm, Phase, str, int]],
) -> None:
    judge, steps = Detector(), []
    for probability, window, phase, text, count in stretches:
        steps += [judge.hear_window(probability, window, phase) for _ in range(count)]
        if text:
            steps.append(judge.words(text, final=count % 2 == 0))
    steps += [judge.hear_window(0.0, SILENCE, Phase.SPEAKING) for _ in range(30)]
    actions = [step.action for step in steps if step.action is not BargeInAction.NOTHING]
    for index, action in enumerate(actions):
        assert (action is BargeInAction.PAUSE) == (index % 2 == 0)
    assert len(actions) % 2 == 0
    assert all((step.reason is None) == (step.action is BargeInAction.NOTHING) for step in steps)
    assert all(step.ask is WordsRequest.NOTHING or step.action is BargeInAction.NOTHING for step in steps)


# -- measures ---------------------------------------------------------------------------------------------------------


def test_settings_name_thresholds_for_every_phase() -> None:
    thresholds = BargeInThresholds(words_ms=1)
    chosen = replace(BargeInSettings(), speaking=thresholds)
    assert {phase: chosen.thresholds(phase) is thresholds for phase in Phase} == {
        phase: phase in (Phase.SPEAKING, Phase.PROTECTED) for phase in Phase
    }


def test_a_voice_is_measured_in_decibels() -> None:
    voice = VoiceFeatures([sound(0.98, PERSON)] * 20)
    assert voice.body == pytest.approx(0, abs=0.5)
    assert voice.hum == pytest.approx(10 * np.log10(1 / 18), abs=0.5)
    assert voice.level == pytest.approx(20 * np.log10(3000 / 32768) + 0.2, abs=0.5)
    assert voice.clear == 1.0


def test_how_a_voice_fades_in_and_out_does_not_make_it_unclear() -> None:
    faded = [0.5, 0.6, *[0.98] * 10, 0.8, 0.5, 0.2]
    assert VoiceFeatures([sound(probability, PERSON) for probability in faded]).clear == 1.0
    assert VoiceFeatures([sound(0.98, PERSON)] * 2).clear == 0.0
    assert VoiceFeatures([sound(0.5, PERSON)] * 20).clear == 0.0


def test_the_usual_voice_follows_the_latest_ones() -> None:
    usual = UserVoiceLevels()
    usual.learn(VoiceFeatures([sound(0.98, PERSON)] * 8))
    assert usual.level is None
    usual.learn(VoiceFeatures([sound(0.98, PERSON)] * 20))
    first = usual.level
    usual.learn(VoiceFeatures([sound(0.98, SOFT)] * 20))
    assert first is not None
    assert usual.level is not None
    assert first - 24 < usual.level < first - 3
