"""Dates, years and times of day in English."""

import re

from voiceagent.tts.normalise.english import cues
from voiceagent.tts.normalise.english.numbers import cardinal, ordinal, plural_year, year
from voiceagent.tts.normalise.spans import Match, Rule, rule

MONTHS = ("January February March April May June July August September October November December").split()
_BY_NAME = {name[:3].lower(): name for name in MONTHS}
_MONTH = (
    r"(January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\.?)"
)
_DAY = r"(3[01]|[12]\d|0?[1-9])"
_YEAR = r"((?:1[0-9]|20|21)\d\d)"
_DASH = r"\s?[-–—]\s?"
_FREE = r"(?<![\w.,:/$£€¥-])"
_END = r"(?![\w]|[.,:/-]\d)"
_DAYS = r"(?:(Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri|Sat|Sun)(?:\.,?|,))\s"


def _month(written: str) -> str:
    return _BY_NAME[written[:3].lower()]


def _date(month: int, day: int, in_year: int | None) -> str | None:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{MONTHS[month - 1]} {ordinal(day)}" + (f", {year(in_year)}" if in_year is not None else "")


@rule(
    rf"{_FREE}{_YEAR}([-/.])(\d{{1,2}})\2(\d{{1,2}})(?:[T ](\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?)?(?![\w]|[,:/]\d|[.-]\d)"
)
def _iso(found: Match) -> str | None:
    said = _date(int(found[3]), int(found[4]), int(found[1]))
    if said is None or not found[5]:
        return said
    zone = " U T C" if found[8] == "Z" else ""
    return f"{said}, at {clock(int(found[5]), int(found[6]))}{zone}"


@rule(rf"{_FREE}(\d{{1,2}})([/.-])(\d{{1,2}})\2((?:19|20)?\d\d){_END}")
def _numeric(found: Match) -> str | None:
    """12/25/2026 in America, 25/12/2026 and 25.12.2026 elsewhere; with slashes the month is first where it can be."""
    first, second, written = int(found[1]), int(found[3]), found[4]
    if len(written) == 2 and found[2] != "/":
        return None
    in_year = int(written) if len(written) == 4 else 2000 + int(written)
    month, day = (second, first) if found[2] == "." or first > 12 else (first, second)
    return _date(month, day, in_year)


_DATE_CUE = re.compile(
    r"\b(?:on|by|until|till|since|due|before|after|from|date|dated|of|for|(?:mon|tues|wednes|thurs|fri|satur|sun)day,?)\s+$",
    re.I,
)


@rule(rf"{_FREE}(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])(?:{_DASH}(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01]))?{_END}", "/")
def _short(found: Match) -> str | None:
    """12/25: a date after words such as "on", or where it can be no fraction that anyone would write."""
    month, day = int(found[1]), int(found[2])
    likely = _DATE_CUE.search(cues.tail(found)) is not None or found[3] is not None
    if (month, day) == (9, 11):
        return "nine eleven"
    if not likely and (month >= day or day in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20)):
        return None
    if re.search(r"\b(?:of|for)\s+$", cues.tail(found), re.I) and month < day and day in (2, 3, 4, 5, 8, 10):
        return None
    said = _date(month, day, None)
    return f"{said} to {_date(int(found[3]), int(found[4]), None)}" if found[3] else said


@rule(rf"{_FREE}(0?[1-9]|1[0-2])/((?:19|20)\d\d){_END}", "/")
def _month_year(found: Match) -> str:
    return f"{MONTHS[int(found[1]) - 1]} {year(int(found[2]))}"


@rule(
    rf"\b(?:{_DAYS})?{_MONTH}\s{_DAY}(?:st|nd|rd|th)?(?:(?:{_DASH}|\s(?:to|and)\s){_DAY}(?:st|nd|rd|th)?)?"
    rf"(?:,?\s{_YEAR})?(?![\w/%:]|[.,:/-]\d|\s?[ap]\.?m\b)"
)
def _month_day(found: Match) -> str:
    said = f"{_month(found[2])} {ordinal(int(found[3]))}"
    if found[4]:
        said += f" {'and' if ' and ' in found[0] else 'to'} {ordinal(int(found[4]))}"
    if found[1]:
        said = f"{_weekday(found[1])}, {said}"
    return said + (f", {year(int(found[5]))}" if found[5] else "")


@rule(
    r"\b(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\.?\s?[-–—]\s?(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\.?(?![A-Za-z])",
    "-–—",
)
def _weekdays(found: Match) -> str:
    return f"{_weekday(found[1])} to {_weekday(found[2])}"


