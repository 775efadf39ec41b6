"""Numbers without a unit in Chinese: counts, fractions, ratios, formulas, ranges, and plain ones."""

import re
import unicodedata

from voiceagent.tts.normalise.chinese.cues import MEASURES
from voiceagent.tts.normalise.chinese.dates import is_ratio
from voiceagent.tts.normalise.chinese.numbers import cardinal, count, flat_digits, say
from voiceagent.tts.normalise.latex import FormulaWords
from voiceagent.tts.normalise.numerals import NUMBER, SUBSCRIPTS, SUPERSCRIPTS, VULGAR, read, roman
from voiceagent.tts.normalise.spans import Match, Rule, rule

FORMULA_WORDS = FormulaWords(
    over="{b}分之{a}",
    root="根号{a}",
    nth_root="{a}的{b}次方根",
    power="{a}的{b}次方",
    square="{a}的平方",
    cube="{a}的立方",
    index="{a}{b}",
    names={
        "sum": "求和",
        "prod": "求积",
        "int": "积分",
        "partial": "偏",
        "lim": "极限",
        "pi": "派",
        "alpha": "阿尔法",
        "beta": "贝塔",
    },
)
_SIGNS = {
    "+": "加", "-": "减", "−": "减", "*": "乘", "×": "乘", "·": "乘", "÷": "除以", "/": "除以", "=": "等于", "==": "等于",
    "≠": "不等于", "!=": "不等于", "≥": "大于等于", ">=": "大于等于", "⩾": "大于等于", "≤": "小于等于", "<=": "小于等于",
    "⩽": "小于等于", ">": "大于", "<": "小于", "≫": "远大于", "≪": "远小于", "≈": "约等于", "≅": "约等于", "≡": "恒等于",
    "±": "正负", "→": "到", "⟶": "到", "➜": "到", "⇒": "推出", "->": "到", "=>": "推出", "↔": "互通", "⇔": "等价于",
    "←": "来自", "∈": "属于", "∉": "不属于", "∪": "并", "∩": "交", "⊂": "包含于", "∝": "正比于",
}  # fmt: skip
_POINTS = "±≠≥⩾≤⩽≫≪≈≅≡→⟶➜⇒↔⇔←∈∉∪∩⊂∝÷×"
_NAMES = {
    "∞": "无穷大",
    "π": "派",
    "√": "根号",
    "∛": "立方根",
    "∑": "求和",
    "Δ": "德尔塔",
    "№": "第",
    "°": "度",
    "§": "第",
}
_VULGAR = "".join(VULGAR)
_START = r"(?<![A-Za-z0-9.,])"
_END = r"(?![A-Za-z0-9]|[.,:：]\d)"
_TO = r"\s?(?:-|–|—|－|~|～|到|至)\s?"


@rule(rf"{_START}([-−]?)(\d+)?\s?([{_VULGAR}])", _VULGAR)
def _vulgar(found: Match) -> str:
    top, bottom = VULGAR[found[3]]
    said = f"{cardinal(bottom)}分之{cardinal(top)}"
    said = f"{cardinal(int(found[2]))}又{said}" if found[2] else said
    return f"负{said}" if found[1] else said


@rule(r"(?<![A-Za-z0-9.,/])(?:(\d{1,3})[ ])?(\d{1,4})\s?[/⁄]\s?(\d{1,4})(?![A-Za-z0-9/]|[.,]\d|\s?[=%])", "/⁄")
def _fraction(found: Match) -> str | None:
    if int(found[3]) < 2:
        return None
    said = f"{cardinal(int(found[3]))}分之{cardinal(int(found[2]))}"
    return f"{cardinal(int(found[1]))}又{said}" if found[1] else said


@rule(r"(?<![A-Za-z0-9.,:：])(\d{1,5})\s?[:：∶]\s?(\d{1,5})(?:\s?[:：∶]\s?(\d{1,5}))?(?![A-Za-z0-9:：]|[.,]\d)", ":：∶")
def _ratio(found: Match) -> str:
    return "比".join(cardinal(int(part)) for part in found.groups() if part)


@rule(r"(?<![A-Za-z0-9.,:-])(\d{1,3})[-–](\d{1,3})(?![A-Za-z0-9-]|[.,:/]\d)", "-–")
def _score(found: Match) -> str | None:
    return f"{cardinal(int(found[1]))}比{cardinal(int(found[2]))}" if is_ratio(found) else None


