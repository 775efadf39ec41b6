"""Text cut into clauses as it streams, and what of it a voice is given."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.tts.clauses import Clause, ClauseSplitter
from voiceagent.tts.scripts import weight
from voiceagent.tts.speakable import speakable

LIMIT = 240


def cut(*deltas: str) -> list[Clause]:
    splitter = ClauseSplitter()
    clauses = [clause for delta in deltas for clause in splitter.push(delta)]
    return clauses + splitter.flush()


def texts(text: str) -> list[str]:
    return [clause.text for clause in cut(text)]


def first(text: str) -> str:
    return texts(text)[0]


def ready(text: str) -> list[str]:
    """What is cut before the text is over."""
    return [clause.text for clause in ClauseSplitter().push(text)]


PIECES = [
    *("a" * 58, "b" * 118, "c" * 239, "中" * 79),
    *("Sure", "word", " ", "  ", "\n", "\n\n", ".", "!", "?", ",", ";", ":", "—", "…", "...", '"', "(", ")", "[", "]("),
    *(
        "。",
        "，",
        "！",
        "？",
        "、",
        "：",
        "“",
        "”",
        "」",
        "你好",
        "天气很好",
        "3.14",
        "1,000",
        "10:30",
        "Dr.",
        "e.g.",
        "U.S.",
    ),
    *("No.", "https://example.com/a.b?c=d,e", "**", "*", "`", "```", "```py\n", "- ", "1. ", "# ", "|", "😀", "👩‍💻"),
    *("é", "́", "‍", "🏽", "\U0001f1e9", "।", "؟", "،", "नमस्ते", "\r\n", "\t", "\u3000", "\ud800", "&amp;", "<br>", "_"),
]
ANY_TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=60).map("".join)


@given(st.lists(ANY_TEXT, max_size=8))
def test_nothing_is_lost_however_it_is_delivered(deltas: list[str]) -> None:
    clauses = cut(*deltas)
    assert "".join(clause.text for clause in clauses) == "".join(deltas)
    assert all(clause.text for clause in clauses)
    assert all(sum(map(weight, clause.text)) <= LIMIT for clause in clauses)
    assert all(clause.spoken == "" or any(char.isalnum() for char in clause.spoken) for clause in clauses)


@given(ANY_TEXT, st.data())
def test_cuts_do_not_depend_on_the_delivery(text: str, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    parts = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    assert cut(*parts) == cut(text)


@given(ANY_TEXT)
def test_a_splitter_is_as_new_after_flush(text: str) -> None:
    splitter = ClauseSplitter()
    once = splitter.push(text) + splitter.flush()
    assert splitter.push(text) + splitter.flush() == once


@pytest.mark.parametrize("unit", ["a", "中", "`", "[", "```\n", "é́", ". ", "1.", "a. ", "“，"])
def test_a_flood_is_cut_at_the_limit_in_linear_time(unit: str) -> None:
    splitter = ClauseSplitter()
    size = 100_000 // len(unit)
    start = time.monotonic()
    clauses = splitter.push(unit * size)
    assert time.monotonic() - start < 30
    assert max(len(clause.text) for clause in clauses) <= LIMIT
    assert len(unit) * size - sum(len(clause.text) for clause in clauses) <= LIMIT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure. I can", "Sure. "),
        ("Of course, I can", "Of course, "),
        ("Well, of course, I can", "Well, of course, "),
        ("Yes! And", "Yes! "),
        ("Really?! And", "Really?! "),
        ("Hmm... let me", "Hmm... "),
        ('"Sure." She went', '"Sure." '),
        ("(Fine.) She went", "(Fine.) "),
        ("**Sure.** And", "**Sure.** "),
        ("Here you are:\nfirst", "Here you are:\n"),
        ("It is so — and that", "It is so — "),
        ("No. I will not", "No. "),
        ("At 5 p.m. We go", "At 5 p.m. "),
        ('He said no. "I will not', "He said no. "),
        ("好的。我来", "好的。"),
        ("好的，没问题，我来", "好的，没问题，"),
        ("当然可以，我来", "当然可以，"),
        ("“好的。”他说", "“好的。”"),
        ("真的吗？！是的", "真的吗？！"),
        ("你好,今天怎么样?我", "你好,今天怎么样?"),
        ("第一：天气很好，我", "第一：天气很好，"),
        ("नमस्ते। आप", "नमस्ते। "),
        ("كيف حالك؟ أنا", "كيف حالك؟ "),
        ("はい、わかりました。次", "はい、わかりました。"),
        ("네, 알겠습니다. 다음", "네, 알겠습니다. "),
    ],
)
def test_the_first_clause_is_short_and_comes_early(text: str, expected: str) -> None:
    assert ready(text)[0] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith and Mrs. Jones are here",
        "Use it e.g. at home",
        "The U.S. Army",
        "Take No. 5 now",
        "Pi is 3.14 or so",
        "It costs 1,000 or 2,500.50 dollars",
        "Come at 10:30 or 11:45",
        "See https://www.example.com/a.b,c;d?e=f:g!h now",
        "Mail a.b@example.co.uk today",
        "Open file.tar.gz there",
        "J. R. R. Tolkien wrote",
        "At 5 p.m. sharp",
        'At 5 p.m. "we Go',
        "1. Buy milk",
        "- item",
        "See [the docs, please. Now](https://example.com) there",
        "Run `a; b. c` there",
        "版本3.5或10:30",
        "价格1,000元",
        "看a.txt文件",
        "人口1，000，000人",
    ],
)
def test_these_do_not_end_a_clause(text: str) -> None:
    assert ready(text) == []
    assert texts(text) == [text]


def test_a_full_stop_waits_for_what_follows() -> None:
    splitter = ClauseSplitter()
    assert splitter.push("It is 3.") == []
    assert splitter.push("14. ") == [Clause("It is 3.14. ", "It is 3.14.")]


def test_later_clauses_grow_with_what_was_said() -> None:
    sentences = "Yes. " + "This is a sentence of a certain length. " * 12
    sizes = [len(clause.text) for clause in cut(sentences)[:-1]]
    assert sizes[0] == 5
    assert sizes == sorted(sizes)
    assert 120 <= sizes[-1] <= LIMIT


def test_chinese_sentences_are_merged_too() -> None:
    sizes = [len(clause.text) for clause in cut("好的。" + "今天的天气非常好，适合散步。" * 20)[:-1]]
    assert sizes[0] == 3
    assert 40 <= sizes[-1] <= 80


def test_without_punctuation_the_first_clause_ends_at_a_word() -> None:
    text = "and then we went on and on without any end in sight for as long as anyone cared to listen to us"
    assert 60 <= len(first(text)) <= 75
    assert first(text).endswith(" ")
    assert len(first("没有标点的句子一直说下去" * 10)) == 40


def test_a_long_sentence_ends_at_a_comma() -> None:
    text = "Sure thing, my friend. " * 3 + "one two three four five six seven eight nine ten, " * 10
    assert all(clause.text.rstrip()[-1] in ",." for clause in cut(text))


def test_composed_characters_are_kept_whole() -> None:
    family = "👩‍👩‍👧"
    clauses = cut("[" + family * 100)
    assert len(clauses) > 1
    assert all(not clause.text.startswith("‍") and not clause.text.endswith("‍") for clause in clauses)
    assert all(not clause.text.startswith("́") for clause in cut("e" + "é" * 400))


@pytest.mark.parametrize("lengths", [(0, 120, 240), (60, 50, 240), (60, 120, 120)])
def test_lengths_must_grow(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="grow"):
        ClauseSplitter(*lengths)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Bold** and *soft* and __both__ and ~~gone~~", "Bold and soft and both and gone"),
        ("这是**重点**内容", "这是重点内容"),
        ("2 * 3 = 6 and 2*3", "2 * 3 = 6 and 2*3"),
        ("# Title", "Title"),
        ("> quoted", "quoted"),
        ("- [x] done", "done"),
        ("See [the docs](https://example.com/a_(b)?c=1.2).", "See the docs."),
        ("![a cat](cat.png)", "a cat"),
        ("Go to https://www.example.com/path/x.html?q=1.", "Go to example.com."),
        ("Go to <https://example.com:8000>, please", "Go to example.com, please"),
        ("请看https://example.com/路径。", "请看example.com路径。"),
        ("Mail me@example.com", "Mail me@example.com"),
        ("Use `print()` here", "Use print() here"),
        ("my_file_name", "my file name"),
        ("Great 👍🏽! 👩‍💻", "Great!"),
        ("😀🎉", ""),
        ("---", ""),
        ("...", ""),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b, 1, 2,"),
        ("Fish &amp; chips<br>now", "Fish & chips now"),
        ("5 < 6 and 20°C", "5 < 6 and 20°C"),
        ("Milk\nEggs\n", "Milk, Eggs"),
        ("牛奶\n鸡蛋\n", "牛奶，鸡蛋"),
        ("“你好”", "“你好”"),
        ("\ud800ok\x00", "ok"),
    ],
)
def test_what_the_voice_is_given(text: str, expected: str) -> None:
    assert speakable(text) == expected


def test_fenced_code_is_not_spoken_wherever_it_is_cut() -> None:
    code = "x = do_something(1, 2); print('a. b')\n" * 40
    clauses = cut(f"Here it is:\n\n```python\n{code}```\n\nThat was it.")
    assert [clause.spoken for clause in clauses if clause.spoken] == ["Here it is:", "That was it."]
    assert [clause.spoken for clause in cut("```\nnever closed")] == [""]