def _weekday(written: str) -> str:
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return next(name for name in names if name.startswith(written[:3]))


@rule(
    rf"{_FREE}{_DAY}(?:st|nd|rd|th)?(?:{_DASH}{_DAY}(?:st|nd|rd|th)?)?[ -](?:of )?{_MONTH}(?:,?[ -]{_YEAR})?(?![A-Za-z0-9])"
)
def _day_month(found: Match) -> str | None:
    if (
        found[0][-3:].lower() == "may"
        and " of" not in found[0]
        and not re.search(r"\d\s?(?:st|nd|rd|th)?\s?May$", found[0])
    ):
        return None
    month = _month(found[3])
    of = "of " if " of " in found[0] else ""
    days = ordinal(int(found[1])) + (f" to {ordinal(int(found[2]))}" if found[2] else "")
    said = f"{days} {of}{month}" if of or found[2] else f"{month} {days}"
    return said + (f", {year(int(found[4]))}" if found[4] else "")


@rule(rf"\b{_MONTH}(,?)\s{_YEAR}(?![\w]|[.,:/-]\d)")
def _month_in_year(found: Match) -> str:
    return f"{_month(found[1])}{found[2]} {year(int(found[3]))}"


# -- times --------------------------------------------------------------------------------------------------------------

_HALF = r"(?:\s?([AaPp])\.?\s?[Mm](?![A-Za-z])(?:\.(?!\s*$|\s+[A-Z]))?)"
_CLOCK = r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?"
_ZONES = (
    r"(?:\s?(UTC|GMT|EST|EDT|CST|CDT|MST|MDT|PST|PDT|CET|CEST|BST|JST|IST|ET|PT)\b(?:([+-])(\d{1,2})(?::?(\d\d))?)?)?"
)
_RATIO_CUE = re.compile(
    r"\b(?:ratio|aspect|scale|odds|score|scored|won|lost|beat|beaten|win|lead|leads|leading|draw|drew|ended|finished"
    r"|mix(?:ed)?|proportions?|defeat|victory)\b[^.!?]{0,25}$",
    re.I,
)


def clock(hour: int, minute: int, *, half: str = "") -> str:
    """ "nine oh five", "seventeen hundred", "nine thirty P M"."""
    if half:
        half = f" {half.upper()} M"
    if minute:
        shown = f"oh {cardinal(minute)}" if minute < 10 else cardinal(minute)
        return f"{cardinal(hour)} {shown}{half}"
    if half:
        return cardinal(hour) + half
    if hour in (0, 24):
        return "midnight"
    return f"{cardinal(hour)} o'clock" if hour <= 12 else f"{cardinal(hour)} hundred"


def is_ratio(found: Match) -> bool:
    return (
        _RATIO_CUE.search(cues.tail(found)) is not None
        or re.match(
            r"\s(?:ratio|aspect|scale|odds|win|loss|defeat|victory|lead|mix|draw|score)\b", found.string[found.end() :]
        )
        is not None
    )


@rule(rf"{_FREE}{_CLOCK}{_HALF}?{_ZONES}(?:(?:{_DASH}|\sto\s|\s?~\s?){_CLOCK}{_HALF}?{_ZONES})?(?![\w]|[.,:/-]\d)", ":")
def _times(found: Match) -> str | None:
    parts = found.groups()
    if is_ratio(found) and not parts[3] and parts[2] is None:
        return None
    said = _time(parts[:8])
    return f"{said} to {_time(parts[8:])}" if parts[8] else said


def _time(parts: tuple[str | None, ...]) -> str:
    hour, minute, second, half, *zone = parts
    said = clock(int(hour or 0), int(minute or 0), half=half or "")
    if second and int(second):
        said += f" and {cardinal(int(second))} second{'s' if int(second) != 1 else ''}"
    return said + _zone(*zone)


def _zone(name: str | None, sign: str | None, hours: str | None, minutes: str | None) -> str:
    if not name:
        return ""
    said = f" {' '.join(name)}"
    if hours:
        said += f" {'plus' if sign == '+' else 'minus'} {cardinal(int(hours))}"
        said += f" {cardinal(int(minutes))}" if minutes and int(minutes) else ""
    return said


@rule(rf"{_FREE}(\d{{1,2}})(?::([0-5]\d))?{_HALF}?(?:{_DASH}|\sto\s|\s?~\s?)(\d{{1,2}})(?::([0-5]\d))?{_HALF}")
def _hours(found: Match) -> str:
    first, minute, half, last, last_minute, last_half = found.groups()
    start = clock(int(first), int(minute or 0), half=half or "") if half or minute else cardinal(int(first))
    return f"{start} to {clock(int(last), int(last_minute or 0), half=last_half)}"


