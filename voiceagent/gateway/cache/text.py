"""The same words, however they are written."""

import re
import unicodedata

_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff]")
_SAME = str.maketrans(
    {**dict.fromkeys("‘’`´", "'"), **dict.fromkeys("‐‑–—−", "-"), "\u2044": "/", "²": "^2", "³": "^3"}
)
"""Before NFKC, which would make x2 of x²."""
_WIDE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_DROPPED = re.compile(
    rf"""(?x)
    (?<=\d),(?=\d{{3}}(?!\d))         # between thousands: 1,000 is 1000
    | (?<!\d)[.:](?!\d) | (?<=\d)[.:](?!\d) | (?<!\d):(?=\d)  # kept in 1.5 and .5 and 7:30
    | (?<!\w)'|'(?!\w)              # kept in isn't
    | -(?!\d) | (?<=\w)(?<![{_WIDE}])-  # kept in -5
    | (?<!\d)/|/(?!\d)              # kept in 1/2
    """
)
_MARKS = re.compile(r"[^\w\s.:,'/%°^+#*=<>&@$€£¥₩₹\u0300-\u036f-]|_")
_COMMA = re.compile(r",(?!\d)|(?<!\d),")
_AROUND_WIDE = re.compile(rf"(?<=[{_WIDE}])\s+|\s+(?=[{_WIDE}])")


def normalised(text: str) -> str:
    """Without case, spaces too many, full-width forms, and marks that change nothing. What may change the sense stays:
    marks within numbers and words, signs, currencies, accents."""
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text).translate(_SAME)).casefold().translate(_SAME)
    plain = _MARKS.sub(" ", plain)
    plain = _COMMA.sub(" ", plain)
    plain = _DROPPED.sub(lambda found: "" if found.group() == "," else " ", plain)
    return _AROUND_WIDE.sub("", " ".join(plain.split()))
