"""Wordings: what asks the same, and what never does."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.llm_cache import groups, near_opposites
from voiceagent.gateway.cache.text import normalised
from voiceagent.gateway.cache.wording import common_wording

WORDS = (
    "tiger frog dog cat king mother France Paris eats chases hired wrote about from to with without in on before after "
    "not never can must should who what when where why how is was did do the a than bigger twenty 5 50 percent kg"
).split()
HAN = tuple("老虎猫狗吃怕打爸妈的把被比给从到向前后上下多少不没可能以必须三十两米斤什么谁哪里吗呢了过在和")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "  what is  the CAPITAL of france ?! "),
        ("What is the capital of France?", "What's the capital of France?"),
        ("What is the capital of France?", "Could you tell me the capital of France, please?"),
        ("What is the capital of France?", "What's France's capital?"),
        ("What is the boiling point of water?", "Um, tell me water's boiling point"),
        ("How do I reset my router?", "Hello, how can I reset my router please"),
        ("How do I reset my router?", "Can you please tell me how to reset my router?"),
        ("Don't cats like water?", "Do not cats like water"),
        ("What is 15% of 80?", "How much is fifteen percent of eighty?"),
        ("What is 25 times 4?", "What's twenty-five times four?"),
        ("How many days are in a leap year?", "How many days are there in a leap year?"),
        ("Is 30 °C hot?", "is ３０ °C hot"),
        ("怎么修改密码？", "你好，请问如何修改密码呢？"),
        ("狗能吃巧克力吗？", "狗能不能吃巧克力"),
        ("三十天以后可以退货吗", "请问30天以后可以退货吗？"),
        ("一斤等于多少克？", "1斤是多少克"),
        ("80的15%是多少？", "八十的百分之十五是多少"),
        ("什么是光合作用？", "光合作用是什么"),
        ("送货要多长时间？", "送货要多久"),
    ],
)
def test_wordings_of_one_question(one: str, other: str) -> None:
    assert common_wording(one) == common_wording(other) != ""


@pytest.mark.parametrize("text", ["", "?!", " ， 。"])
def test_no_words(text: str) -> None:
    assert common_wording(text) == ""


@pytest.mark.parametrize("pair", near_opposites("before") + near_opposites("after"), ids=" | ".join)
def test_near_opposites_differ(pair: tuple[str, str]) -> None:
    one, other = pair
    assert common_wording(one) != common_wording(other)


def test_near_misses_of_the_paraphrases_differ() -> None:
    for group in (*groups("tune"), *groups("test")):
        assert common_wording(group.ask) not in {common_wording(near) for near in group.near}


@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=9), st.data())
def test_two_swapped_english_words_differ(words: list[str], data: st.DataObject) -> None:
    first, second = (data.draw(st.integers(0, len(words) - 1)) for _ in range(2))
    swapped = list(words)
    swapped[first], swapped[second] = words[second], words[first]
    assume(words != swapped)
    assert common_wording(" ".join(words)) != common_wording(" ".join(swapped))


@given(st.lists(st.sampled_from(HAN), min_size=2, max_size=12), st.data())
def test_two_swapped_chinese_characters_differ(chars: list[str], data: st.DataObject) -> None:
    first, second = (data.draw(st.integers(0, len(chars) - 1)) for _ in range(2))
    swapped = list(chars)
    swapped[first], swapped[second] = chars[second], chars[first]
    assume(chars != swapped)
    assert common_wording("".join(chars)) != common_wording("".join(swapped))


@given(st.lists(st.sampled_from(WORDS), min_size=2, max_size=9), st.data())
def test_a_word_left_out_differs(words: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(words) - 1))
    fewer = words[:place] + words[place + 1 :]
    assert common_wording(" ".join(words)) != common_wording(" ".join(fewer))


@given(st.lists(st.sampled_from([*HAN, *WORDS]), min_size=1, max_size=9), st.sampled_from("123456789"))
def test_another_number_differs(words: list[str], digit: str) -> None:
    one, other = (" ".join([*words, number, "米"]) for number in (f"{digit}", f"{digit}0"))
    assert common_wording(one) != common_wording(other)


@given(st.text(max_size=60))
def test_any_text_has_one_wording(text: str) -> None:
    assert common_wording(text) == common_wording(f"  {text}  ")
    assert isinstance(normalised(text), str)


@given(st.text(alphabet="ab 1.5,:'/-?!%的不是吗多少能十三", max_size=40))
def test_marks_have_one_wording(text: str) -> None:
    assert common_wording(text) == common_wording(f" {text}")
