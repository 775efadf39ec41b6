"""Personal data in text: card numbers, identity numbers, telephone numbers, e-mail addresses. Written, and as far as
they are spelled out digit by digit, spoken.

Numbers are found by their shape; `stdnum` and `phonenumbers` know whether they are what they look like.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import phonenumbers
from stdnum import luhn
from stdnum.cn import ric
from stdnum.exceptions import ValidationError
from stdnum.us import ssn

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
_PHONES: list[tuple[re.Pattern[str], str | None]] = [
    (re.compile(pattern), region)
    for pattern, region in (
        (rf"{_START}(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{{4}}[ -]?\d{{4}}{_END}", "CN"),  # a mobile
        (rf"{_START}(?:\(0\d{{2,3}}\) ?|0\d{{2,3}}[ -])\d{{3,4}}[ -]?\d{{4}}{_END}", "CN"),  # a line
        (rf"(?<![\w+])(?:\+|00)[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,5}}\)?){{2,6}}{_END}", "CN"),  # with a country's code
        (rf"{_START}(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-]?)[2-9]\d\d[ .-]?\d{{4}}{_END}", "US"),
        (rf"{_START}0\d{{2,4}}[ -]?\d{{3,4}}[ -]?\d{{3,4}}{_END}", None),  # a national number of any other country
    )
]
"""The shapes of telephone numbers, and the country by whose rules each is checked; None where that is not known."""
WITHDRAWN = frozenset(("078051120", "457555462", "219099999"))
"""Social security numbers that became public and are no longer valid; people still say them."""

LEAST_SPOKEN = 9
"""Digits in a row that were spelled out; with fewer it is no number that identifies anybody."""
_DIGIT_WORDS = {
    "zero": "0", "oh": "0", "o": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "〇": "0", "零": "0", "一": "1", "幺": "1", "二": "2", "三": "3", "四": "4", "五": "5",
    "六": "6", "七": "7", "八": "8", "九": "9", "壹": "1", "贰": "2", "叁": "3", "肆": "4",
    "伍": "5", "陆": "6", "柒": "7", "捌": "8", "玖": "9", "x": "X",
}  # fmt: skip
_TIMES = {"double": 2, "triple": 3}
_ENGLISH = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|[0-9])"
_NUMERAL = re.compile(r"[〇零一幺二三四五六七八九壹贰叁肆伍陆柒捌玖]")
_CHINESE = r"[〇零一幺二三四五六七八九壹贰叁肆伍陆柒捌玖0-9]"
_ENGLISH_RUN = re.compile(
    rf"\b(?:(?:double|triple) )?{_ENGLISH}(?:[ ,.-]{{1,2}}(?:(?:double|triple) )?{_ENGLISH}){{6,24}}\b(?![.,]\d)", re.I
)
_CHINESE_RUN = re.compile(rf"{_CHINESE}(?:[ ,，、。-]{{0,2}}{_CHINESE}){{8,24}}(?:[ ,，、-]?[Xx])?")
_UNITS = re.compile(r"double|triple|zero|oh|one|two|three|four|five|six|seven|eight|nine|[^\s,.，、。-]", re.I)


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


def is_card(digits: str) -> bool:
    """13 to 19 digits, a first digit that issuers have, and the check digit. Lists of years begin with 1 or 20."""
    issued = digits[:1] in ("3", "4", "5", "6") or "2200" <= digits[:4] <= "2720"
    return 13 <= len(digits) <= 19 and issued and len(set(digits)) > 1 and luhn.is_valid(digits)


def is_chinese_id(number: str) -> bool:
    """18 characters: a region, a day of birth, a serial number and the check character of GB 11643. The region may be
    one that is not on any list: those change."""
    number = number.upper()
    if len(number) != 18 or not number[:17].isdecimal() or number[0] == "0":
        return False
    try:
        return 1850 <= ric.get_birth_date(number).year <= 2100 and ric.calc_check_digit(number) == number[17]
    except ValidationError:
        return False


def is_ssn(digits: str) -> bool:
    """Nine digits, of groups that are given out."""
    return ssn.is_valid(digits) or digits in WITHDRAWN


def is_phone(written: str, region: str | None) -> bool:
    """Whether a number of the right shape may be one as it is dialled in that region: by its length, since numbers that
    are not given out (555) are said as well. Without a region only the length that all numbers have counts."""
    if region is None:
        return 8 <= len(re.sub(r"\D", "", written)) <= 15
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(written, region))
    except phonenumbers.NumberParseException:
        return False


def is_spoken_phone(digits: str) -> bool:
    """A number that was spelled out has no marks to know it by: a Chinese mobile, a North American number, or one with
    the trunk prefix 0."""
    shaped = re.fullmatch(r"(?:86)?1[3-9]\d{9}|1?[2-9]\d\d[2-9]\d{6}|0(?!123456)\d{9,11}", digits)
    return shaped is not None


def spoken_digits(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and the digits of each run that was spelled out ("four one double one", "一三八零零"): words or
    figures one by one, or Chinese numerals among figures. A best effort: what a recognizer leaves in words."""
    for match in _ENGLISH_RUN.finditer(text):
        yield from _run(match)
    for match in _CHINESE_RUN.finditer(text):
        if _NUMERAL.search(match.group()):
            yield from _run(match)


def _run(match: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    if len(digits := _digits(match.group())) >= LEAST_SPOKEN:
        yield match.start(), match.end(), digits


def _digits(run: str) -> str:
    out, times = "", 1
    for unit in _UNITS.findall(run.lower()):
        if unit in _TIMES:
            times = _TIMES[unit]
        else:
            out += (unit if unit.isdigit() and unit.isascii() else _DIGIT_WORDS[unit]) * times
            times = 1
    return out


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
    for pattern, region in _PHONES:
        for match in pattern.finditer(text):
            if is_phone(match.group(), region):
                yield PersonalDataMatch("PHONE", match.start(), match.end(), re.sub(r"\D", "", match.group()))


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
