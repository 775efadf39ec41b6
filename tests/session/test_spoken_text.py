import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.audio.pcm import Pcm, silence
from voiceagent.session.spoken_text import SpokenText
from voiceagent.tts.base import WordTiming

RATE = 1000


def spoken(*clauses: tuple[str, float]) -> SpokenText:
    text = SpokenText()
    for clause, seconds in clauses:
        text.begin(clause)
        text.extend(voice(seconds), RATE)
    text.finish()
    return text


def voice(seconds: float) -> Pcm:
    return np.full(round(seconds * RATE), 3000, dtype=np.int16)


def test_whole_clauses_are_heard_when_their_audio_was_played() -> None:
    text = spoken(("Sure. ", 0.5), ("The capital of France is Paris.", 2.0))
    assert text.heard(0.0) == ""
    assert text.heard(0.5) == "Sure."
    assert text.heard(2.5) == "Sure. The capital of France is Paris."
    assert text.heard(99.0) == text.text


def test_a_clause_cut_in_the_middle_is_heard_by_whole_words() -> None:
    text = spoken(("The capital of France is Paris.", 2.0))
    assert text.heard(1.0) == "The capital of"
    assert text.heard(1.9) == "The capital of France is Paris."


def test_chinese_is_heard_by_characters() -> None:
    text = spoken(("法国的首都是巴黎。", 1.8))
    assert text.heard(0.6) == "法国的"
    assert text.heard(1.8) == "法国的首都是巴黎。"


def test_no_word_is_spoken_in_a_pause() -> None:
    text = SpokenText()
    text.begin("Hold on while I look it up")
    text.extend(np.concatenate((voice(0.6), silence(2 * RATE), voice(1.4))), RATE)
    text.finish()
    assert text.heard(0.6) == text.heard(1.5) == text.heard(2.6) == "Hold on"
    assert text.heard(3.4) == "Hold on while I look"


def test_a_digit_is_a_word_and_a_mark_is_none() -> None:
    text = spoken(("Press 7 - now", 3.0))
    assert text.heard(0.9) == "Press"
    assert text.heard(1.6) == "Press 7"
    assert text.heard(2.9) == "Press 7 - now"


def test_word_timings_decide_where_the_voice_gives_them() -> None:
    text = SpokenText()
    text.begin("One two three.")
    text.extend(
        voice(3.0), RATE, (WordTiming("One", 0.0, 0.2), WordTiming("two", 0.2, 0.4), WordTiming("three", 2.5, 3.0))
    )
    text.finish()
    assert text.heard(1.5) == "One two"


def test_chinese_words_are_timed_by_the_voice_as_it_parts_them() -> None:
    text = SpokenText()
    text.begin("今天天气很好，我们去公园吧。")
    parts = ("今天", "天气", "很", "好", "我们", "去", "公园", "吧")
    text.extend(voice(4.0), RATE, tuple(WordTiming(word, n * 0.5, n * 0.5 + 0.5) for n, word in enumerate(parts)))
    text.finish()
    assert text.heard(2.0) == "今天天气很好，"
    assert text.heard(3.9) == "今天天气很好，我们去公园吧。"


def test_words_that_the_voice_reads_otherwise_lose_nothing() -> None:
    text = SpokenText()
    text.begin("It costs $5 today, Sir.")
    words = ("It", "costs", "five", "dollars", "today", "Sir")
    text.extend(voice(3.0), RATE, tuple(WordTiming(word, n * 0.5, n * 0.5 + 0.5) for n, word in enumerate(words)))
    text.finish()
    assert text.heard(2.5) == "It costs $5 today,"


def test_a_clause_still_being_spoken_is_not_taken_for_complete() -> None:
    text = SpokenText()
    text.begin("This is a rather long sentence of which little audio has come so far.")
    text.extend(voice(0.5), RATE)
    assert len(text.heard(0.5)) < 15


@given(
    st.lists(st.tuples(st.text("ab 好的。,.", max_size=20), st.floats(0, 3)), max_size=6),
    st.lists(st.floats(0, 20), min_size=2, max_size=2),
)
def test_more_played_is_never_less_heard(clauses: list[tuple[str, float]], positions: list[float]) -> None:
    text = spoken(*clauses)
    earlier, later = sorted(positions)
    assert text.text.startswith(text.heard(earlier))
    assert len(text.heard(earlier)) <= len(text.heard(later))
    assert text.heard(1000.0) == text.text.rstrip()
