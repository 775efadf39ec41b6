"""Numbers that were spelled out digit by digit: "four one double one", "一三八零零". A best effort: what a recognizer
leaves in words."""

import re
from collections.abc import Iterator

LEAST = 9
"""Digits in a row; with fewer it is no number that identifies anybody."""

_DIGITS = {
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


def spoken_digits(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and the digits of each run: words or figures one by one, or Chinese numerals among figures."""
    for match in _ENGLISH_RUN.finditer(text):
        yield from _run(match)
    for match in _CHINESE_RUN.finditer(text):
        if _NUMERAL.search(match.group()):
            yield from _run(match)


def _run(match: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    if len(digits := _digits(match.group())) >= LEAST:
        yield match.start(), match.end(), digits


def _digits(run: str) -> str:
    out, times = "", 1
    for unit in _UNITS.findall(run.lower()):
        if unit in _TIMES:
            times = _TIMES[unit]
        else:
            out += (unit if unit.isdigit() and unit.isascii() else _DIGITS[unit]) * times
            times = 1
    return out
