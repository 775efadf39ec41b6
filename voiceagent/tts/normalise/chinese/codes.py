"""What Chinese reads digit by digit: telephones, codes, rooms, trains, and names with figures in them."""

import re

from voiceagent.tts.normalise.chinese import cues
from voiceagent.tts.normalise.chinese.numbers import cardinal, digits, flat_digits
from voiceagent.tts.normalise.spans import Match, Rule, rule
from voiceagent.tts.normalise.telephone import LONG_GROUPS, TELEPHONE, is_telephone

_START = r"(?<![A-Za-z0-9.,:：/$£€¥￥-])"
_END = r"(?![A-Za-z0-9%‰]|[.,:/-]\d|\s?(?:%|℃|°))"
_RUNS = re.compile(r"\d+|[A-Za-z]+")
YAO = "幺"
"""One in telephone numbers, rooms and trains."""


def _telephone(found: Match) -> str | None:
    if not is_telephone(found[0]) or re.match(f"\\s?(?:{cues.MEASURES})", found.string[found.end() :]):
        return None
    said = digits(found[0].replace("+", ""), one=YAO)
    return f"加{said}" if found[0].startswith("+") else said


@rule(rf"{_START}\(?\d{{2,4}}\)?(?:[ -]?\d{{2,}})*{_END}")
def _dialled(found: Match) -> str | None:
    if not cues.is_dialled(found):
        return None
    return digits(found[0], one=YAO)


@rule(rf"{_START}\d{{1,8}}(?:[ -]\d{{1,8}})+{_END}|(?<![A-Za-z0-9.,:：/$£€¥￥-])\d{{2,}}[Xx]?{_END}")
def _code(found: Match) -> str | None:
    return digits(found[0]) if cues.is_code(found) else None


@rule(r"(?<![A-Za-z0-9_.@#/-])(?=[A-Z0-9-]*\d)[A-Z0-9]{2,}(?:-[A-Z0-9]+)*(?![A-Za-z0-9_@])")
def _mixed_code(found: Match) -> str | None:
    if not (cues.is_code(found) or cues.is_flight(found)):
        return None
    train = found[0][0] in "GDCKTZ" and found[0][1:].isdecimal()
    return " ".join(digits(found[0], one=YAO if train else "一").split())


@rule(rf"{_START}([A-Z]?)(\d{{3,4}}){_END}")
def _room(found: Match) -> str | None:
    if not cues.is_room(found):
        return None
    return f"{found[1]} {flat_digits(found[2], one=YAO)}".strip()


@rule(rf"{_START}(?:0\d+|\d{{9,}}|12306|12345|12315|10086|10010|10000|955\d\d){_END}")
def _by_shape(found: Match) -> str | None:
    number = found[0]
    if number[0] != "0":
        counted = re.match(f"\\s?(?:{cues.MEASURES})", found.string[found.end() :])
        if counted or (number.endswith("000")):
            return None
    return flat_digits(number, one=YAO if len(number) == 5 else "一")


@rule(rf"{_START}0\d+(?:-\d+)+{_END}")
def _zero_groups(found: Match) -> str:
    return digits(found[0])


@rule(r"(?<![A-Za-z0-9_.@#])(?:\d+[A-Za-z]|[A-Za-z]+[- ]?\d)[A-Za-z0-9]*(?:-[A-Za-z0-9]+)*(?![A-Za-z0-9_]|\.\d)")
def _name(found: Match) -> str | None:
    """A name with figures: A1, COVID-19, iPhone 15, X7K9."""
    written = found[0]
    if written.startswith(("v", "V")) and written[1:].isdecimal():
        return f"V {cardinal(int(written[1:]))}"
    runs = _RUNS.findall(written)
    spell = len(runs) > 3
    said: list[str] = []
    for run in runs:
        if not run.isdecimal():
            said.append(" ".join(run.upper()) if spell else run)
        else:
            said.append(flat_digits(run) if spell or run[0] == "0" or len(run) > 2 else cardinal(int(run)))
    return " ".join(said)


CODES: list[Rule] = [
    Rule(LONG_GROUPS, lambda found: digits(found[0])),
    Rule(TELEPHONE, _telephone),
    _dialled,
    _mixed_code,
    _code,
    _room,
    _zero_groups,
    _by_shape,
]
NAMES: list[Rule] = [_name]
