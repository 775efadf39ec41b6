"""Server-sent events and think blocks, in any split."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.llm.dialects.markup import MarkupFilter, Split
from voiceagent.llm.sse import EventTooLong, SseParser

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)


def split(content: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    return [content[start:end] for start, end in itertools.pairwise(edges)]


def parse(*pieces: bytes, limit: int = 1_000_000) -> list[str]:
    parser = SseParser(limit)
    return [event for piece in pieces for event in parser.feed(piece)]


@given(
    events=st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=5),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    noise=st.lists(st.sampled_from([b": ping", b"event: message", b"id: 7", b"retry: 10", b"unknown"]), max_size=3),
    cuts=st.lists(st.integers(min_value=0), max_size=20),
    bom=st.booleans(),
)
def test_every_split_of_a_stream_gives_its_events(
    events: list[list[str]], end: bytes, noise: list[bytes], cuts: list[int], bom: bool
) -> None:
    content = b"\xef\xbb\xbf" if bom else b""
    for event in events:
        content += end.join([*noise, *(b"data: " + line.encode() for line in event), b"", b""])
    assert parse(*split(content, cuts)) == ["\n".join(event) for event in events]


def test_a_chinese_character_may_be_split_between_any_bytes() -> None:
    content = "data: 你好,世界\n\n".encode()
    assert parse(*(content[index : index + 1] for index in range(len(content)))) == ["你好,世界"]


@pytest.mark.parametrize(
    ("content", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\r\rdata: b\r\n\r\n", ["a", "b"]),
        (b"data:  two spaces\n\n", [" two spaces"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data\n\n", [""]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b": comment\n\n\n\n", []),
        (b"datum: x\n\n", []),
        (b"data: cut off", []),
        (b"data: cut off\n", []),
        (b"\n\xef\xbb\xbfdata: not at the start\n\n", []),
    ],
)
def test_lines(content: bytes, events: list[str]) -> None:
    assert parse(content) == events


def test_an_event_that_is_too_long_is_refused_even_when_it_never_ends() -> None:
    with pytest.raises(EventTooLong):
        parse(*[b"data: " + b"x" * 60] + [b"x" * 60] * 2, limit=100)
    with pytest.raises(EventTooLong):
        parse(b"data: " + b"x" * 40 + b"\ndata: " + b"x" * 60 + b"\n\n", limit=100)
    assert parse(b": ping ping ping ping\n" * 10 + b"data: x\n\n" * 50, limit=100) == ["x"] * 50


def filtered(*pieces: str) -> Split:
    think = MarkupFilter()
    parts = [*(think.push(piece) for piece in pieces), think.finish()]
    return Split("".join(part.spoken for part in parts), "".join(part.thought for part in parts))


@given(
    st.lists(
        st.sampled_from(["<think>", "<think>a</think>", "<", "th", "ink>", "</", "你好", " ", "Hello.", "\n"]),
        max_size=12,
    )
)
def test_think_blocks_are_left_out_in_any_split(parts: list[str]) -> None:
    whole = "".join(parts)
    if "</think>" not in whole.replace("<think>a</think>", ""):  # of a closing tag alone, what was said stays said
        assert filtered(*parts) == filtered(whole) == filtered(*whole)


@pytest.mark.parametrize(
    ("text", "spoken", "thought"),
    [
        ("Hello.", "Hello.", ""),
        ("<think>hm</think>\n\nHello.", "Hello.", "hm"),
        ("Yes. <think>hm</think> No.", "Yes. No.", "hm"),
        ("<think>never ends", "", "never ends"),
        ("a < b <thin", "a < b <thin", ""),
        ("2 </think> 3", "3", "2 "),
        ("<think><think></think>你好", "你好", "<think>"),
    ],
)
def test_think_blocks(text: str, spoken: str, thought: str) -> None:
    assert filtered(text) == (spoken, thought)


def test_text_is_held_back_only_while_it_may_be_a_tag() -> None:
    think = MarkupFilter()
    assert think.push("Hello <") == ("Hello ", "")
    assert think.push("b> there") == ("<b> there", "")
    assert think.finish() == ("", "")
