"""Text normalisation: numbers, times, amounts, addresses and formulas put into the words that are said for them.

Written here, since nothing kept well reads more than two thirds of our table (python -m benchmarks.normalise): of English
and Chinese WeTextProcessing has 41 % and 65 % at 46 and 8 ms a clause, NeMo's 54 ms and 430 MB; both need pynini, a
compiled library of 150 MB without wheels for macOS or Windows. num2words is LGPL and, as cn2an, does not see what kind a
number is.
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

    `language` is a tag such as "en" or "zh-CN", None where it is not known; the text itself decides where it is written in
    another script. Text of a language without rules comes back as it is: its voice reads figures in its own way.
    `before` is what was written before it. Time is linear in the text, a fraction of a millisecond for a sentence.
    """
    match rules_of(text, language):
        case "en":
            read = english
        case "zh":
            read = chinese
        case None:
            return Spoken(text, text)
    context = f"{before[-CONTEXT_CHARS:].rstrip()} " if before.strip() else ""
    return read(context + text, len(context))
