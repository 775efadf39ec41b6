"""Going on with an answer that broke off: no word twice, none lost."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.llm.base import LlmRequest, Message
from voiceagent.llm.failover.resume import Joint, Mode, anchor, continuation

HI = LlmRequest((Message("user", "Tell me."),))

ENGLISH = st.lists(
    st.sampled_from(
        ["the", "The", "cat", "car", "cart", "a", "no", "don't", "3.14", "it", "is", "naïve", "well-known"]
    ),
    min_size=1,
    max_size=25,
)
CHINESE = st.text(st.sampled_from("的是我你好不看天慢巴黎，。！3a "), min_size=1, max_size=40)
MIXED = st.text(st.sampled_from("的看天，。 ab.,!?'\"—é\n"), min_size=1, max_size=40)


def sentences(words: list[str]) -> str:
    return " ".join(word + (", " if number % 5 == 4 else "") for number, word in enumerate(words))


TEXTS = st.one_of(ENGLISH.map(sentences), CHINESE, MIXED)


def joined(said: str, rest: str, sizes: list[int], mode: Mode = "instruction") -> str:
    joint = Joint(said, mode)
    return said + "".join(joint.push(piece) for piece in cut(rest, sizes)) + joint.finish()


def cut(text: str, sizes: list[int]) -> Iterator[str]:
    at = number = 0
    while at < len(text):
        size = sizes[number % len(sizes)]
        yield text[at : at + size]
        at, number = at + size, number + 1


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(TEXTS, st.integers(0, 300), SIZES)
def test_a_model_that_begins_with_the_anchor_is_joined_exactly(text: str, place: int, sizes: list[int]) -> None:
    said = text[: place % (len(text) + 1)]
    start = said.rfind(anchor(said)) if plain(said) else 0
    assert joined(said, text[start:], sizes) == text


@given(TEXTS, st.integers(0, 300), SIZES)
def test_a_model_that_begins_again_is_joined_exactly(text: str, place: int, sizes: list[int]) -> None:
    said = text[: place % (len(text) + 1)]
    assert joined(said, text, sizes) == text


@given(TEXTS, st.integers(0, 300), st.integers(0, 30), SIZES)
def test_a_model_that_repeats_more_than_the_anchor_is_joined_exactly(
    text: str, place: int, back: int, sizes: list[int]
) -> None:
    said = text[: place % (len(text) + 1)]
    before = said[: said.rfind(anchor(said))] if plain(said) else ""
    starts = [0, *(at + 1 for at, char in enumerate(before) if char == " ")]
    assert joined(said, text[starts[back % len(starts)] :], sizes) == text


@given(
    st.permutations(["one", "two", "three", "four", "five", "six", "seven", "一", "二", "三", "四"]),
    st.integers(1, 50),
    SIZES,
)
def test_with_the_answer_as_its_prefix_a_model_just_goes_on(words: list[str], place: int, sizes: list[int]) -> None:
    text = " ".join(words)
    place = place % len(text)
    assert joined(text[:place], text[place:], sizes, "prefix") == text


@given(TEXTS, TEXTS, SIZES)
def test_nothing_new_is_lost_whatever_comes(said: str, rest: str, sizes: list[int]) -> None:
    """What is cut off was said: the rest ends the result, but for what the end of the said has in common with it."""
    result = joined(said, rest, sizes)
    assert result.startswith(said)
    assert plain(rest).endswith(plain(result[len(said) :]))


def plain(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


@pytest.mark.parametrize(
    ("said", "rest", "whole"),
    [
        (
            "The capital of France is Par",
            "of France is Paris. It is big.",
            "The capital of France is Paris. It is big.",
        ),
        ("The capital of France is", "Paris.", "The capital of France is Paris."),
        ("It is very", "very good", "It is very good"),
        ("I ate a", "apple pie", "I ate a apple pie"),
        ("Hello.", "… And then?", "Hello. And then?"),
        ("Hello", ", world.", "Hello, world."),
        ("Well, WELL", "well, well. Good.", "Well, WELL. Good."),
        ("法国的首都是巴", "的首都是巴黎。", "法国的首都是巴黎。"),
        ("法国的首都是巴", "黎。", "法国的首都是巴黎。"),
        ("法国的首都是巴", "法国的首都是巴黎。", "法国的首都是巴黎。"),
        ("我想看", "看书。", "我想看看书。"),
        ("好的，", "好的，我来帮你。", "好的，我来帮你。"),
        ("我用 Pyth", "我用 Python 写。", "我用 Python 写。"),
        ("Once there was a king. The", "There was", "Once there was a king. The There was"),
        ("Once there was a king and", "Once there was a", "Once there was a king and"),
    ],
)
def test_joints(said: str, rest: str, whole: str) -> None:
    assert joined(said, rest, [1]) == whole
    assert joined(said, rest, [100]) == whole


def test_text_is_held_back_only_while_it_may_be_a_repetition() -> None:
    joint = Joint("One two three four")
    assert joint.push("two three") == ""
    assert joint.push(" four five") == " five"
    assert joint.push(" six") == " six"
    assert Joint("One two three four").push("Five") == " Five"


def test_the_anchor_stands_nowhere_else() -> None:
    assert anchor("I said no, no, no, no") == "no, no, no, no"
    assert anchor("no no no no") == "no no no no"
    assert anchor("the cat and the dog and the cat and the") == "and the cat and the"
    assert anchor("法国的首都是巴黎") == "的首都是巴黎"
    assert anchor("你好") == "你好"


def test_the_other_model_is_asked_in_the_language_of_the_answer() -> None:
    english = continuation(HI, "The capital of France", "instruction")
    assert english.messages[:2] == (*HI.messages, Message("assistant", "The capital of France"))
    assert english.messages[2].role == "user"
    assert "«capital of France»" in english.messages[2].content
    chinese = continuation(HI, "法国的首都是巴", "instruction")
    assert "【国的首都是巴】" in chinese.messages[2].content


def test_as_a_prefix_the_answer_is_the_last_message() -> None:
    assert continuation(HI, "The capital ", "prefix").messages == (*HI.messages, Message("assistant", "The capital"))


def test_where_nothing_was_said_the_request_is_the_same() -> None:
    assert continuation(HI, " “", "instruction") == HI
