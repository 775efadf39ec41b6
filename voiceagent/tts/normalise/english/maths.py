"""Numbers without a unit in English: fractions, ratios, formulas, ranges, and plain ones."""

import re
import unicodedata

from voiceagent.tts.normalise.english.dates import is_ratio
from voiceagent.tts.normalise.english.measures import UNIT, UNITS, a_fraction, many
from voiceagent.tts.normalise.english.numbers import cardinal, fraction, ordinal, say
from voiceagent.tts.normalise.latex import FormulaWords
from voiceagent.tts.normalise.numerals import NUMBER, SUBSCRIPTS, SUPERSCRIPTS, VULGAR, read
from voiceagent.tts.normalise.spans import Match, Rule, rule

FORMULA_WORDS = FormulaWords(
    over="{a} over {b}",
    root="the square root of {a}",
    nth_root="the {b} root of {a}",
    power="{a} to the power of {b}",
    square="{a} squared",
    cube="{a} cubed",
    index="{a} {b}",
    names={
        "sum": "the sum of",
        "prod": "the product of",
        "int": "the integral of",
        "partial": "partial",
        "lim": "the limit of",
    },
)
_VULGAR = "".join(VULGAR)
_SIGNS = {
    "**": "to the power of", "&&": "and", "||": "or", "+": "plus", "-": "minus", "−": "minus", "*": "times", "×": "times", "·": "times", "÷": "divided by", "/": "divided by",
    "=": "equals", "==": "equals", "≠": "is not equal to", "!=": "is not equal to", "<>": "is not equal to",
    "≥": "is greater than or equal to", ">=": "is greater than or equal to", "⩾": "is greater than or equal to",
    "≤": "is less than or equal to", "<=": "is less than or equal to", "⩽": "is less than or equal to",
    ">": "is greater than", "<": "is less than", "≫": "is much greater than", "≪": "is much less than",
    "≈": "is approximately", "≅": "is approximately", "≃": "is approximately", "~=": "is approximately",
    "≡": "is equivalent to", "∝": "is proportional to", "±": "plus or minus", "∓": "minus or plus", "→": "to",
    "⟶": "to", "➜": "to", "⇒": "implies", "->": "to", "=>": "implies", "↔": "to and from", "⇔": "is equivalent to",
    "←": "from", "∈": "is in", "∉": "is not in", "∪": "union", "∩": "intersection", "⊂": "is a subset of",
    "∧": "and", "∨": "or", "¬": "not",
}  # fmt: skip
_POINTS = "±≠≥⩾≤⩽≫≪≈≅≃≡∝∓→⟶➜⇒↔⇔←∈∉∪∩⊂∧∨¬÷×"
_PREFIXES = {
    "√": "the square root of",
    "∛": "the cube root of",
    "∑": "the sum of",
    "∏": "the product of",
    "∫": "the integral of",
}
_NAMES = {
    "∞": "infinity",
    "π": "pi",
    "Δ": "delta",
    "°": "degrees",
    "©": "copyright",
    "∅": "the empty set",
    "§": "section",
    "№": "number",
}


@rule(rf"(?<![\w.,/])([-−]?)(\d+)?\s?([{_VULGAR}])", _VULGAR)
def _vulgar(found: Match) -> str:
    top, bottom = VULGAR[found[3]]
    said = f"{cardinal(int(found[2]))} and {a_fraction(found[3])}" if found[2] else fraction(top, bottom)
    return f"minus {said}" if found[1] else said


