"""Personal data in text: card numbers, identity numbers, telephone numbers, e-mail addresses. Written, and as far as
they are spelled out digit by digit, spoken."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from voiceagent.guard.digits import spoken_digits

Kind = Literal["EMAIL", "ID", "CARD", "SSN", "PHONE"]

PLAIN = str.maketrans("０１２３４５６７８９＋－（）＠．　ＸxＸ", "0123456789+-()@. XXX")
"""Full-width forms, as Chinese keyboards write them, each to one character."""

_START = r"(?<![A-Za-z0-9_])(?<!\d[.,])(?<![.,]\d)"
_END = r"(?![A-Za-z0-9_])(?![.,]\d)"
"""A number inside a word, an identifier or a longer number is none of ours."""

_LONG_NUMBER = re.compile(r"\d(?:[ .()-]{0,3}\d){7}")
"""Eight digits: most text has none, and then nothing more is looked for."""
_GAP = r"(?:[ -]|(?<=\d) - )?"
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,5}(?![A-Za-z0-9])")
_ID = re.compile(rf"{_START}\d{{6}}{_GAP}\d{{4}}{_GAP}\d{{2}}{_GAP}\d{{2}}{_GAP}\d{{3}}[\dXx]{_END}")
_CARDS = [
    re.compile(rf"{_START}(?=({shape}){_END})")  # looked ahead at, since the groups before may be of another number
    for shape in (
        r"\d{13,19}",
        r"\d{4}([ -])\d{4}\2\d{4}\2\d{4}\2\d{1,3}",
        r"\d{4}([ -])\d{4}\2\d{4}\2\d{4}",
        r"\d{4}([ -])\d{6}\2\d{4,5}",
        r"\d{6}([ -])\d{10,13}",
    )
]
_SSN = re.compile(rf"{_START}\d{{3}}[ -]\d{{2}}[ -]\d{{4}}{_END}")
_BARE_SSN = re.compile(
    rf"(?:social security(?: number| no\.?)?|\bssn\b|社会安全号码?|社保号码?)\D{{0,12}}?(?P<number>\d{{9}}){_END}",
    re.IGNORECASE,
)
_PHONES = [
    re.compile(pattern)
    for pattern in (
        rf"{_START}(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{{4}}[ -]?\d{{4}}{_END}",  # a Chinese mobile
        rf"{_START}(?:\(0\d{{2,3}}\) ?|0\d{{2,3}}[ -])\d{{3,4}}[ -]?\d{{4}}{_END}",  # a Chinese line
        rf"(?<![\w+])(?:\+|00)[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,5}}\)?){{2,6}}{_END}",  # with a country's code
        rf"{_START}(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-]?)[2-9]\d\d[ .-]?\d{{4}}{_END}",  # North America
        rf"{_START}0\d{{2,4}}[ -]?\d{{3,4}}[ -]?\d{{3,4}}{_END}",  # a national number
    )
]


@dataclass(frozen=True, slots=True)
class PersonalDataMatch:
    """Personal data at text[start:end]; `key` is the same however it is written."""

    kind: Kind
    start: int
    end: int
    key: str


def find(text: str) -> list[PersonalDataMatch]:
    """In the order of the text, without overlaps: where two overlap, the one that is surer."""
    plain = text.translate(PLAIN)
    found: list[PersonalDataMatch] = []
    taken = bytearray(len(text))
    for candidate in _candidates(plain):
        if not any(taken[candidate.start : candidate.end]):
            taken[candidate.start : candidate.end] = b"\x01" * (candidate.end - candidate.start)
            found.append(candidate)
    return sorted(found, key=lambda one: one.start)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit that card numbers have."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """13 to 19 digits, a first digit that issuers have, and the check digit. Lists of years begin with 1 or 20."""
    issued = digits[:1] in ("3", "4", "5", "6") or "2200" <= digits[:4] <= "2720"
    return 13 <= len(digits) <= 19 and issued and len(set(digits)) > 1 and luhn(digits)


def is_chinese_id(number: str) -> bool:
    """18 characters: a region, a day of birth, a serial number and the check character of GB 11643 (ISO 7064)."""
    if len(number) != 18 or not number[:17].isdecimal() or number[0] == "0":
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return 1850 <= born.year <= 2100 and "10X98765432"[total % 11] == number[17].upper()


def is_ssn(digits: str) -> bool:
    """Nine digits, of groups that are given out."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return len(digits) == 9 and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_spoken_phone(digits: str) -> bool:
    """A number that was spelled out has no marks to know it by: a Chinese mobile, or a North American number."""
    mobile = re.fullmatch(r"(?:86)?1[3-9]\d{9}", digits)
    north_american = re.fullmatch(r"1?[2-9]\d\d[2-9]\d{6}", digits)
    national = re.fullmatch(r"0(?!123456)\d{9,11}", digits)
    return bool(mobile or north_american or national)


def _candidates(text: str) -> Iterator[PersonalDataMatch]:
    """The surest first."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield PersonalDataMatch("EMAIL", match.start(), match.end(), match.group().lower())
    if _LONG_NUMBER.search(text):
        yield from _written(text)
    for start, end, digits in spoken_digits(text):
        if kind := _spoken_kind(digits):
            yield PersonalDataMatch(kind, start, end, digits)


def _written(text: str) -> Iterator[PersonalDataMatch]:
    yield from _numbers("ID", _ID, text, is_chinese_id)
    for pattern in _CARDS:
        for match in pattern.finditer(text):
            if is_card(digits := re.sub(r"\D", "", match[1])):
                yield PersonalDataMatch("CARD", match.start(1), match.end(1), digits)
    yield from _numbers("SSN", _SSN, text, is_ssn)
    for match in _BARE_SSN.finditer(text):
        if is_ssn(match["number"]):
            yield PersonalDataMatch("SSN", match.start("number"), match.end("number"), match["number"])
    for pattern in _PHONES:
        yield from _numbers("PHONE", pattern, text, lambda digits: 8 <= len(digits) <= 15)


def _numbers(
    kind: Kind, pattern: re.Pattern[str], text: str, valid: Callable[[str], bool]
) -> Iterator[PersonalDataMatch]:
    for match in pattern.finditer(text):
        digits = re.sub(r"[^\dX]", "", match.group().upper())
        if valid(digits):
            yield PersonalDataMatch(kind, match.start(), match.end(), digits)


def _spoken_kind(digits: str) -> Kind | None:
    if is_chinese_id(digits):
        return "ID"
    if is_card(digits):
        return "CARD"
    return "PHONE" if is_spoken_phone(digits) else None
