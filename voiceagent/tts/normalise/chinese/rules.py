"""All rules of Chinese in the order in which they have their say: what is surest comes first."""

import re

from voiceagent.tts.normalise.addresses import AddressWords, address_rules
from voiceagent.tts.normalise.chinese.codes import CODES, NAMES
from voiceagent.tts.normalise.chinese.dates import DATES, FULL_DATES, TIMES
from voiceagent.tts.normalise.chinese.maths import (
    COUNTS,
    FORMULA_WORDS,
    FRACTIONS,
    PLAIN,
    POWERS,
    SCIENTIFIC,
    SOFTWARE,
    VERSIONS,
)
from voiceagent.tts.normalise.chinese.measures import MEASURES
from voiceagent.tts.normalise.chinese.numbers import flat_digits
from voiceagent.tts.normalise.latex import bare_rule, formula_rule
from voiceagent.tts.normalise.spans import Rule, Spoken, find_spans, join

_ADDRESS_WORDS = AddressWords(
    marks={".": "点", "_": "下划线", "-": "杠", "+": "加", "/": "斜杠", "%": "百分号", "~": "波浪号"},
    digits=flat_digits,
    at="at",
    dot="点",
    port="端口",
    handle="",
    tag="话题",
)
_FULL_WIDTH = str.maketrans("０１２３４５６７８９．％＋－＝", "0123456789.%+-=")


def _formula(text: str) -> str:
    return chinese(text).text


RULES: tuple[Rule, ...] = (
    formula_rule(FORMULA_WORDS, _formula),
    bare_rule(FORMULA_WORDS, _formula),
    *SOFTWARE,
    *address_rules(_ADDRESS_WORDS),
    *FULL_DATES,
    *CODES,
    *DATES,
    *TIMES,
    *VERSIONS,
    *SCIENTIFIC,
    *MEASURES,
    *POWERS,
    *FRACTIONS,
    *COUNTS,
    *NAMES,
    *PLAIN,
)


def chinese(text: str, start: int = 0) -> Spoken:
    """How Chinese says `text[start:]`; what is before `start` only helps to understand it."""
    narrow = text.translate(_FULL_WIDTH) if re.search("[０-９]", text) else text
    spans = find_spans(narrow, RULES, start)
    shifted = [type(span)(span.start - start, span.end - start, span.spoken) for span in spans]
    return join(text[start:], shifted, spaced=False)
