"""What English reads digit by digit: telephones, codes, rooms, flights, and names with figures in them."""

import re

from voiceagent.tts.normalise.english import cues
from voiceagent.tts.normalise.english.numbers import by_hundreds, cardinal, digits, flat_digits, year
from voiceagent.tts.normalise.spans import Match, Rule, rule
from voiceagent.tts.normalise.telephone import LONG_GROUPS, TELEPHONE, VANITY, is_telephone

_RUNS = re.compile(r"\d+|[A-Za-z]+")


def _telephone(found: Match) -> str | None:
    written = found[0]
    if not is_telephone(written):
        return None
    said = digits(written.replace("+", ""))
    return f"plus {said}" if written.startswith("+") else said


def _vanity(found: Match) -> str:
    return f"{digits(found[1])}, {found[2].replace('-', ' ')}"


@rule(r"(?<![\w.,$£€¥])\d(?:[ -]?\d)+(?![\w%°]|[.,:/]\d|\s?[%°$€£])")
def _dialled(found: Match) -> str | None:
    return digits(found[0]) if cues.is_dialled(found) else None


@rule(r"(?<![\w.,$£€¥/-])(?:\d{1,6}(?:[ -]\d{1,6})+|\d{2,})(?![\w%°]|[.,:/]\d|\s?[%°$€£])")
def _code(found: Match) -> str | None:
    if not cues.is_code(found):
        return None
    return digits(found[0])


@rule(
    r"(?<![\w.@/-])#?(?=[A-Za-z]{0,6}[ -]?\d|\d)(?:[A-Z0-9]{1,4} [0-9][A-Z]{2}|[A-Za-z0-9]+(?:[-/.][A-Za-z0-9]+)*)(?![\w@])"
)
def _mixed_code(found: Match) -> str | None:
    """Letters and digits after a word such as "reference"."""
    written = found[0]
    if not any(char.isdecimal() for char in written) or not any(char.isupper() for char in written):
        return None
    if not cues.is_code(found):
        return None
    groups = [" ".join(filter(None, map(_spelled, _RUNS.findall(part)))) for part in re.split(r"[-/. ]", written)]
    return ", ".join(filter(None, groups))


def _spelled(run: str) -> str:
    return flat_digits(run) if run.isdecimal() else " ".join(run.upper())


@rule(r"(?<![\w])(?:([A-Z]{2}|[A-Z]\d|\d[A-Z])[ -]?)(\d{1,4})(?![\w]|[.,:]\d)")
def _flight(found: Match) -> str | None:
    if not cues.is_flight(found):
        return None
    return f"{digits(found[1])} {flat_digits(found[2])}"


@rule(r"(?<![\w.,/-])(\d{1,5})([A-Z]?)(?![\w]|[.,:/-]\d)")
def _place(found: Match) -> str | None:
    if cues.is_flight(found):
        return flat_digits(found[1])
    if not cues.is_place(found):
        return None
    number = found[1]
    if len(number) == 4 and number[0] != "0" and int(number) % 100:
        said = by_hundreds(int(number))
    elif len(number) >= 3 or number[0] == "0":
        said = flat_digits(number)
    else:
        said = cardinal(int(number))
    return f"{said} {found[2]}".strip()


@rule(r"(?<![\w.,:/$£€¥-])(?<!\d[ \u00a0])(?:0\d+|911|\d{9,}|\d{7,8})(?![\w%]|[.,:/]\d|\s?[%°$€£])")
def _digits_by_shape(found: Match) -> str | None:
    """A zero in front, the number of the emergency call, a number too long to be a count that is not round."""
    number = found[0]
    if number == "911":
        if re.search(r"\bporsche\s+$", cues.tail(found), re.I):
            return "nine eleven"
        return None if cues.counts_something(found) else flat_digits(number)
    if number[0] != "0" and (number.endswith("000") or (len(number) < 9 and cues.counts_something(found))):
        return None
    return flat_digits(number)


@rule(r"(?<![\w.,:/$£€¥-])0\d+(?:-\d+)+(?![\w])")
def _zero_groups(found: Match) -> str:
    return digits(found[0])


@rule(
    r"(?<![A-Za-z0-9_.@#])(?:\d+(?:st|nd|rd|th|[A-Za-z])|[A-Za-z]+-?\d|\d+-[A-Za-z])[A-Za-z0-9]*(?:-[A-Za-z0-9]+)*(?![A-Za-z0-9_])"
)
def _name(found: Match) -> str | None:
    """A name with figures: MP3, COVID-19, X7K9, 221B, 3-year-old, mid-2020."""
    written = found[0]
    counted = re.match(r"(\d+)-([a-z]{2,}.*)", written)
    if counted and not any(char.isdecimal() for char in counted[2]):
        return f"{flat_digits(counted[1]) if counted[1][0] == '0' else cardinal(int(counted[1]))}-{counted[2]}"
    runs = _RUNS.findall(written)
    spell = len(runs) > 3 or (len(runs) == 3 and all(len(run) < 3 or run.isdecimal() for run in runs))
    said: list[str] = []
    for run in runs:
        if not run.isdecimal():
            said.append(" ".join(run.upper()) if spell or len(run) == 1 else run)
        elif spell or run[0] == "0" or len(run) > 4:
            said.append(flat_digits(run))
        elif len(run) == 4 and runs[-1] in ("p", "i"):
            said.append(by_hundreds(int(run)))  # 1080p
        elif len(run) == 4:
            number = int(run)
            as_year = runs[0][:1].islower() and 1100 <= number <= 2099
            said.append(year(number) if as_year else flat_digits(run))
        else:
            said.append(cardinal(int(run)) if len(run) < 3 else flat_digits(run))
    return " ".join(said)


@rule(
    r"(?<![\w:-])(?=[0-9:-]*[A-Fa-f])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![\w:-])|(?<!\w)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?!\w)"
)
def _hexadecimal(found: Match) -> str:
    return digits(found[0])


@rule(r"(?<=\d )(?:x|ext\.?|extn\.?)\s?(\d{1,5})(?![\w])", "x")
def _extension(found: Match) -> str | None:
    return f"extension {flat_digits(found[1])}" if len(re.findall(r"\d", cues.tail(found))) > 6 else None


@rule(r"(?<![\w.,])(\d+)-(on|to|by)-(\d+)(?![\w])")
def _on(found: Match) -> str:
    return f"{cardinal(int(found[1]))} {found[2]} {cardinal(int(found[3]))}"


CODES: list[Rule] = [
    Rule(LONG_GROUPS, lambda found: digits(found[0])),
    _hexadecimal,
    _extension,
    Rule(VANITY, _vanity),
    Rule(TELEPHONE, _telephone),
    _on,
    _dialled,
    _flight,
    _mixed_code,
    _code,
    _place,
    _zero_groups,
    _digits_by_shape,
]
NAMES: list[Rule] = [_name]
"""After units, ordinals and times, which look alike."""
