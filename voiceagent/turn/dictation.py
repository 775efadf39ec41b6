"""Numbers and names dictated sign by sign, in English and Chinese: is the row at the end of a text likely to go on?"""

import re

COMPLETE = frozenset({10, 11, 16})
"""Digits of a whole number that is said in groups: a telephone number (North America 10, China 11), a card (16)."""

ROW = 3
"""So many digits or letters, in more than one word, are dictation; fewer are more often a quantity or a date."""

NEAR = 24
"""Characters between a word that announces a number and the number itself: "my card number is ..."."""

_SAID = {"oh": 1, "double": 1, "triple": 2} | dict.fromkeys(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *"零〇一二三四五六七八九幺两"), 1
)
"""Digits a word stands for; double and triple add to the digit after them."""

_TOKEN = re.compile(r"[$€£¥]?\d+(?:[.:/,]\d+)*%?|[a-z]+(?:'[a-z]+)?|[^\W_]")
_ANNOUNCED = re.compile(
    r"\b(?:number|code|zip|pin|phone|card|account|digits|extension|serial|spelled|spell)\b"
    r"|号码|电话|手机|卡号|密码|验证码|编号|账号"
)


def is_dictating(words: str) -> bool:
    """Whether the text (lower case, without its last punctuation) ends within a row of digits or spelled letters.

    A row is one of ROW signs or more; right after a word that announces a number, any. It is over when as many digits
    were said as such numbers have.
    """
    start, groups, digits, letters = len(words), 0, 0, 0
    for token in reversed(list(_TOKEN.finditer(words))):
        sign = token.group()
        said = len(sign) if sign.isdecimal() and not _is_year(sign) else _SAID.get(sign, 0)
        if said:
            digits += said
        elif len(sign) == 1 and sign.isascii():
            letters += 1
        else:
            break
        start, groups = token.start(), groups + 1
    if not digits or letters:
        return letters + digits >= ROW and groups >= ROW
    if digits in COMPLETE:
        return False
    announced = _ANNOUNCED.search(words, max(0, start - NEAR), start) is not None
    return announced or (digits >= ROW and groups > 1)


def _is_year(sign: str) -> bool:
    return len(sign) == 4 and sign[:2] in ("19", "20")