@rule(rf"{_FREE}(\d{{1,2}})(?:[:.]([0-5]\d))?{_HALF}{_ZONES}")
def _hour(found: Match) -> str | None:
    hour, minute, half, *zone = found.groups()
    if int(hour) > 24:
        return None
    return clock(int(hour), int(minute or 0), half=half) + _zone(*zone)


@rule(rf"{_FREE}([01]?\d|2[0-4])h([0-5]\d)?{_END}", "h")
def _european(found: Match) -> str | None:
    return clock(int(found[1]), int(found[2])) if found[2] else None


@rule(r"\b(UTC|GMT)\s?([+-])\s?(\d{1,2})(?::?(\d\d))?(?![\d])")
def _offset(found: Match) -> str:
    return _zone(found[1], found[2], found[3], found[4]).strip()


# -- years --------------------------------------------------------------------------------------------------------------

_YEAR_CUE = re.compile(
    r"(?:\b(?:in|since|from|until|till|by|before|after|during|around|circa|c\.|year(?: was| is)?|early|late|mid|summer|winter|spring"
    r"|autumn|fall|of|born|died|est\.?|established|founded|between|to|and|class of|vintage)\s+|©\s?|[-–—/])$",
    re.I,
)


@rule(rf"{_FREE}{_YEAR}(?:[-–—/]|\s(?:to|[-–—])\s){_YEAR}{_END}")
def _years(found: Match) -> str | None:
    if int(found[1]) >= int(found[2]) or cues.counts_something(found):
        return None
    return f"{year(int(found[1]))} to {year(int(found[2]))}"


@rule(rf"{_FREE}{_YEAR}([-–—/])(\d\d){_END}")
def _short_years(found: Match) -> str | None:
    if int(found[3]) <= int(found[1]) % 100 and found[3] != "00":
        return None
    to = "" if found[2] == "/" and int(found[3]) == (int(found[1]) + 1) % 100 else "to "
    return f"{year(int(found[1]))} {to}{cardinal(int(found[3]))}"


@rule(r"(?<![\w.,:/$£€¥])['’]?((?:1[0-9]|20)\d0|[1-9]0)['’]?s(?![\w])", "s")
def _decade(found: Match) -> str | None:
    """The 1990s; two figures only with a mark or a word, or they are seconds."""
    written = found[0]
    owned = re.search(
        r"(?:\b(?:the|his|her|their|my|your|our|early|late|mid)|\d0s (?:and|or|to))[\s-]$", cues.tail(found), re.I
    )
    if len(found[1]) == 2 and written[0] not in "'’" and not owned:
        return None
    return plural_year(int(found[1]))


@rule(r"(?<![\w.,:/$£€¥-])(\d{1,4})\s?(BCE?|AD|CE)(?![\w])")
def _era(found: Match) -> str:
    return f"{year(int(found[1]))} {' '.join(found[2])}"


@rule(r"(?<![\w])(AD)\s(\d{1,4})(?![\w]|[.,]\d)")
def _era_first(found: Match) -> str:
    return f"A D {year(int(found[2]))}"


@rule(rf"(?<![\w.,:$£€¥])(?<![-+*/=<>^]\s){_YEAR}{_END}")
def _year(found: Match) -> str | None:
    number = int(found[1])
    before, after = cues.tail(found), found.string[found.end() :]
    if re.match(r"\s?[-+*/×÷=<>^%°]", after) or re.search(r"[-+*/×÷=<>^]\s?$", before):
        return None
    cued = _YEAR_CUE.search(before) is not None
    if cues.counts_something(found) and not (cued and re.search(r"\b(?:in|since)\s$", before, re.I) and number >= 1900):
        return None
    if not cued and number < 1900:
        return None
    return year(number)


@rule(r"(?<![\w])['’](\d\d)(?![\w])")
def _short_year(found: Match) -> str:
    return f"oh {cardinal(int(found[1]))}" if found[1][0] == "0" else cardinal(int(found[1]))


DATES: list[Rule] = [_iso, _numeric, _month_year, _short, _month_day, _day_month, _weekdays, _month_in_year]
TIMES: list[Rule] = [_times, _hours, _hour, _european, _offset]
DECADES: list[Rule] = [_decade]
"""Before units: 80s may be seconds."""
YEARS: list[Rule] = [_years, _short_years, _era, _era_first, _year, _short_year]
