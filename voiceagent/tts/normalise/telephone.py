"""Telephone numbers in the ways in which countries write them."""

import re

_SEP = r"[ .\u00a0\u2011/-]"
TELEPHONE = re.compile(
    "(?<![0-9A-Za-z.,:/$£€¥￥#@=_-])(?:"
    rf"\+\d{{1,3}}(?:{_SEP}?\(?\d{{1,5}}\)?){{2,6}}"  # +44 20 7946 0958, +1 (212) 555-0142
    rf"|00\d{{1,3}}(?:{_SEP}\d{{1,5}}){{2,6}}"  # 0044 20 7946 0958
    rf"|(?:1{_SEP})?\(\d{{2,5}}\){_SEP}?\d{{3,5}}(?:{_SEP}?\d{{2,4}}){{0,3}}"  # (555) 123-4567, (11) 91234-5678
    rf"|1?{_SEP}?\d{{3}}([.-])\d{{3}}\1\d{{4}}"  # 1-800-555-0199, 555.867.5309
    r"|(?:1 )?\d{3} \d{3} \d{4}|\d{3} \d{3}-\d{4}"
    rf"|0\d{{1,4}}{_SEP}\d{{2,8}}(?:{_SEP}?\d{{2,4}}){{0,4}}"  # 020 7946 0958, 030/1234567
    r"|\d{2}(?: \d{2}){3,4}"  # 01 42 68 53 00, 12 34 56 78
    r"|1[3-9]\d(?:[ -]?\d{4}){2}"  # 138 1234 5678
    r"|0\d{9,10}|[48]00[ -]?\d{3,4}[ -]?\d{3,4}"
    r"|555-\d{4}"
    r")(?![0-9A-Za-z%‰°]|[.,:/-]\d|\s?(?:[$€£¥￥%]|k?m\b|kg\b))"
)
"""A number that is a telephone's by its shape alone."""

LONG_GROUPS = re.compile(
    r"(?<![\w.,:/$£€¥￥-])(?:\d{4}(?:[ -]\d{4}){2,4}(?:[ -]\d{1,4})?|\d{3}-\d{2}-\d{4}|97[89](?:[ -]\d{1,7}){3,4}"
    r"|[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){3,7}(?: ?[0-9A-Z]{1,3})?)(?![\w]|[.,:/-]\d)"
)
"""Cards, social security numbers, books (ISBN), bank accounts (IBAN)."""

VANITY = re.compile(r"(?<![\w-])((?:1-)?\d{3,4}-)([A-Z]{3,}(?:-[A-Z]+)*)(?![\w-])")
"""1-800-FLOWERS."""


def is_telephone(written: str) -> bool:
    """Whether so many digits can be one: 1,000,000 apart by spaces is none, nor is 01.12.2026."""
    count = sum(char.isdecimal() for char in written)
    if re.fullmatch(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}", written):
        return False
    return 7 <= count <= 15
