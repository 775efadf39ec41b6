"""Text normalisation: numbers, times, amounts, addresses and formulas put into the words that are said for them.

Our own: the best library (WeTextProcessing; wetext without pynini) reads 48 % of the English and 66 % of the Chinese
table (python -m benchmarks.normalise) at 2 to 53 ms a clause; pynini has no wheels for macOS or Windows and 150 MB.
"""

from voiceagent.tts.normalise.chinese.rules import chinese
from voiceagent.tts.normalise.english.rules import english
from voiceagent.tts.normalise.languages import rules_of
from voiceagent.tts.normalise.spans import Span, Spoken

__all__ = ["Span", "Spoken", "normalise", "rules_of"]

CONTEXT_CHARS = 80
"""Of what was said before a clause, as much is looked at: "your code is" may be in the clause before the code."""


def normalise(text: str, language: str | None = None, before: str = "") -> Spoken:
    """How a clause without markup is said.

    `language` is a tag such as "en" or "zh-CN", None where it is not known; the text itself decides where it is written
    in another script. Text of a language without rules comes back as it is: its voice reads figures in its own way.
    `before` is what was written before it. Time is linear in the text, a fraction of a millisecond for a sentence.
    """
    alone = any(char.isalpha() for char in text)
    rules = rules_of(text if alone else before + text, language)
    if rules is None:
        return Spoken(text, text)
    context = f"{before[-CONTEXT_CHARS:].rstrip()} " if before.strip() else ""
    read = english if rules == "en" else chinese
    return read(context + text, len(context))
