"""Normal form of a text: the same words in the same order, however they are typed.

Only what cannot change the meaning is made equal: spaces, full-width letters, typographic quotes, the kind of a pause,
the mark at the end, and upper case where it makes no other word. A pause within a sentence stays ("No, stop" is not
"no stop"), and so does every other sign.
"""

import re
import unicodedata

HAN = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""For a character class: what is written without spaces."""

FUNCTION_WORDS = frozenset(
    """a about after all am an and any are as at be been before but by can could did do does for from had
    has have he her his how i if in into is it its may me might must my no nor not of off on or our over
    shall she should so some than that the their them then there these they this those to under until up us
    was we were what when where which while who whom whose why will with without would yet you your""".split()
)
"""Upper case at the beginning of a sentence says nothing of them."""

_INVISIBLE = re.compile(r"[\u00ad\u200b\u200e\u200f\u2060\ufe0f\ufeff]")
_SAME = str.maketrans(
    {
        **{chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)},
        **dict.fromkeys("‘’`´", "'"),
        **dict.fromkeys("“”„«»「」", '"'),
        **dict.fromkeys("‐‑–—−", "-"),
        "\u3000": " ",
        "。": ".",
        "、": ",",
        "…": ".",
    }
)
_PAUSE = re.compile(rf"(?:[.,;:?]|(?<![\d)])(?<!\b[^\W\d_])!)+(?=\s|$)|(?<=[{HAN}])[.,;:?!]+")
"""Neither the point in 1.5 nor the sign in 5! or n!."""
_AROUND_WIDE = re.compile(rf"(?<=[{HAN}]) (?=[A-Za-z0-9])|(?<=[A-Za-z0-9]) (?=[{HAN}])")
_WORD = re.compile(r"[A-Za-z]+n't(?![a-z])|[A-Za-z\u00c0-\u024f\u0370-\u052f]+")
_ENGLISH_BEGINS = frozenset(
    """what who whom whose which when where why how is are am were do does did can could will would shall
    should may might must has have had tell explain describe please hello okay sorry thanks excuse""".split()
)
_ASKING = re.compile(
    rf"(?:{'|'.join(sorted(_ENGLISH_BEGINS))}|was)(?:n't)?\b|.*(?:什么|甚么|谁|哪|怎|多[少久高长远重深宽]|几|如何|何时|为何|吗)"
)
_LONG_CAPITALS = 6
"""Letters of a word that is loud rather than an abbreviation (AIDS, SWAT)."""
_NAMES = frozenset(
    """alien amazon amber apple august bath bill brave china chase cliff dawn delta democrat democratic dell
    dune earth eagles edge english excel faith fargo frank friends frozen galaxy gemini genesis georgia
    germane giant grace guinea heat hello homer hope hunter iris jack java jersey jordan labour liberal lima
    lion lotus march mark mars matrix mercury mobile moon natal nice nike office opera oracle orange orient
    outlook peace phoenix pearl penny pink pipe polish python queen radiohead rain reading republican rich
    robin rocky rose ruby rust safari saturn shell skate slack snow sonic stripe summer swift target teams
    tesla them time titan titanic turkey uber ulysses union venus victor viking violet visa void watt will
    windows word words yellow zoom""".split()
)
"""Words of four letters and more that with a capital are a name: these keep it."""


def normalised(text: str) -> str:
    """In lower case where that is safe; pauses are " , "; a question mark stays at the end of what is else no question.
    Empty for text without words."""
    plain = unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).translate(_SAME).strip()
    asked = re.search(r"\?[\s.!?\"']*$", plain) is not None
    words = " ".join(_PAUSE.sub(" , ", plain).split())
    words = re.sub(r"(?: ?,)+(?= |$)", " ,", words).strip(", ")
    words = _AROUND_WIDE.sub("", words)
    words = _lower_case(words)
    if asked and words and _ASKING.match(words) is None:
        words += " ?"
    return words


def _lower_case(text: str) -> str:
    """In other languages than English (in German most of all) a capital may make another word: there all stay."""
    first = _WORD.match(text)
    english = first is not None and first.group().lower().removesuffix("n't") in _ENGLISH_BEGINS

    def lower(found: re.Match[str]) -> str:
        word, small = found.group(), found.group().lower()
        if word in ("I", small):
            return small
        begins = found.start() == 0 or text[: found.start()].endswith(", ")
        title = word[0] + small[1:] == word
        if small in FUNCTION_WORDS or (begins and small.removesuffix("n't") in _ENGLISH_BEGINS):
            return small if title and begins else word
        if not english or len(word) < 4 or small in _NAMES:
            return word
        return small if title or (word.isupper() and len(word) >= _LONG_CAPITALS) else word

    return _WORD.sub(lower, text)
