"""Rules that decide which route a request takes: a pure function of the request and the time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from voiceagent.errors import ConfigError
from voiceagent.gateway.routes.options import DAYS, Groups, RouteOptions, between, endpoints
from voiceagent.llm.base import Effort, LlmRequest
from voiceagent.llm.layers import last_words
from voiceagent.tts.voices import language_of

SEARCHED = 4_000
"""Characters of the user's words that are looked at: a long text must not keep the event loop."""
DEFAULT_ROUTE = "default"
DEFAULT_LANGUAGE = "en"

_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
_WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes. `experiment` and `arm` tell which trial it is part of, if any."""

    name: str
    endpoints: tuple[str, ...]
    effort: Effort | None = None
    experiment: str = ""
    arm: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    options: RouteOptions
    route: Route
    pattern: re.Pattern[str] | None
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class _Question:
    """What the rules look at."""

    request: LlmRequest
    text: str
    words: float
    language: str
    tools: bool
    results: bool


class Router:
    def __init__(self, routes: Sequence[RouteOptions], groups: Groups, known: Sequence[str]) -> None:
        """`known` are the names of all endpoints. Raises ConfigError for a route that leads nowhere."""
        names = [route.name for route in routes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"[[llm.routes]] two routes are called {min(twice)}")
        self._rules = [_rule(route, groups, known) for route in routes]
        self._default = Route(DEFAULT_ROUTE, tuple(known))

    @property
    def names(self) -> list[str]:
        return [rule.route.name for rule in self._rules] + [self._default.name]

    def route(self, request: LlmRequest, now: datetime) -> Route:
        """`now` must know its time zone. What no rule takes may go to all endpoints."""
        question = _question(request)
        return next((rule.route for rule in self._rules if _takes(rule, question, now)), self._default)


def count_words(text: str) -> float:
    """Latin words, and two Chinese characters for one."""
    wide = len(_WIDE.findall(text))
    return len(_WORD.findall(_WIDE.sub(" ", text))) + wide / 2


def _rule(route: RouteOptions, groups: Groups, known: Sequence[str]) -> _Rule:
    to = endpoints(route.to, groups, known, f"[[llm.routes]] {route.name}")
    pattern = None if route.matches is None else re.compile(route.matches, re.IGNORECASE)
    return _Rule(route, Route(route.name, to, route.effort), pattern, ZoneInfo(route.zone))


def _question(request: LlmRequest) -> _Question:
    text = last_words(request)[:SEARCHED]
    return _Question(
        request,
        text,
        words=count_words(text),
        language=(language_of(text, request.caller.language) or DEFAULT_LANGUAGE).lower(),
        tools=bool(request.tools) and request.tool_choice != "none",
        results=bool(request.messages) and request.messages[-1].role == "tool",
    )


def _takes(rule: _Rule, question: _Question, now: datetime) -> bool:
    options, caller = rule.options, question.request.caller
    return (
        options.min_words <= question.words
        and (options.max_words is None or question.words <= options.max_words)
        and options.min_turn <= caller.turn
        and (options.max_turn is None or caller.turn <= options.max_turn)
        and options.tools in (None, question.tools)
        and options.results in (None, question.results)
        and (not options.tenants or caller.tenant in options.tenants)
        and (not options.languages or any(_speaks(question.language, name) for name in options.languages))
        and _is_time(options, now.astimezone(rule.zone))
        and (rule.pattern is None or rule.pattern.search(question.text) is not None)
    )


def _speaks(language: str, wanted: str) -> bool:
    """ "zh" takes zh-CN, but "zh-TW" does not."""
    wanted = wanted.lower()
    return language == wanted or language.startswith(f"{wanted}-")


def _is_time(options: RouteOptions, now: datetime) -> bool:
    if options.days and DAYS[now.weekday()] not in options.days:
        return False
    return options.hours is None or between(options.hours, now.time())