@rule(
    rf"{_START}([-−]?{NUMBER})(?:[eE]([-+−]?\d+)|\s?[×x*·]\s?10(?:\^|\*\*)?\{{?([-+−]?\d+|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+)\}}?)(?![A-Za-z0-9])"
)
def _scientific(found: Match) -> str | None:
    exponent = (found[2] or found[3]).translate(SUPERSCRIPTS)
    if found[3] and found[3].isdecimal() and "^" not in found[0] and "**" not in found[0] and found[3] == exponent:
        return None
    return f"{say(read(found[1]))}乘以十的{say(read(exponent))}次方"


@rule(
    rf"{_START}({NUMBER}|[A-Za-z]{{1,2}}|\))(?:\s?(?:\*\*|\^)\s?[\{{(]?([-−+]?(?:\d+(?:\.\d+)?|[A-Za-z]))[\}})]?|([⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+))(?![A-Za-z0-9])",
    "*^⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ",
)
def _power(found: Match) -> str:
    base = say(read(found[1])) if found[1][0].isdecimal() or found[1][0] == "." else found[1]
    exponent = found[2] or found[3].translate(SUPERSCRIPTS).replace("ⁿ", "n")
    if base[0].isascii() and exponent in ("2", "3"):
        return f"{base}的{'平方' if exponent == '2' else '立方'}"
    return f"{base}的{say(read(exponent)) if exponent[-1].isdecimal() else exponent}次方"


@rule(r"(?<=[A-Za-z)])([₀₁₂₃₄₅₆₇₈₉]+)", "₀₁₂₃₄₅₆₇₈₉")
def _subscript(found: Match) -> str:
    return cardinal(int(found[1].translate(SUBSCRIPTS)))


@rule(r"(?<=[\w)\]%²³])\s*([+*/−]|==?|!=|>=|<=|=>|->|<|>|-|·)\s*(?=[\w(√π−-])", "+*/−=!<>-·")
def _operator(found: Match) -> str | None:
    """A sign between two terms, of which one is a figure or both are letters."""
    sign, text = found[1], found.string
    left, right = text[: found.start()][-1:], text[found.end() :][:1]
    figures = left.isdecimal() or right.isdecimal()
    letters = left.isascii() and right.isascii()
    formula = re.search(r"[=<>≤≥≈≠+*×÷]", text[: found.start()][-30:] + text[found.end() :][:30]) is not None
    match sign:
        case "-" | "−" | "/":
            if not (formula and figures):
                return None
        case "+":
            if not figures and not (formula and letters):
                return None
        case "*" | "·":
            if not (figures or letters):
                return None
    return _SIGNS[sign]


@rule(rf"\s*([{_POINTS}])️?\s*", _POINTS)
def _sign(found: Match) -> str:
    if found[1] == "≈" and not found.string[: found.start()].strip():
        return "约"
    return _SIGNS[found[1]]


@rule("[∞π√∛∑Δ№°§]", "∞π√∛∑Δ№°§")
def _symbol(found: Match) -> str:
    return _NAMES[found[0]]


@rule(rf"{_START}({NUMBER})\+(?![\d=A-Za-z+])", "+")
def _more(found: Match) -> str:
    counted = re.match(f"\\s?(?:{MEASURES})", found.string[found.end() :])
    return f"{say(read(found[1]))}{'多' if counted else '以上'}"


@rule(r"(?<![A-Za-z0-9.,)πα-ω])([-−－+±~～≈<>]|[<>]=)\s?(?=[\d.]\d*)", "-−－+±~～≈<>")
def _unary(found: Match) -> str:
    return {**_SIGNS, "-": "负", "−": "负", "－": "负", "+": "正", "±": "正负", "~": "约", "～": "约", "≈": "约"}[
        found[1]
    ]


@rule(rf"{_START}(第|初|星期|周|礼拜)\s?(\d+)(?:{_TO}(\d+))?", "第初星周礼")
def _ordinal(found: Match) -> str:
    last = f"到{cardinal(int(found[3]))}" if found[3] else ""
    return f"{found[1]}{cardinal(int(found[2]))}{last}"


@rule(r"(?<![A-Za-z])(?:[Nn]o\.?\s?|#|№\s?)(\d{1,5})(?![A-Za-z0-9]|[.,]\d)", "oO.#№")
def _numbered(found: Match) -> str:
    return f"第{cardinal(int(found[1]))}"


