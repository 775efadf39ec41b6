"""All rules of English in the order in which they have their say: what is surest comes first."""

from voiceagent.tts.normalise.addresses import AddressWords, address_rules
from voiceagent.tts.normalise.english.codes import CODES, NAMES
from voiceagent.tts.normalise.english.dates import DATES, DECADES, TIMES, YEARS
from voiceagent.tts.normalise.english.maths import COUNTS, FORMULA_WORDS, FRACTIONS, PLAIN, POWERS, SCIENTIFIC
from voiceagent.tts.normalise.english.measures import MEASURES
from voiceagent.tts.normalise.english.money import MONEY
from voiceagent.tts.normalise.english.numbers import flat_digits
from voiceagent.tts.normalise.english.words import ABBREVIATIONS, ROMAN, SOFTWARE, VERSIONS
from voiceagent.tts.normalise.latex import bare_rule, formula_rule
from voiceagent.tts.normalise.spans import Rule, Spoken, find_spans, join

_ADDRESS_WORDS = AddressWords(
    marks={".": "dot", "_": "underscore", "-": "dash", "+": "plus", "/": "slash", "%": "percent", "~": "tilde"},
    digits=flat_digits,
    at="at",
    dot="dot",
    port="port",
    handle="at",
    tag="hashtag",
)


def _formula(text: str) -> str:
    return english(text).text


RULES: tuple[Rule, ...] = (
    formula_rule(FORMULA_WORDS, _formula),
    bare_rule(FORMULA_WORDS, _formula),
    *SOFTWARE,
    *address_rules(_ADDRESS_WORDS),
    *CODES,
    *DATES,
    *TIMES,
    *VERSIONS,
    *SCIENTIFIC,
    *MONEY,
    *DECADES,
    *MEASURES,
    *POWERS,
    *FRACTIONS,
    *ROMAN,
    *YEARS,
    *COUNTS,
    *NAMES,
    *ABBREVIATIONS,
    *PLAIN,
)


def english(text: str, start: int = 0) -> Spoken:
    """How English says `text[start:]`; what is before `start` only helps to understand it."""
    spans = find_spans(text, RULES, start)
    shifted = [type(span)(span.start - start, span.end - start, span.spoken) for span in spans]
    return join(text[start:], shifted, spaced=True)
