"""Prices and budgets of language models, and the clock they go by."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from voiceagent.llm.base import LlmRequest
from voiceagent.llm.failover.limits.tokens import ANSWER_TOKENS, answer_tokens, prompt_tokens, text_tokens
from voiceagent.section import Section

NANOS = 1_000_000_000
"""Costs are counted in billionths of the currency of the prices, in whole numbers, so that sums are exact."""
EVERYONE = "/all"
"""The account of all tenants together; no tenant has a slash in its name."""

Amount = Annotated[float, Field(ge=0)]
Level = Literal["warn", "degrade", "refuse"]

ENGLISH = "I am sorry, I cannot answer any more for now. Please try again later."
CHINESE = "抱歉，我暂时无法继续回答，请稍后再试。"


class Budget(Section):
    """Spending in the currency of the prices; 0 is no budget."""

    daily: Amount = 0.0
    """Of a UTC day."""
    monthly: Amount = 0.0
    """Of a UTC month."""


class BudgetSettings(Section):
    """Budgets."""

    path: str = ""
    """SQLite file of the ledger; empty keeps it in memory only."""
    redis: SecretStr | None = None
    """Address of a Redis that all processes share, used instead of `path`."""
    all: Budget = Budget()
    """Of all tenants together."""
    tenant: Budget = Budget()
    """Of each tenant."""
    tenants: dict[str, Budget] = Field(default_factory=dict)
    """Of those named, instead of it."""
    warn: Amount = 0.8
    """Share of a budget from which on there is a warning, once a period; 0: none."""
    degrade: Amount = 0.9
    """Share from which on the cheaper model answers, where there is one; 0: never."""
    refuse: Amount = 1.0
    """Share from which on `sentences` are said instead of an answer; 0: never."""
    sentences: dict[str, str] = Field(default_factory=lambda: {"en": ENGLISH, "zh": CHINESE}, min_length=1)
    """What is said then, by language."""
    answer_tokens: Annotated[int, Field(ge=1)] = 1000
    """What an answer may come to where a request sets no limit. It should be the most, since budgets are kept by it."""
    keep_days: Annotated[int, Field(ge=32)] = 400
    """Older sums are deleted."""

    def budget(self, account: str) -> Budget:
        return self.all if account == EVERYONE else self.tenants.get(account, self.tenant)


@dataclass(frozen=True, slots=True)
class Price:
    """Of a million tokens. `cached` None: as dear as `input`."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None

    @classmethod
    def dearest(cls, prices: Iterable["Price"]) -> "Price":
        """A price that none of these exceeds."""
        known = list(prices)
        return cls(
            max((price.input for price in known), default=0.0), max((price.output for price in known), default=0.0)
        )

    def most(self, request: LlmRequest, usual_answer: int = ANSWER_TOKENS) -> int:
        """What the request may cost by estimate, in nanos."""
        return self.cost(prompt_tokens(request), answer_tokens(request, usual_answer))

    def so_far(self, request: LlmRequest, answer: str) -> int:
        """What an answer costs, in nanos by estimate, that was broken off after this text."""
        return self.cost(prompt_tokens(request), text_tokens(answer))

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int:
        """In nanos. `cached_tokens` are among the input's."""
        cached = self.input if self.cached is None else self.cached
        fresh = max(0, input_tokens - cached_tokens)
        return round((fresh * self.input + cached_tokens * cached + output_tokens * self.output) * NANOS / 1_000_000)


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A budget has reached a step. `share` is what of it was spent or reserved then, `period` its day or month."""

    account: str
    period: str
    level: Level
    share: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an account's budget of one period is used up, before the request in hand."""

    account: str
    period: str
    share: float


def standings(settings: BudgetSettings, before: Mapping[tuple[str, str], int]) -> list[Standing]:
    """Of the accounts that have a budget; `before` is what (account, period) had spent, in nanos."""
    found: list[Standing] = []
    for (account, period), spent in before.items():
        budget = settings.budget(account)
        limit = budget.daily if is_day(period) else budget.monthly
        if limit:
            found.append(Standing(account, period, spent / (limit * NANOS)))
    return found


def is_day(period: str) -> bool:
    """Whether it is a day (2025-03-09) and not a month (2025-03)."""
    return len(period) == len("2025-03-09")


class PeriodClock:
    """UTC days and months that never go back: a wall clock that is set back, or a process that begins with one that is
    behind the ledger, must not open a budget again that is spent. While the wall clock is behind, time goes on by the
    monotonic clock, so that a clock that was once wrong by a year does not hold a budget closed for a year."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._latest, self._at = wall(), monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        at = self._monotonic()
        self._latest = max(self._wall(), self._latest + max(0.0, at - self._at))
        self._at = at
        return self._latest

    def not_before(self, seconds: float) -> None:
        """What a ledger knows of the time."""
        self._latest = max(self.now(), seconds)

    def periods(self) -> tuple[str, str]:
        """The day and the month."""
        day = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%d")
        return day, day[:7]
