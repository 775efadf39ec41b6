"""Quantities with a unit or a percent sign in English."""

import re

from voiceagent.tts.normalise.english.numbers import by_hundreds, cardinal, fraction, plural, say
from voiceagent.tts.normalise.numerals import NUMBER, VULGAR, read
from voiceagent.tts.normalise.spans import Match, Rule, rule

UNITS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer", "μm": "micrometer",
    "nm": "nanometer", "mi": "mile", "ft": "foot", "yd": "yard", "kg": "kilogram", "g": "gram", "mg": "milligram",
    "µg": "microgram", "μg": "microgram", "mcg": "microgram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "t": "ton", "L": "liter", "l": "liter", "dl": "deciliter", "dL": "deciliter", "cl": "centiliter",
    "ml": "milliliter", "mL": "milliliter", "gal": "gallon", "h": "hour", "hr": "hour", "hrs": "hour",
    "min": "minute", "mins": "minute", "s": "second", "sec": "second", "secs": "second", "ms": "millisecond",
    "µs": "microsecond", "μs": "microsecond", "ns": "nanosecond", "°C": "degree Celsius", "℃": "degree Celsius",
    "°F": "degree Fahrenheit", "℉": "degree Fahrenheit", "°": "degree", "K": "kelvin", "Hz": "hertz", "kHz": "kilohertz",
    "MHz": "megahertz", "GHz": "gigahertz", "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte",
    "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte",
    "kbps": "kilobit per second", "Mbps": "megabit per second", "Gbps": "gigabit per second",
    "Mbit/s": "megabit per second", "Gbit/s": "gigabit per second", "MB/s": "megabyte per second",
    "W": "watt", "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "Wh": "watt hour", "kWh": "kilowatt hour",
    "MWh": "megawatt hour", "V": "volt", "kV": "kilovolt", "mV": "millivolt", "A": "amp", "mA": "milliamp",
    "Ah": "amp hour", "mAh": "milliamp hour", "J": "joule", "kJ": "kilojoule", "kcal": "kilocalorie", "cal": "calorie",
    "Pa": "pascal", "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal", "bar": "bar", "mbar": "millibar",
    "psi": "P S I", "N": "newton", "kN": "kilonewton", "Nm": "newton meter", "dB": "decibel", "Ω": "ohm", "kΩ": "kilohm",
    "lm": "lumen", "lx": "lux", "ha": "hectare", "mph": "mile per hour", "kph": "kilometer per hour",
    "kmh": "kilometer per hour", "mpg": "mile per gallon", "rpm": "R P M", "bpm": "beat per minute",
    "fps": "frame per second", "dpi": "D P I", "px": "pixel", "pt": "point", "MP": "megapixel", "mol": "mole",
    "mmol": "millimole", "mmHg": "millimeter of mercury", "tbsp": "tablespoon", "tsp": "teaspoon", "bn": "billion",
    "sqft": "square foot", "sq ft": "square foot", "sq. ft.": "square foot", "sq m": "square meter",
    "sq km": "square kilometer", "sq mi": "square mile", "fl oz": "fluid ounce", "cc": "C C", "ppm": "part per million",
    "IU": "I U", "eV": "electron volt", "ly": "light year", "kn": "knot", "㎡": "square meter", "㎞": "kilometer",
    "㎏": "kilogram", "㎝": "centimeter", "㎜": "millimeter", "㎎": "milligram", "m³": "cubic meter", "in": "inch", "w": "watt",
}  # fmt: skip
_AMBIGUOUS = frozenset("A K N J V W t w ly bar pt h s m g l L".split())
"""With a space before them, these may be something else: a name, or a word."""
_SPACED = frozenset("t w ly A K".split())
_TIGHT = frozenset(["in"])
"""A word of its own after a space."""
_UNCHANGED = frozenset(
    ["hertz", "kilohertz", "megahertz", "gigahertz", "lux", "P S I", "R P M", "D P I", "C C", "I U", "kelvin"]
)
_PER = {"h": "hour", "hr": "hour", "s": "second", "sec": "second", "min": "minute", "d": "day", "day": "day"}
UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_EXPONENT = {"²": "square", "2": "square", "^2": "square", "³": "cubic", "3": "cubic", "^3": "cubic"}
_POWERED = frozenset("km m cm mm mi ft yd nm µm in".split())
_RANGE = r"(?:\s?(-|–|—|~|to|\+/-|±)\s?(?=[\d.]))"
_VULGAR = "".join(VULGAR)
_WINDS = {"N": " north", "S": " south", "E": " east", "W": " west"}


