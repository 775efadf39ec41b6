"""English words for numbers."""

from voiceagent.tts.normalise.numerals import Number

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
MOST_DIGITS = 18
"""Longer whole numbers are read digit by digit."""


def cardinal(value: int) -> str:
    """ "one thousand two hundred thirty-four"."""
    if value < 0:
        return f"minus {cardinal(-value)}"
    if value < 1000:
        return _below_thousand(value)
    words: list[str] = []
    for scale in reversed(range(len(_SCALES))):
        group = value // 1000**scale % 1000 if scale < len(_SCALES) - 1 else value // 1000**scale
        if group:
            words.append(f"{_below_thousand(group) if group < 1000 else cardinal(group)} {_SCALES[scale]}".strip())
    return " ".join(words)


def _below_thousand(value: int) -> str:
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(value, 100)
    return f"{_ONES[hundreds]} hundred" + (f" {_below_thousand(rest)}" if rest else "")


def ordinal(value: int) -> str:
    """ "twenty-first"."""
    head, dash, last = cardinal(value).rpartition("-")
    if not dash:
        head, dash, last = last.rpartition(" ")
    regular = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return f"{head}{dash}{_ORDINALS.get(last, regular)}"


def digits(written: str) -> str:
    """One by one; what is no digit parts them by a short pause. Letters are spelled."""
    groups: list[list[str]] = [[]]
    for char in written:
        if char.isdecimal():
            groups[-1].append(_ONES[int(char)])
        elif char.isalpha():
            groups[-1].append(char.upper())
        elif groups[-1]:
            groups.append([])
    return ", ".join(" ".join(group) for group in groups if group)


def flat_digits(written: str) -> str:
    """One by one without pauses."""
    return digits("".join(char for char in written if char.isalnum()))


def year(value: int) -> str:
    """ "nineteen oh five", "two thousand five", "twenty twenty-six"."""
    century, rest = divmod(value, 100)
    if not 1000 <= value <= 9999 or value % 1000 < 10:
        return cardinal(value)
    if not rest:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def plural_year(value: int) -> str:
    """A decade: "nineteen nineties", "eighteen hundreds", "eighties"."""
    return plural(year(value) if value >= 1000 else cardinal(value))


def plural(words: str) -> str:
    """Of a number's last word."""
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}es" if words.endswith(("x", "ch")) else f"{words}s"


def by_hundreds(value: int) -> str:
    """As sizes and rooms are read: "nineteen twenty", "ten eighty", "twelve oh four"."""
    return year(value) if 1000 <= value <= 9999 and value % 1000 else cardinal(value)


def say(number: Number) -> str:
    """A number, its decimals one by one."""
    whole = number.whole or "0"
    words = cardinal(int(whole)) if len(whole) <= MOST_DIGITS else flat_digits(whole)
    if number.decimals:
        words += f" point {flat_digits(number.decimals)}"
    return f"minus {words}" if number.negative else words


def fraction(top: int, bottom: int) -> str:
    """ "three quarters", "one half", "five eighths"."""
    if bottom == 2:
        part = "half" if top == 1 else "halves"
    elif bottom == 4:
        part = "quarter" if top == 1 else "quarters"
    else:
        part = ordinal(bottom) + ("" if top == 1 else "s")
    return f"{cardinal(top)} {part}"
