"""Formulas in LaTeX, put into words. What is left of figures and signs is read by the language's own rules."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from voiceagent.tts.normalise.spans import Match, Rule

FORMULA = re.compile(
    r"\$\$(.+?)\$\$"
    r"|\\\[(.+?)\\\]"
    r"|\\\((.+?)\\\)"
    r"|(?<![\\$\w])\$(?=[^\s$])((?=[^$]*[\\^_=+<>{}*/|-]|[A-Za-z]{1,2}\$)(?!\d[\d.,]*[kKmMbB]?\s)[^$\n]{1,300}?)(?<=\S)\$(?!\d|\w)",
    re.S,
)
"""Between dollars only what has a formula's signs, so that two prices are none."""

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\d+(?:[.,]\d+)*|[A-Za-z]+|\s+|.", re.S)
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
).split()
_SILENT = frozenset(
    "left right big Big bigg Bigg displaystyle textstyle limits quad qquad begin end nonumber mathrm mathbf mathit "
    "mathbb mathcal text textbf textit operatorname boxed hline vec bar hat tilde overline boldsymbol rm".split()
)
_SIGNS = {
    "times": "×", "cdot": "×", "div": "÷", "pm": "±", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥", "neq": "≠",
    "ne": "≠", "approx": "≈", "sim": "~", "equiv": "≡", "infty": "∞", "to": "→", "rightarrow": "→", "Rightarrow": "→",
    "implies": "→", "lt": "<", "gt": ">", "degree": "°", "circ": "°", "ldots": "…", "cdots": "…", "dots": "…", "%": "%",
    "$": "$", "&": "&", "#": "#", "_": " ", ",": "", ";": " ", "!": "", ":": " ", " ": " ", "\\": " ", "{": "", "}": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FormulaWords:
    """How a language says what has no sign: templates with `a` and `b`."""

    over: str
    root: str
    nth_root: str
    power: str
    square: str
    cube: str
    index: str
    names: dict[str, str]


class _Reader:
    """Reads one formula from its tokens. Never fails: what it does not know, it leaves out."""

    def __init__(self, formula: str, words: FormulaWords) -> None:
        self._tokens = _TOKEN.findall(formula)
        self._at = 0
        self._words = words

    def read(self) -> str:
        return " ".join(self._until("").split())

    def _until(self, end: str) -> str:
        said: list[str] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token == end:
                break
            if token in ("^", "_"):
                base = said.pop().rstrip() if said else ""
                said.append(self._script(token, base))
            else:
                said.append(self._one(token))
        return "".join(said)

    def _script(self, mark: str, base: str) -> str:
        script = self._group()
        words = self._words
        if mark == "_":
            return f"{words.index.format(a=base, b=script)} " if script else base
        if script == "°":
            return f"{base}°"
        template = {"2": words.square, "3": words.cube}.get(script, words.power)
        return f"{template.format(a=base, b=script)} "

    def _group(self) -> str:
        """The next token, or all between the next braces."""
        while self._at < len(self._tokens) and self._tokens[self._at].isspace():
            self._at += 1
        if self._at >= len(self._tokens):
            return ""
        token = self._tokens[self._at]
        self._at += 1
        return (self._until("}") if token == "{" else self._one(token)).strip()

    def _one(self, token: str) -> str:
        if token == "{":
            return self._until("}")
        if token in ("}", "&"):
            return " "
        if not token.startswith("\\") or len(token) == 1:
            return token
        return self._command(token[1:])

    def _command(self, name: str) -> str:
        words = self._words
        match name:
            case "frac" | "dfrac" | "tfrac" | "cfrac":
                top, bottom = self._group(), self._group()
                if top.isdecimal() and bottom.isdecimal():
                    return f" {top}/{bottom} "
                return f" {words.over.format(a=top, b=bottom)} "
            case "sqrt":
                degree = ""
                if self._at < len(self._tokens) and self._tokens[self._at] == "[":
                    self._at += 1
                    degree = self._until("]").strip()
                inner = self._group()
                return f" {(words.nth_root if degree else words.root).format(a=inner, b=degree)} "
            case "begin" | "end":
                self._group()
                return " "
            case _ if name in _SIGNS:
                return f" {_SIGNS[name]} " if name.isalpha() and name not in ("degree", "circ") else _SIGNS[name]
            case _ if name in _SILENT:
                return ""
            case _ if name in words.names:
                return f" {words.names[name]} "
            case _ if name.lower() in _GREEK:
                return f" {name.lower()} "
            case _:
                return f" {name} " if name.isalpha() else ""


def formula_rule(words: FormulaWords, say: Callable[[str], str]) -> Rule:
    """The rule for formulas of one language; `say` reads the figures and signs that are left."""

    def formula(found: Match) -> str:
        return say(_Reader(next(filter(None, found.groups())), words).read())

    return Rule(FORMULA, formula, "$\\")


def bare_rule(words: FormulaWords, say: Callable[[str], str]) -> Rule:
    """A command without marks around it: \\frac{1}{2}."""
    pattern = re.compile(
        r"\\(?:[dt]?frac|sqrt)(?:\[[^\]]*\])?(?:\{[^{}]*\}){1,2}|\\(?:times|cdot|pm|leq?|geq?|neq?|approx|pi|alpha|beta)\b"
    )
    return Rule(pattern, lambda found: say(_Reader(found[0], words).read()), "\\")