def many(name: str) -> str:
    """The plural: the head of the name, before "per", "of" and a temperature's scale."""
    if name in _UNCHANGED:
        return name
    head, joint, rest = name, "", ""
    for joint in (" per ", " of ", " Celsius", " Fahrenheit"):
        if joint in name:
            head, _, rest = name.partition(joint)
            return f"{many(head)}{joint}{rest}"
    if head.endswith("foot"):
        return f"{head.removesuffix('foot')}feet"
    return plural(head)


@rule(
    rf"(?<![\w.,$£€¥/])(?<![\w)][-−])(?:([-−+±~≈])\s?)?({NUMBER})([{_VULGAR}]?)(?:(?:\s?(?:{UNIT}))?{_RANGE}({NUMBER}))?([ \u00a0\u202f-]?)({UNIT})"
    r"(²|³|\^?[23](?![\d.]))?(?:\s?/\s?([A-Za-zµμ]+)(²|\^?2)?)?(?![\w°]|'[a-z])"
)
def _unit(found: Match) -> str | None:
    sign, first, vulgar, joint, second, gap, unit, power, below, below_power = found.groups()
    if gap and unit in _AMBIGUOUS and (unit in _SPACED or unit.isupper()) and below is None and power is None:
        after = found.string[found.end() : found.end() + 1]
        if unit in _SPACED or (after and after not in ".,;:!?)"):
            return None
    if (gap and unit in _TIGHT) or (gap == "-" and unit in _AMBIGUOUS):
        return None
    if not gap and unit in _SPACED and not below:
        return None
    if power and unit not in _POWERED:
        return None
    name = UNITS[unit]
    if power:
        name = f"{_EXPONENT[power]} {name}"
    if below:
        divisor = _PER.get(below) or UNITS.get(below)
        if divisor is None:
            return None
        name = f"{name} per {divisor}{' squared' if below_power else ''}"
    number = read(first)
    last = read(second) if second else number
    value = say(number)
    if vulgar:
        value += f" and {a_fraction(vulgar)}"
    joined = f" {'plus or minus' if joint in ('±', '+/-') else 'to'} {say(last)}" if second else ""
    one = last.is_one and not vulgar and not second
    if _describes(found, gap) and not second and not power and not below:
        one = True
    return f"{_sign(sign)}{value}{joined} {name if one else many(name)}"


def _describes(found: Match, gap: str) -> bool:
    """ "a 5 km run": the unit belongs to what follows."""
    before, after = found.string[: found.start()], found.string[found.end() :]
    article = re.search(r"\b(?:an?|every|each)\s$", before, re.I) is not None
    follows = re.match(r"\s[a-z]{3,}", after) is not None and not re.match(
        r"\s(?:and|or|from|per|away|later|ago|is)\b", after
    )
    return (article or gap == "-") and follows


def _sign(sign: str | None) -> str:
    return {"-": "minus ", "−": "minus ", "+": "plus ", "±": "plus or minus ", "~": "about ", "≈": "about "}.get(
        sign or "", ""
    )


def a_fraction(vulgar: str) -> str:
    top, bottom = VULGAR[vulgar]
    return fraction(top, bottom).replace("one ", "a ", 1) if top == 1 else fraction(top, bottom)


