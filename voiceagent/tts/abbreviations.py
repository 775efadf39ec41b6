"""Full stops that end no sentence: after titles, initials and other abbreviations."""

import re
from typing import Literal


def _words(*lists: str) -> frozenset[str]:
    return frozenset(word for words in lists for word in words.split())


_NEVER_LAST = _words(
    "mr mrs ms mx dr prof rev hon fr st gen col maj capt lt sgt cmdr adm sen rep gov pres supt messrs mme mlle mt",
    "vs cf viz approx al ca incl esp resp bzw ggf evtl hr sra srta dra",
)
"""Always followed by what they belong to."""

_BEFORE_NUMBERS = _words(
    "no nos nr nrs fig figs eq eqs vol vols ch sec pp pg p art par ver v tel ext",
    "jan feb mar apr jun jul aug sep sept oct nov dec",
)
"""Abbreviations when a number follows, else words of their own ("No.")."""

_MAYBE_LAST = _words("etc inc ltd co corp jr sr bros dept est ph.d m.d b.a m.a a.m p.m usw u.s.w n.chr v.chr")
"""The sentence is over when what follows begins like one."""

_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]{1,3}")
_ORDINAL = re.compile(r"\d{1,3}")

Verdict = Literal["ends", "goes_on", "unless_number", "if_capital"]


def verdict(word: str, after_break: bool) -> Verdict:
    """What a full stop means that stands between `word` and a space. The next letter settles the last two verdicts.

    `after_break`: the word begins a line or a sentence, so that a number there counts a list.
    """
    lower = word.lower()
    if lower in _MAYBE_LAST:
        return "if_capital"
    if lower in _BEFORE_NUMBERS:
        return "unless_number"
    initial = len(word) == 1 and word.isupper() and word != "I"
    counting = after_break and _ORDINAL.fullmatch(word) is not None
    if lower in _NEVER_LAST or initial or counting or _DOTTED.fullmatch(word):
        return "goes_on"
    return "ends"
