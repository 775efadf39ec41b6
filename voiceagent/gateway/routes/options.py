"""Options of `[[llm.routes]]`: which requests go to which endpoints, and how hard the model is to think."""

import re
from collections.abc import Mapping, Sequence
from datetime import time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Effort
from voiceagent.section import Section

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `datetime.weekday()`."""
Name = Annotated[str, Field(min_length=1, max_length=64, pattern="^[^\\s/]+$")]
Names = tuple[Name, ...]
Groups = Mapping[str, Names]
"""`[llm.groups]`: endpoints under one name."""

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return value


def _hours(value: str) -> str:
    if not _HOURS.fullmatch(value):
        raise ValueError('must be written as "22:00-06:00"')
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone such as Asia/Shanghai") from None
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
Hours = Annotated[str, AfterValidator(_hours)]
Zone = Annotated[str, AfterValidator(_zone)]


class RouteOptions(Section):
    """One rule. It takes a request that meets all the conditions set; the first rule that takes it is its route."""

    name: Name
    """The route's name, in metrics."""
    to: Names = ()
    """Endpoints and groups; none for all endpoints."""
    effort: Effort | None = None
    """Holds where the request asks for none itself."""
    matches: Pattern | None = None
    """Regular expression that is searched for in the user's last words, in any case."""
    min_words: Annotated[int, Field(ge=0)] = 0
    """Fewest words of the user; two Chinese characters count as one."""
    max_words: Annotated[int, Field(ge=0)] | None = None
    """Most words."""
    languages: tuple[str, ...] = ()
    """Of the user's last words if their script tells (`zh`, `ja`, `ko`, `ru` …), else the caller's, else `en`."""
    tools: bool | None = None
    """The model has tools to call, or none."""
    results: bool | None = None
    """It goes on after the results of tools, or not."""
    tenants: tuple[str, ...] = ()
    """Names of API keys."""
    hours: Hours | None = None
    """Such as `22:00-06:00`."""
    days: tuple[Day, ...] = ()
    """`mon` to `sun`; an hour past midnight belongs to the day it falls on."""
    zone: Zone = "UTC"
    """The time zone of hours and days."""
    min_turn: Annotated[int, Field(ge=0)] = 0
    """From this turn of the user on, counted from 1."""
    max_turn: Annotated[int, Field(ge=0)] | None = None
    """Up to this turn."""

    @model_validator(mode="after")
    def _some_are_left(self) -> Self:
        for what, least, most in (
            ("words", self.min_words, self.max_words),
            ("turn", self.min_turn, self.max_turn),
        ):
            if most is not None and most < least:
                raise ValueError(f"max_{what} is less than min_{what}")
        return self


def between(hours: str, at: time) -> bool:
    """Whether a time of day is in "09:00-17:30": from the first minute on, up to the last, over midnight if need be.
    The same minute twice is the whole day."""
    match = _HOURS.fullmatch(hours)
    assert match is not None
    start, end = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    if start < end:
        return start <= at < end
    return at >= start or at < end


def endpoints(to: Sequence[str], groups: Groups, known: Sequence[str], where: str) -> tuple[str, ...]:
    """The endpoints that names of endpoints and groups mean, all of those `known` without any. Raises ConfigError for a
    name that means nothing."""
    if not to:
        return tuple(known)
    found: dict[str, None] = {}
    for name in to:
        members = groups.get(name, (name,))
        if unknown := [member for member in members if member not in known]:
            raise ConfigError(f"{where}: there is no endpoint or group {unknown[0]!r}")
        found.update(dict.fromkeys(members))
    return tuple(found)