@rule(
    rf"(?<![\w.,/$£€¥])(?:(\d{{1,3}})[ -])?(\d{{1,3}})\s?[/⁄]\s?(\d{{1,4}})(?:[ -]({UNIT})(?![\w/]))?(?![\w/]|[.,]\d|\s?%)",
    "/⁄",
)
def _fraction(found: Match) -> str | None:
    whole, top, bottom = found[1], int(found[2]), int(found[3])
    if (top, bottom) in ((24, 7), (50, 50), (20, 20), (80, 20)):
        return (
            f"{cardinal(int(whole))} {cardinal(top)} {cardinal(bottom)}"
            if whole
            else f"{cardinal(top)} {cardinal(bottom)}"
        )
    if bottom < 2 or (whole and top >= bottom):
        return None
    if bottom > 100 or top > 20 or (top >= bottom and bottom > 20):
        return f"{cardinal(int(whole)) + ' ' if whole else ''}{cardinal(top)} over {cardinal(bottom)}"
    said = fraction(top, bottom)
    unit = f" {UNITS[found[4]] if not whole and top < bottom else many(UNITS[found[4]])}" if found[4] else ""
    if not whole:
        return said + unit
    return f"{cardinal(int(whole))} and {said.replace('one ', 'a ', 1) if top == 1 else said}{unit}"


@rule(r"(?<![\w.,/])(\d+|[a-z])/([a-z])(?![\w/])", "/")
def _letters(found: Match) -> str | None:
    """1/n, a/b; what counts by time or length is a unit's."""
    top, bottom = found[1], found[2]
    if top.isalpha() and not re.search(r"[=<>≤≥≈+^]", found.string):
        return None
    return f"{say(read(top)) if top.isdecimal() else top} over {bottom}"


@rule(r"(?<![\w.,:])(\d{1,5})\s?[:∶]\s?(\d{1,5})(?:\s?[:∶]\s?(\d{1,5}))?(?![\w:]|[.,]\d)", ":∶")
def _ratio(found: Match) -> str:
    return " to ".join(cardinal(int(part)) for part in found.groups() if part)


@rule(r"(?<![\w.,:-])(\d{1,3})[-–](\d{1,3})(?![\w-]|[.,:/]\d)", "-–")
def _score(found: Match) -> str | None:
    return f"{cardinal(int(found[1]))} to {cardinal(int(found[2]))}" if is_ratio(found) else None


@rule(
    rf"(?<![\w.,$£€¥])(?<![\w)][-−])([-−+]?{NUMBER})(?:[eE]([-+−]?\d+)|\s?[×x*·]\s?10(?:\^|\*\*)?\{{?([-+−]?\d+|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+)\}}?)(?![\w])"
)
def _scientific(found: Match) -> str | None:
    exponent = (found[2] or found[3]).translate(SUPERSCRIPTS)
    if found[3] and found[3].isdecimal() and "^" not in found[0] and "**" not in found[0] and found[3] == exponent:
        return None
    return f"{say(read(found[1]))} times ten to the power of {say(read(exponent))}"


_POWER_WORDS = {"2": " squared", "3": " cubed", "²": " squared", "³": " cubed"}


@rule(
    rf"(?<![\w.,$£€¥])({NUMBER}|[A-Za-z]{{1,2}}|\))(?:\s?(?:\*\*|\^)\s?[\{{(]?([-−+]?(?:\d+(?:\.\d+)?|[A-Za-z]))[\}})]?|([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+))(?![\w])",
    "*^⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ",
)
def _power(found: Match) -> str:
    base = say(read(found[1])) if found[1][0].isdecimal() or found[1][0] == "." else found[1]
    exponent = found[2] or found[3].translate(SUPERSCRIPTS).replace("ⁿ", "n")
    if base[0].isalpha() and exponent in _POWER_WORDS:
        return base + _POWER_WORDS[exponent]
    return f"{base} to the power of {say(read(exponent)) if exponent[-1].isdecimal() else exponent}"


@rule(r"(?<=[A-Za-z)])([₀₁₂₃₄₅₆₇₈₉]+)", "₀₁₂₃₄₅₆₇₈₉")
def _subscript(found: Match) -> str:
    return f" {cardinal(int(found[1].translate(SUBSCRIPTS)))} ".strip()


