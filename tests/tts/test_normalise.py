"""What is written as it is said: the whole table, and what holds for any text."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.normalise_table import LANGUAGES, Case, cases, clauses, said
from voiceagent.tts.clauses import ClauseSplitter
from voiceagent.tts.normalise import normalise, rules_of

TABLE = [case for language in LANGUAGES for case in cases(language)]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.language} {case.kind} {case.written[:40]}")
def test_the_table_is_said_as_it_should_be(case: Case) -> None:
    words = said(case.written, case.language)
    assert case.accepts(words), words


def test_the_table_has_enough_of_both_languages() -> None:
    assert len(cases("en")) >= 180
    assert len(cases("zh")) >= 120


@pytest.mark.parametrize(
    ("before", "text", "expected"),
    [
        ("Your code is", "482913.", "four eight two nine one three."),
        ("Here is the code you asked for:", "482913.", "four eight two nine one three."),
        ("There were", "482913.", "four hundred eighty-two thousand nine hundred thirteen."),
        ("December 1,", "2026", "twenty twenty-six"),
        ("您的验证码是", "482913。", "四八二九一三。"),
        ("请拨打", "110", "幺幺零"),
    ],
)
def test_the_clause_before_tells_what_a_number_is(before: str, text: str, expected: str) -> None:
    assert normalise(text, None, before).text == expected


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("It costs 5 €", None, "en"),
        ("价格5元", None, "zh"),
        ("价格5元", "en", "zh"),
        ("用Windows 10和iOS 17", None, "zh"),
        ("The word 你好 means hello in 3 ways", None, "en"),
        ("3.14", None, "en"),
        ("3.14", "zh-CN", "zh"),
        ("It is 3 miles from here", "zh", "en"),
        ("12,50 €", "de", None),
        ("Das kostet 12,50 € und mehr", None, None),
        ("El tren sale a las 9:00", None, None),
        ("3時です", None, None),
        ("東京は3度", "ja", None),
        ("Цена 5 рублей", None, None),
        ("3시", "ko", None),
        ("I met José at 5", None, "en"),
    ],
)
def test_rules_are_those_of_the_text(text: str, language: str | None, expected: str | None) -> None:
    assert rules_of(text, language) == expected


def test_text_of_other_languages_is_left_to_its_voice() -> None:
    assert normalise("Das kostet 12,50 € um 9:00", "de").text == "Das kostet 12,50 € um 9:00"


def test_spans_tell_where_the_words_come_from() -> None:
    spoken = normalise("Pay $5 at 9:05.", "en")
    assert [spoken.written[span.start : span.end] for span in spoken.spans] == ["$5", "9:05"]
    assert [spoken.text[start:end] for start, end in spoken.places] == ["five dollars", "nine oh five"]


LIKELY = st.text(
    st.sampled_from(
        "0123456789 .,:;-–/+*=<>()[]{}\\$€£¥￥%‰°℃#@&~^_'\"`|\nabcIVXxkmKMhA年月日点个元万亿第电话号是的²½√≥→①②"
    ),
    max_size=60,
)


@given(
    st.one_of(st.text(max_size=80), LIKELY), st.sampled_from([None, "en", "zh", "de"]), st.one_of(st.just(""), LIKELY)
)
@example("²³ ½/½ ①⑳ ٣٤ ३", "en", "")
@example("Ⅻↈ 第Ⅷ", "zh", "")
@example("$\\frac{1", "en", "")
@example("$^_{}^$ \\sqrt[", "en", "")
@settings(max_examples=400)
def test_any_text_is_read(text: str, language: str | None, before: str) -> None:
    spoken = normalise(text, language, before)
    at = 0
    for span, (start, end) in zip(spoken.spans, spoken.places, strict=True):
        assert at <= span.start < span.end <= len(text)
        assert spoken.text[start:end].strip() == span.spoken.strip()
        at = span.end


WORDS = st.lists(st.from_regex(r"[a-z]{3,9}", fullmatch=True), min_size=1, max_size=12).map(" ".join)


@given(WORDS)
def test_ordinary_words_stay_as_they_are(text: str) -> None:
    assert normalise(text, "en").text == text


@given(st.lists(st.sampled_from([case for case in TABLE if case.language == "en"]), min_size=1, max_size=3))
def test_english_words_between_figures_are_kept(chosen: list[Case]) -> None:
    text = " then ".join(" ".join(clauses(case.written)) for case in chosen)
    assert len(re.findall(r"\bthen\b", normalise(text, "en").text)) >= len(chosen) - 1


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.language} {case.written[:40]}")
def test_what_is_said_is_said_as_it_is(case: Case) -> None:
    words = said(case.written, case.language)
    assert normalise(words, case.language).text == words


@given(LIKELY, st.sampled_from(["en", "zh"]))
@settings(max_examples=300)
def test_no_figure_is_left(text: str, language: str) -> None:
    assert not re.search(r"[0-9]", normalise(text, language).text)


@given(
    st.lists(st.sampled_from(TABLE), min_size=1, max_size=4).map(lambda some: ". ".join(case.written for case in some)),
    st.randoms(use_true_random=False),
)
def test_delivery_in_pieces_makes_no_difference(text: str, chance: object) -> None:
    whole = ClauseSplitter()
    expected = [*whole.push(text), *whole.flush()]
    pieces = ClauseSplitter()
    found = []
    at = 0
    while at < len(text):
        size = chance.randint(1, 5)  # type: ignore[attr-defined]
        found += pieces.push(text[at : at + size])
        at += size
    assert [*found, *pieces.flush()] == expected


@pytest.mark.parametrize(
    "whole",
    [
        "3.14",
        "12,5",
        "1,000,000",
        "9:00",
        "9:00 – 17:00",
        "e.g.",
        "v2.0.1",
        "020 7946 0958",
        "https://example.com/a,b.c?d=1;e",
        "john.doe@example.com",
        "$x^2 + y, z$",
        r"\(a + b, c\)",
        "$$a + b, c. d$$",
        '<break time="1s"/>',
        "3：14",
        "1，000",
    ],
)
@pytest.mark.parametrize("lead", ["", "one two three four five six seven eight nine ten eleven twelve thirteen "])
def test_clauses_do_not_end_inside(whole: str, lead: str) -> None:
    splitter = ClauseSplitter()
    text = f"{lead}It is {whole} and that is it for today and for ever"
    texts = [clause.text for clause in [*splitter.push(text), *splitter.flush()]]
    assert "".join(texts) == text
    assert any(whole in one for one in texts), texts


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Look:\n```python\nx = 1\n```\nDone.", ["Look:", "Done."]),
        ("Look:\n~~~\nx = 1\n~~~\nDone.", ["Look:", "Done."]),
        ("Look:\n  ```\n  x\n  ```\nDone.", ["Look:", "Done."]),
        ("> ```\n> x\n> ```\nDone.", ["Done."]),
        ("````\n```\nx\n```\n````\nDone.", ["Done."]),
        ("~~~\n```\nx\n~~~\nDone.", ["Done."]),
        ("Use this:```js\nlet x\n```\nDone.", ["Use this: Done."]),
        ("Use ```x = 1``` here.", ["Use here."]),
        ("~~gone~~ and ~~ so.", ["gone and so."]),
        ("Look:\n```js\nlet x = 1; never closed", ["Look:"]),
        ("Use `a, b. c` now.", ["Use a, b. c now."]),
    ],
)
def test_fenced_code_of_every_kind_is_left_out(text: str, spoken: list[str]) -> None:
    splitter = ClauseSplitter()
    found = [*splitter.push(text), *splitter.flush()]
    assert "".join(clause.text for clause in found) == text
    assert " ".join(clause.spoken for clause in found if clause.spoken) == " ".join(spoken)
