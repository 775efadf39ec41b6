"""Rules that turn what is written into what is said, and the places where they did."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Match = re.Match[str]

_NO_SPACE_BEFORE = frozenset(".,;:!?)]}%'’\"”…")
_NO_SPACE_AFTER = frozenset("([{'‘\"“")


@dataclass(frozen=True, slots=True)
class Span:
    """`written[start:end]` is said as `spoken`."""

    start: int
    end: int
    spoken: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text as written and as said. `spans` are in order and do not overlap; what lies between them is said as it is
    written. `places` tells where each of them lies in `text`."""

    written: str
    text: str
    spans: tuple[Span, ...] = ()
    places: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """`say` returns what to say for a match, None to leave it to the rules after this one. It runs only where the text
    has one of the `needs` (characters; "0" stands for any digit), so that plain text costs nothing."""

    pattern: re.Pattern[str]
    say: Callable[[Match], str | None]
    needs: str = "0"


Say = Callable[[Match], str | None]


def rule(pattern: str, needs: str = "0", flags: re.RegexFlag = re.NOFLAG) -> Callable[[Say], Rule]:
    """Makes a function a rule."""

    def make(say: Say) -> Rule:
        return Rule(re.compile(pattern, flags), say, needs)

    return make


def find_spans(text: str, rules: Iterable[Rule], start: int = 0) -> list[Span]:
    """What the rules say from `start` on, the earlier rule's word counting where two would say the same place."""
    present = set(text[start:])
    if any(char.isdecimal() for char in present):
        present.add("0")
    taken = bytearray(len(text))
    spans: list[Span] = []
    for one in rules:
        if one.needs and present.isdisjoint(one.needs):
            continue
        for match in one.pattern.finditer(text, start):
            begin, end = match.span()
            if begin == end or 1 in taken[begin:end]:
                continue
            spoken = one.say(match)
            if spoken is not None:
                spans.append(Span(begin, end, spoken))
                taken[begin:end] = b"\x01" * (end - begin)
    return sorted(spans, key=lambda span: span.start)


def join(text: str, spans: Iterable[Span], *, spaced: bool) -> Spoken:
    """The text with the spans said. `spaced`: words are written apart, so what is said must not touch a letter."""
    said = ""
    places: list[tuple[int, int]] = []
    kept: list[Span] = []
    at = 0
    for span in spans:
        said += text[at : span.start]
        spoken = span.spoken.strip() if spaced else span.spoken
        if spaced and spoken and said and not said[-1].isspace() and said[-1] not in _NO_SPACE_AFTER:
            said += " "
        begin = len(said)
        said += spoken
        places.append((begin, len(said)))
        kept.append(span)
        at = span.end
        following = text[at : at + 1]
        if spaced and spoken and following and not following.isspace() and following not in _NO_SPACE_BEFORE:
            said += " "
    return Spoken(text, said + text[at:], tuple(kept), tuple(places))