@rule(
    rf"{_START}({NUMBER})\s?(万亿|百万|千万|[万亿])?(余|多|来|几)?(?:{_TO}({NUMBER})\s?(万亿|百万|千万|[万亿])?(余|多|来|几)?)?\s?({MEASURES})"
)
def _counted(found: Match) -> str | None:
    first, scale, more, second, second_scale, second_more, measure = found.groups()
    text = found.string
    before = text[: found.start()]
    if more == "几" and first.endswith("0"):
        return f"{cardinal(int(first))}几{measure}"
    if measure == "两" or (before.endswith(("-", "−")) and not second):
        return f"{say(read(first))}{scale or ''}{more or ''}{measure}"
    if (measure == "层" and before.endswith(("在", "住", "到"))) or measure == "分钱":
        return f"{say(read(first))}{measure}"
    head = (
        (count(read(first)) if not before.endswith(("第", "负")) else say(read(first))) + (scale or "") + (more or "")
    )
    if not second:
        return head + measure
    return f"{head}到{count(read(second))}{second_scale or ''}{second_more or ''}{measure}"


@rule(rf"{_START}({NUMBER})\s?(万亿|百万|千万|[万亿])(?:{_TO}({NUMBER})\s?(万亿|百万|千万|[万亿]))?")
def _scaled(found: Match) -> str:
    said = count(read(found[1])) + found[2]
    return f"{said}到{count(read(found[3]))}{found[4]}" if found[3] else said


@rule(rf"{_START}({NUMBER}){_TO}({NUMBER}){_END}", "-–—－~～到至")
def _range(found: Match) -> str | None:
    if "=" in found.string and re.search("[-–—]", found[0]):
        return None  # a difference
    return f"{say(read(found[1]))}到{say(read(found[2]))}"


@rule(rf"{_START}(\d+)(?=号?(?:楼|单元|栋|幢|路|号线|班|级|组|号|房|床|库|区|环))")
def _numbered_place(found: Match) -> str:
    return cardinal(int(found[1])) if len(found[1]) < 3 else flat_digits(found[1], one="幺")


@rule(
    r"(?<![A-Za-z])([IVXLC]{1,7})(?=[章节卷部编条款篇世期代级型])|(?<=第)([IVXLC]{1,7})|([\u2160-\u2188]+)",
    "IVXLC" + "".join(map(chr, range(0x2160, 0x2189))),
)
def _roman(found: Match) -> str | None:
    value = roman(unicodedata.normalize("NFKC", found[0]).upper())
    if value is None or (found[1] == "C"):
        return None
    return cardinal(value)


@rule("[①-⑳⑴-⒇⒈-⒛]", "".join(map(chr, range(0x2460, 0x249C))))
def _circled(found: Match) -> str:
    return cardinal(int(unicodedata.numeric(found[0])))


@rule(rf"{NUMBER}|\d+")
def _number(found: Match) -> str:
    return say(read(found[0]))


@rule(r"(?<![A-Za-z0-9.])(v|V|版本\s?)?(\d+(?:\.\d+){1,})(?![A-Za-z0-9]|\.\d)", ".")
def _version(found: Match) -> str | None:
    parts = found[2].split(".")
    if not found[1] and (len(parts) < 3 or all(len(part) == 3 for part in parts[1:])):
        return None
    name = "" if not found[1] else "V " if found[1] in "vV" else found[1]
    return name + "点".join(cardinal(int(part)) if part[0] != "0" else flat_digits(part) for part in parts)


@rule(r"(?<![A-Za-z])([A-GJ])#(?![A-Za-z])|(?<![A-Za-z])([A-Za-z])\+\+|(?<![A-Za-z])(ASP)?\.NET", "#+N")
def _software(found: Match) -> str:
    if found[1]:
        return f"{found[1]} sharp"
    return f"{found[2]} 加加" if found[2] else f"{found[3] or ''} dot NET".strip()


@rule(r"\d+")
def _figures(found: Match) -> str:
    """What a number's own rule left of one that overlaps a name."""
    return say(read(found[0]))


FRACTIONS: list[Rule] = [_vulgar, _fraction, _ratio, _score]
SCIENTIFIC: list[Rule] = [_scientific]
POWERS: list[Rule] = [_power]
SOFTWARE: list[Rule] = [_software]
VERSIONS: list[Rule] = [_version]
COUNTS: list[Rule] = [_roman, _ordinal, _numbered, _counted, _scaled, _numbered_place]
PLAIN: list[Rule] = [_more, _range, _subscript, _operator, _unary, _sign, _symbol, _circled, _number, _figures]
