"""Chinese words for numbers."""

from voiceagent.tts.normalise.numerals import Number

DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_SCALES = ("", "万", "亿", "万亿")
MOST_DIGITS = 16
"""Longer whole numbers are read digit by digit."""


def digits(written: str, *, one: str = "一") -> str:
    """One by one; `one` is 幺 in telephone numbers. Letters stay; what else stands between is a short pause."""
    said: list[str] = []
    for char in written:
        if char.isdecimal():
            said.append(one if char == "1" else DIGITS[int(char)])
        elif char.isalpha():
            said.append(f" {char.upper()} ")
        elif said and said[-1] != "，":
            said.append("，")
    return "".join(said).strip("， ").replace("  ", " ").replace(" ，", "，")


def flat_digits(written: str, *, one: str = "一") -> str:
    return digits("".join(char for char in written if char.isalnum()), one=one)


def cardinal(value: int) -> str:
    """ "一万零五十"; ten to nineteen without 一 in front."""
    if value < 0:
        return f"负{cardinal(-value)}"
    if value == 0:
        return "零"
    groups: list[int] = []
    while value:
        value, group = divmod(value, 10_000)
        groups.append(group)
    said, gap = "", False
    for scale in reversed(range(len(groups))):
        group = groups[scale]
        if not group:
            gap = True
            continue
        if said and (gap or group < 1000):
            said += "零"
        gap = False
        said += _below_ten_thousand(group) + _SCALES[scale]
    return said.removeprefix("一") if said.startswith("一十") else said


def _below_ten_thousand(value: int) -> str:
    said, gap = "", False
    for place in (3, 2, 1, 0):
        digit = value // 10**place % 10
        if not digit:
            gap = bool(said)
            continue
        said += ("零" if gap else "") + DIGITS[digit] + _PLACES[place]
        gap = False
    return said


def say(number: Number) -> str:
    """A number, its decimals one by one."""
    whole = number.whole or "0"
    words = cardinal(int(whole)) if len(whole) <= MOST_DIGITS else flat_digits(whole)
    if number.decimals:
        words += f"点{flat_digits(number.decimals)}"
    return f"负{words}" if number.negative else words


def count(number: Number) -> str:
    """Before a measure word: two is 两, also in 两千, 两万 and 两亿 at the head."""
    words = say(number)
    head = words.removeprefix("负")
    if head == "二" or head[:2] in ("二千", "二万", "二亿"):
        words = words.replace("二", "两", 1)
    return words
