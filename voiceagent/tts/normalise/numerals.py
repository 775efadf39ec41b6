"""Numbers as they are written in the world: signs, thousands, decimal points and commas."""

import re
from dataclasses import dataclass

MINUS = "-−–"
GROUPED = r"\d{1,3}(?:,\d{3})+(?![\d,]\d)|\d{1,3}(?:[ \u00a0\u202f'’_]\d{3})+(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?!\.?\d)"
"""Thousands apart: 1,000 and 1 000 and 1'000; with points only where there are two."""
NUMBER = rf"(?:\d{{1,3}}(?:\.\d{{3}})+,\d{{1,2}}(?!\d)|(?:{GROUPED}|\d+)(?:[.,]\d+)?|\.\d+)"
"""A number without its sign, in any way of writing."""

_THOUSANDS = re.compile(r"(?<=\d)[ \u00a0\u202f'’_](?=\d{3})")


@dataclass(frozen=True, slots=True)
class Number:
    """`whole` and `decimals` are digits; `decimals` is None where there is no point. Zeros are as they were written."""

    whole: str
    decimals: str | None = None
    negative: bool = False

    @property
    def value(self) -> int:
        """The whole part."""
        return int(self.whole or "0")

    @property
    def is_one(self) -> bool:
        return self.decimals is None and self.value == 1


def read(written: str) -> Number:
    """The number that is written; it must match NUMBER, with a sign before it or none.

    A single comma is a decimal comma unless three digits follow it and no zero stands before it; a single point is a
    decimal point.
    """
    text = written.strip()
    negative = text[:1] in MINUS and text[:1] != ""
    text = _THOUSANDS.sub("", text.lstrip(MINUS + "+ "))
    points, commas = text.count("."), text.count(",")
    if points and commas:
        decimal = "." if text.rindex(".") > text.rindex(",") else ","
        text = text.replace("," if decimal == "." else ".", "")
    elif points > 1 or commas > 1:
        return Number(text.replace(".", "").replace(",", ""), None, negative)
    elif commas:
        head, _, tail = text.partition(",")
        decimal = "," if len(tail) != 3 or head.startswith("0") or len(head) > 3 else ""
        text = text if decimal else head + tail
    else:
        decimal = "."
    if decimal and decimal in text:
        head, _, tail = text.partition(decimal)
        return Number(head, tail, negative)
    return Number(text, None, negative)


_ROMAN = re.compile(r"M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman(written: str) -> int | None:
    """The value of a Roman numeral in capitals; None when it is none."""
    if not written or not _ROMAN.fullmatch(written):
        return None
    values = [_VALUES[letter] for letter in written]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))


VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5), "⅗": (3, 5),
    "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅐": (1, 7), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8), "⅞": (7, 8),
    "⅑": (1, 9), "⅒": (1, 10),
}  # fmt: skip
"""Fractions that are one character."""

SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
