"""Numbers written in words, as digits."""

import re
from collections.abc import Sequence

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_GREAT = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_ORDINALS = {"first": "1st", "second": "2nd", "third": "3rd", "fourth": "4th", "fifth": "5th", "sixth": "6th"}
_ROMAN = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8"}

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_CHINESE = re.compile("[零〇一二两三四五六七八九十百千万亿]+")


def english_numbers(words: Sequence[str]) -> list[str]:
    """ "twenty five" becomes "25", "second" "2nd", "ii" "2". A lone "one" is left: it is rarely a number."""
    out: list[str] = []
    total = current = 0
    pending: list[str] = []

    def flush() -> None:
        nonlocal total, current
        if pending:
            out.append("one" if pending == ["one"] else str(total + current))
        pending.clear()
        total = current = 0

    for word in words:
        if word in _SMALL:
            if pending and not (pending[-1] in _GREAT or (pending[-1] in _TENS and 0 < _SMALL[word] < 10)):
                flush()
            current += _SMALL[word]
            pending.append(word)
        elif word in _GREAT and pending:
            current *= _GREAT[word]
            if _GREAT[word] > 100:
                total, current = total + current, 0
            pending.append(word)
        elif word == "and" and pending and pending[-1] == "hundred":
            continue
        else:
            flush()
            out.append(_ORDINALS.get(word) or _ROMAN.get(word, word))
    flush()
    return out


def chinese_numbers(text: str) -> str:
    """ "三十" becomes "30"."""
    return _CHINESE.sub(lambda found: _value(found.group()), text)


def _value(numeral: str) -> str:
    if all(char in _DIGITS for char in numeral):
        return "".join(str(_DIGITS[char]) for char in numeral)
    total = section = digit = 0
    for char in numeral:
        if char in _DIGITS:
            digit = _DIGITS[char]
        elif char in _UNITS:
            section += (digit or 1) * _UNITS[char]
            digit = 0
        else:
            total = (total + section + digit or 1) * (10_000 if char == "万" else 10**8)
            section = digit = 0
    return str(total + section + digit)
