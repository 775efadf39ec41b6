"""How transcripts end, in English and Chinese side by side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.turn.words import SentenceEnding, ending, is_dictating

CASES = {
    SentenceEnding.NOTHING: ("|  |...|，|“”",),
    SentenceEnding.FILLER: (
        "Um|I'd like a, uh,|It was, you know.|So I mean...|Okay, let me|Hmm.",
        "嗯|我要一杯，呃，|我想订那个|他说就是说|我觉得，嗯……|这个怎么说呢",
    ),
    SentenceEnding.OPEN: (
        "and|I went to the.|Can I have a|because|I would like it if|My name is|So|and then we|Turn it to|I think it's",
        "I don’t know what’s|The total was|WITH MILK AND|send it via",
        "因为|我想去北京，但是|然后|所以|我要咖啡和|请把|我的名字是|他在|我想|今天非常|如果。",
    ),
    SentenceEnding.DICTATED: (
        "My number is 555|my phone number is five five five|call 555 0199|it's oh double seven|spell it, J O H",
        "My card number is 4556 1234.|The code for that is 7|A B C one",
        "我的手机号是138|电话是一三八，|密码是 12 34|138 0013。|幺三八零零",
    ),
    SentenceEnding.COMMA: (
        "I'd like a coffee,|There are two things:|Well...|the blue one—|Yes,",
        "我要咖啡，|第一、|好吧……我要茶…|好的，",
    ),
    SentenceEnding.BARE: (
        "turn the lights on|a large mocha|call me at 7:30|that is 50%|Привет",
        "我要红色的|打开灯|你收到",
    ),
    SentenceEnding.STOP: (
        """Turn it on.|I think so.|Yes it is.|On October 5 2020.|It costs $5.50.|Stop it!|He said "go." """,
        "今天很热。|我知道了|走吧|我现在正忙着。|他在家。",
    ),
    SentenceEnding.QUESTION: ("Who are you talking to?|What is it and?", "你好吗|几点了？|然后呢|那个？"),
    SentenceEnding.REPLY: ("Yes.|no|Yes, please.|That's all.|No, thanks!|Okay", "好的|好的。|是的|不用了。|嗯，好的。"),
}
TEXTS = {kind: [text for line in lines for text in line.split("|")] for kind, lines in CASES.items()}


@pytest.mark.parametrize(("text", "expected"), [(text, kind) for kind, texts in TEXTS.items() for text in texts])
def test_endings(text: str, expected: SentenceEnding) -> None:
    assert ending(text) is expected


@pytest.mark.parametrize(
    "words",
    [
        *("call 415 555 0199", "my number is 4155550199", "my card number is 4556 1234 5678 9012"),
        *("我的手机号是13800138000", "电话是 138 0013 8000", "手机号一三八零零一三八零零零"),
    ],
)
def test_a_number_said_to_its_end_is_no_longer_dictated(words: str) -> None:
    assert not is_dictating(words)


@pytest.mark.parametrize(
    "words", ["i want two", "at 7:30", "gate b 12", "in 2020", "on may 5 2020", "a", "2,500", "三", "我要两", "周三"]
)
def test_quantities_times_and_dates_are_not_dictation(words: str) -> None:
    assert not is_dictating(words)


def test_mixed_speech_is_judged_by_its_last_word() -> None:
    assert ending("我要一杯 latte and") is SentenceEnding.OPEN
    assert ending("I would like 因为") is SentenceEnding.OPEN


@given(st.text())
def test_any_text_has_an_ending(text: str) -> None:
    assert isinstance(ending(text), SentenceEnding)


@given(st.sampled_from(TEXTS[SentenceEnding.OPEN]), st.sampled_from([".", ",", "。", "，", "!", "...", " ", ""]))
def test_punctuation_does_not_close_what_is_open(text: str, mark: str) -> None:
    assert ending(text.rstrip(".。") + mark) is SentenceEnding.OPEN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of, um?", SentenceEnding.FILLER),
        ("What is the?", SentenceEnding.OPEN),
        ("Do you want tea or?", SentenceEnding.OPEN),
        ("What is it made of?", SentenceEnding.QUESTION),
    ],
)
def test_a_question_mark_does_not_end_a_question_that_is_not_there_yet(text: str, expected: SentenceEnding) -> None:
    assert ending(text) is expected
