"""Dates and times of day in Chinese."""

import re

from voiceagent.tts.normalise.chinese.numbers import cardinal, count, flat_digits
from voiceagent.tts.normalise.numerals import Number
from voiceagent.tts.normalise.spans import Match, Rule, rule

_START = r"(?<![A-Za-z0-9.,:/$£€¥￥-])"
_END = r"(?![A-Za-z0-9]|[.,:/-]\d)"
_TO = r"\s?(?:-|–|—|－|~|～|到|至)\s?"
_CLOCK = r"([01]?\d|2[0-4])[:：∶]([0-5]\d)(?:[:：∶]([0-5]\d))?"
_RATIO_BEFORE = re.compile("(?:比分|比例|比率|比值|赔率|大胜|战胜|击败|战平|以|纵横比|配比|比为|比是)[^，。！？]{0,4}$")
_RATIO_AFTER = re.compile(r"\s?(?:的比例|的比分|战胜|大胜|击败|获胜|险胜|取胜|战平|落败|领先|平局|比例)")


def is_ratio(found: Match) -> bool:
    before = found.string[max(0, found.start() - 14) : found.start()]
    return _RATIO_BEFORE.search(before) is not None or _RATIO_AFTER.match(found.string, found.end()) is not None


def year(written: str) -> str:
    return flat_digits(written)


def _date(in_year: str | None, month: str, day: str) -> str | None:
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return None
    return (
        f"{year(in_year)}年" * bool(in_year) + f"{cardinal(int(month))}月{cardinal(int(day))}日"
        if in_year
        else (f"{cardinal(int(month))}月{cardinal(int(day))}日")
    )


@rule(
    rf"{_START}((?:1[0-9]|20|21)\d\d)([-/.])(\d{{1,2}})\2(\d{{1,2}})(?:[T ]([01]\d|2[0-4]):([0-5]\d)(?::\d\d)?Z?)?{_END}"
)
def _iso(found: Match) -> str | None:
    said = _date(found[1], found[3], found[4])
    if said is None or not found[5]:
        return said
    return said + clock(int(found[5]), int(found[6]))


@rule(rf"{_START}(\d{{1,2}})/(\d{{1,2}})/((?:19|20)\d\d){_END}", "/")
def _western(found: Match) -> str | None:
    first, second = found[1], found[2]
    month, day = (second, first) if int(first) > 12 else (first, second)
    return _date(found[3], month, day)


@rule(rf"{_START}(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01]){_END}", "/")
def _short(found: Match) -> str | None:
    """12/25, where a fraction is not likely."""
    month, day = int(found[1]), int(found[2])
    cued = re.search("(?:在|于|到|至|从|自|截止|截至|日期[:：是为]?)$", found.string[: found.start()])
    if not cued and ((month < day and day <= 12) or day in (16, 20)):
        return None
    return _date(None, found[1], found[2])


@rule(
    r"(?<![\d.])(\d{4}|\d{2})(?:(?:年)?\s?(?:-|–|—|~|～|到|至)\s?(\d{4}|\d{2}))?年(?!前|后|内|间|来|以|的时间|期|级|龄|薪|终|利|假|多|租)",
    "年",
)
def _year(found: Match) -> str | None:
    """Four figures name a year; two do where they begin with a nought or are late in the century."""
    first, last = found[1], found[2]
    before = found.string[max(0, found.start() - 2) : found.start()]
    if before.endswith("前") and not last:
        return None
    if len(first) == 2 and not last and not (first[0] == "0" or int(first) >= 60):
        return None
    if len(first) == 2 and re.match("代", found.string[found.end() :]):
        return None
    if last and len(first) == 2 and len(last) == 2 and first[0] != "0" and int(first) < 60:
        return None
    return f"{year(first)}{f'到{year(last)}' if last else ''}年"


@rule(r"(?<![\d.])(\d{1,2})\s?(月)\s?(\d{1,2})(?:\s?(?:-|–|—|~|～|到|至)\s?(\d{1,2}))?\s?(日|号)", "月")
def _day(found: Match) -> str:
    last = f"{found[5]}到{cardinal(int(found[4]))}" if found[4] else ""
    return f"{cardinal(int(found[1]))}月{cardinal(int(found[3]))}{last}{found[5]}"


@rule(r"(?<![\d.])(\d{1,2})(?:\s?(?:-|–|—|~|～|到|至)\s?(\d{1,2}))?\s?(月(?!饼)(?:份|底|初|中)?|日|号(?!码))", "月日号")
def _month(found: Match) -> str:
    last = f"到{cardinal(int(found[2]))}" if found[2] else ""
    return f"{cardinal(int(found[1]))}{last}{found[3]}"


def clock(hour: int, minute: int, second: int = 0) -> str:
    """ "九点零五分", "两点"."""
    said = f"{count(Number(str(hour)))}点"
    if minute or second:
        said += f"{'零' if minute < 10 else ''}{cardinal(minute) if minute else ''}分"
    if second:
        said += f"{'零' if second < 10 else ''}{cardinal(second)}秒"
    return said


@rule(rf"{_START}{_CLOCK}(?:{_TO}{_CLOCK})?{_END}", ":：∶")
def _times(found: Match) -> str | None:
    if is_ratio(found) and not found[3]:
        return None
    said = clock(int(found[1]), int(found[2]), int(found[3] or 0))
    return f"{said}到{clock(int(found[4]), int(found[5]), int(found[6] or 0))}" if found[4] else said


@rule(rf"{_START}(\d{{1,2}}){_TO}(\d{{1,2}})(点|时(?!间|代|候))", "点时")
def _hours(found: Match) -> str:
    return f"{count(Number(found[1]))}{found[3]}到{count(Number(found[2]))}{found[3]}"


@rule(r"\b(UTC|GMT)\s?([+-])\s?(\d{1,2})(?![\d])")
def _offset(found: Match) -> str:
    return f"{found[1]}{'加' if found[2] == '+' else '减'}{cardinal(int(found[3]))}"


@rule(r"(?<=[日号月年点分时周天])\s?[-–—~～－]\s?(?=\d)", "-–—~～－")
def _until(found: Match) -> str:
    """2月14日-2月20日."""
    return "到"


@rule(r"(?<![\d.])(\d\d)(?=后(?![来天面代续期])|级(?:学|校|新|毕|的学))", "后级")
def _cohort(found: Match) -> str:
    """80后: people by the year of their birth."""
    return year(found[1])


@rule(r"(?<![\d.])(\d{1,2})·(\d{1,2})(?![\d.])", "·")
def _event(found: Match) -> str:
    """9·11, 3·15: days that became names."""
    return year(found[1] + found[2])


FULL_DATES: list[Rule] = [_iso, _western]
"""Before telephone numbers, which look alike."""
DATES: list[Rule] = [_short, _cohort, _event, _year, _day, _month, _until]
TIMES: list[Rule] = [_times, _hours, _offset]