@rule(r"(?<=[\w)\]%²³])\s*(\*\*|&&|\|\||[+*/−]|==?|!=|<>|>=|<=|=>|->|~=|<|>|-|·)\s*(?=[\w(√π$−.\\-])", "+*/−=!<>-·&")
def _operator(found: Match) -> str | None:
    """A sign between two terms. Without a figure beside it, it must stand apart, or be one that words never have."""
    sign, text = found[1], found.string
    left, right = text[: found.start()][-1:], text[found.end() :][:1]
    apart = found[0] != sign and found[0][:1].isspace() and found[0][-1:].isspace()
    figures = left.isdecimal() or right.isdecimal()
    formula = re.search(r"[=<>≤≥≈≠+*×÷]", text[: found.start()][-30:] + text[found.end() :][:30]) is not None
    match sign:
        case "-" | "−" | "/":
            single = _is_term(text[: found.start()], end=True) and _is_term(text[found.end() :], end=False)
            if sign == "-" and not (formula and single and (apart or figures)):
                return None
            if sign == "/" and not (formula and single) and not (apart and figures):
                return None
        case "*" | "+" | "·":
            if not apart and not figures and not (formula and left.isascii()):
                return None
            if sign == "+" and not apart and left.isalpha() and not right.isdecimal() and not _both_terms(found):
                return None
            if sign == "*" and not apart and not (figures or formula):
                return None
        case "<" | ">":
            if not (apart or figures or found[0] != sign or _both_terms(found)):
                return None
    return f" {_SIGNS[sign]} "


def _both_terms(found: Match) -> bool:
    """a<b: letters that stand alone on both sides."""
    text = found.string
    return _is_term(text[: found.start()], end=True) and _is_term(text[found.end() :], end=False)


_LAST_TERM = re.compile(r"(?:^|[^\w.,])(?:[\d.,]+|[A-Za-zα-ω]|\))[⁰¹²³⁴⁵⁶⁷⁸⁹]*$")
_FIRST_TERM = re.compile(r"(?:[\d.,]+[A-Za-z]?|[A-Za-z])(?![A-Za-z0-9_])|[(√π]")


def _is_term(text: str, *, end: bool) -> bool:
    return (_LAST_TERM.search(text[-20:]) if end else _FIRST_TERM.match(text)) is not None


@rule(rf"\s*([{_POINTS}])️?\s*", _POINTS)
def _sign(found: Match) -> str | None:
    text = found.string
    if found[1] in "×÷" and not (text[: found.start()][-1:].isalnum() and text[found.end() :][:1].isalnum()):
        return " times " if found[1] == "×" else " divided by "
    said = _SIGNS[found[1]]
    return f" {said} " if text[: found.start()].strip() else f"{said.removeprefix('is ')} "


@rule("([√∛∑∏∫])\\s?", "√∛∑∏∫")
def _prefix(found: Match) -> str:
    return f"{_PREFIXES[found[1]]} "


@rule(r"[∞πΔ©∅§№]", "∞πΔ©∅§№")
def _symbol(found: Match) -> str:
    return _NAMES[found[0]]


@rule(r"(?<![\w.,)])([-−+±~≈<>≥≤]|>=|<=)\s?(?=[$£€¥]?[\d.]|(?<=[-−])[a-z](?![A-Za-z]))", "-−+±~≈<>≥≤")
def _unary(found: Match) -> str | None:
    if found[1] not in "-−+±~" and _LAST_TERM.search(found.string[: found.start()].rstrip()[-20:]):
        return None  # x ≥ 5
    words = {
        "-": "minus", "−": "minus", "+": "plus", "±": "plus or minus", "~": "about", "≈": "about", "<": "less than",
        ">": "more than", ">=": "at least", "<=": "at most", "≥": "at least", "≤": "at most",
    }  # fmt: skip
    return f"{words[found[1]]} "


@rule(r"(?<=\w)\s?±\s?(?=[\d.])", "±")
def _give_or_take(found: Match) -> str:
    return " plus or minus "


