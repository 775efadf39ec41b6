"""Which route a request takes: a pure function of the request and the time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from voiceagent.llm.base import Effort, LlmRequest
from voiceagent.llm.edge.routes_options import DAYS, Groups, RouteOptions, between, endpoints
from voiceagent.tts.voices import language_of

SEARCHED = 4_000
"""Characters of the user's words that are looked at: a long text must not keep the event loop."""
DEFAULT_ROUTE = "default"
DEFAULT_LANGUAGE = "en"

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff\u3040-\u30ff]")
_WORD = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]+(?:['’-]\w+)*")


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


class Router:
    def __init__(self, routes: Sequence[RouteOptions], groups: Groups, known: Sequence[str]) -> None:
        """`known` are the names of all endpoints. Raises ConfigError for a route that leads nowhere."""
        names = [route.name for route in routes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigErrorOf(twice[0])
        self._rules = [_rule(route, groups, known) for route in routes]
        self._default = Route(DEFAULT_ROUTE, tuple(known))

    def route(self, request: LlmRequest, now: datetime) -> Route:
        """`now` must know its time zone. Without a rule that takes it a request may go to all endpoints."""
        words = last_words(request)
        return next((rule.route for rule in self._rules if _takes(rule, request, words, now)), self._default)