@rule(
    rf"(?<![\w.,$£€¥])(?<![\w)%][-−])(?:([-−+±~≈])\s?)?({NUMBER})\s?(%|‰)?(?:{_RANGE}({NUMBER}))?\s?(%|‰|percentage points|pct\b)",
    "%‰p",
)
def _percent(found: Match) -> str:
    sign, first, _, joint, second, mark = found.groups()
    name = "per mille" if mark == "‰" else "percentage points" if mark.startswith("perc") else "percent"
    middle = "plus or minus" if joint in ("±", "+/-") else "to"
    joined = f" {middle} {say(read(second))}" if second else ""
    return f"{_sign(sign)}{say(read(first))}{joined} {name}"


@rule(r"(?<![\w.,])(\d{1,2})\s?['’′]\s?(?:(\d{1,2})\s?(?:[\"”″]|''))?(?![\w'’])", "'’′")
def _feet(found: Match) -> str | None:
    if found[2] is None and found[0][-1] not in "'′":
        return None
    if found[2] is None and "'" in found.string[: found.start()]:
        return None  # a closing quote
    inches = f" {cardinal(int(found[2]))}" if found[2] else ""
    return f"{cardinal(int(found[1]))} {'foot' if found[1] == '1' or inches else 'feet'}{inches}"


@rule(rf"(?<![\w.,\"])({NUMBER})\s?(?:″|\"(?=\s[a-z]|\s?[x×]))(?![\w])", '"″')
def _inches(found: Match) -> str | None:
    if found[0].endswith('"') and found.string[: found.start()].count('"') % 2:
        return None  # a closing quote
    number = read(found[1])
    return f"{say(number)} {'inch' if number.is_one or found.string[found.end() :][:1] == ' ' else 'inches'}"


@rule(r"(?<![\w.,])(\d{1,3}\.\d+)°\s?([NSEW])(?![A-Za-z])", "°")
def _decimal_coordinates(found: Match) -> str:
    return f"{say(read(found[1]))} degrees{_WINDS[found[2]]}"


@rule(r"(\d{1,3})°\s?(\d{1,2})['′](?:\s?(\d{1,2}(?:\.\d+)?)[\"″])?\s?([NSEW])?(?![A-Za-z])", "°")
def _coordinates(found: Match) -> str:
    said = f"{cardinal(int(found[1]))} degrees {cardinal(int(found[2]))} minutes"
    seconds = f" {say(read(found[3]))} seconds" if found[3] else ""
    return said + seconds + _WINDS.get(found[4] or "", "")


@rule(
    rf"(?<![\w.,$£€¥/])({NUMBER})\s?(?:x|×|X|\*(?=\d))\s?({NUMBER})(?:\s?(?:x|×|X)\s?({NUMBER}))?"
    rf"(?:\s?({UNIT}|inches|feet)(?![\w]))?(?![\w.^⁰¹²³⁴⁵⁶⁷⁸⁹⁻]\d?|\s?=)",
    "xX×",
)
def _sizes(found: Match) -> str | None:
    """1920x1080, 3 × 4 m: a size; with spaces and without a unit it is a product."""
    numbers = [read(part) for part in found.groups()[:3] if part]
    unit = found[4]
    if unit is None and (" " in found[0] or "×" in found[0] or "*" in found[0]):
        return None
    tight = unit is None
    joint = " by " if tight or unit in _POWERED or unit.startswith(("in", "feet", "px")) else " times "
    said = joint.join(by_hundreds(n.value) if tight and n.decimals is None else say(n) for n in numbers)
    return f"{said} {many(UNITS.get(unit, unit)) if unit in UNITS else unit}" if unit else said


@rule(r"(?<![\w.,/])(\d{2,3})/(\d{2,3})(?:\s?(mmHg|mm Hg))", "/")
def _pressure(found: Match) -> str:
    return f"{cardinal(int(found[1]))} over {cardinal(int(found[2]))} millimeters of mercury"


MEASURES: list[Rule] = [_decimal_coordinates, _coordinates, _pressure, _percent, _feet, _inches, _sizes, _unit]