@rule(rf"(?<![\w.,])({NUMBER})\s?(?:-|–|—|~|\.\.)\s?({NUMBER})(?![\w]|[.,:/-]\d)", "-–—~.")
def _range(found: Match) -> str | None:
    if re.search(r"\s[-–—]\s", found[0]) and re.search("[=+×÷*]", found.string):
        return None
    return f"{say(read(found[1]))} to {say(read(found[2]))}"


@rule(
    rf"(?<![\w.,])({NUMBER})(?:\s?(?:-|–|—|~|to)\s?({NUMBER}))?\s?(k|K|thousand|million|billion|trillion|mn|mio|bn)(\+)?(?![\w])",
    "kKtmb",
)
def _scaled(found: Match) -> str | None:
    scales = {"k": "thousand", "mn": "million", "mio": "million", "bn": "billion"}
    first, second, scale, more = found.groups()
    if scale in "kK" and (" " in found[0] or (scale == "K" and found[1].isdecimal() and int(found[1]) <= 16)):
        return None  # 4K, 8K
    last = f" to {say(read(second))}" if second else ""
    return f"{say(read(first))}{last} {scales.get(scale.lower(), scale)}{' plus' if more else ''}"


@rule(
    rf"(?<![\w.,])({NUMBER})M(?=\s(?:users|people|views|subscribers|downloads|followers|customers|records|rows|parameters|\w+s\b))",
    "M",
)
def _millions(found: Match) -> str:
    return f"{say(read(found[1]))} million"


@rule(r"(?<![\w.,])(\d{1,15})(?:st|nd|rd|th)(?![\w])", "snrt")
def _ordinal(found: Match) -> str:
    return ordinal(int(found[1]))


@rule(r"(?<![\w&])(?:#|№\s?|\b(?:[Nn]o|[Nn]r)\.\s?)(\d{1,6})(?![\w]|[.,]\d)", "#№.")
def _numbered(found: Match) -> str:
    return f"number {say(read(found[1]))}"


@rule(rf"({NUMBER})\+(?=\s|$|[,.;!?)])", "+")
def _more(found: Match) -> str:
    return f"{say(read(found[1]))} plus"


@rule(r"(?<![\w.,])(?:\d(?:,\d)+)(?![\w]|,?\d)", ",")
def _list(found: Match) -> str | None:
    """1,2,3: figures after one another, while 1,5 alone has a decimal comma."""
    parts = found[0].split(",")
    return ", ".join(cardinal(int(part)) for part in parts) if len(parts) > 2 else None


@rule("[①-⑳⑴-⒇⒈-⒛]", "".join(map(chr, range(0x2460, 0x249C))))
def _circled(found: Match) -> str:
    return f"{cardinal(int(unicodedata.numeric(found[0])))} "


@rule(rf"{NUMBER}|\d+")
def _number(found: Match) -> str:
    return say(read(found[0]))


@rule(
    r"(?<=\d)\s+[xX]\s+(?=\d)|(?<=\d)x(?=\s(?:faster|slower|more|less|as|bigger|larger|smaller|better|the|speed|zoom)\b)",
    "xX",
)
def _times(found: Match) -> str:
    return " times "


@rule(r"\d+")
def _figures(found: Match) -> str:
    """What a number's own rule left of one that overlaps a name."""
    return say(read(found[0]))


SCIENTIFIC: list[Rule] = [_scientific]
POWERS: list[Rule] = [_power]
FRACTIONS: list[Rule] = [_vulgar, _fraction, _letters, _ratio, _score]
COUNTS: list[Rule] = [_ordinal, _numbered, _scaled, _millions, _list, _times]
PLAIN: list[Rule] = [
    _range, _more, _subscript, _give_or_take, _operator, _unary, _sign, _prefix, _symbol, _circled, _number, _figures,
]  # fmt: skip
"""What is left, after names and abbreviations."""
