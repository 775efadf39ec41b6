"""Budget layer: from one share of a budget on it warns, then a cheaper model answers, then a sentence is said."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

from voiceagent import extras
from voiceagent.errors import EngineError
from voiceagent.gateway.budgets.accounts import (
    NANOS,
    BudgetAlert,
    BudgetSettings,
    Level,
    PeriodClock,
    Price,
    Standing,
    is_day,
    standings,
)
from voiceagent.gateway.budgets.ledger import Ledger, MemoryLedger
from voiceagent.gateway.budgets.sqlite import SqliteLedger
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, TextDelta, ToolCall
from voiceagent.llm.layers import sentence_for

logger = logging.getLogger(__name__)

AlertHook = Callable[[BudgetAlert], None]


def ledger_of(settings: BudgetSettings, clock: PeriodClock | None = None) -> Ledger:
    """The ledger that the settings ask for. Raises ConfigError for a Redis address that is none."""
    if settings.redis is not None:
        extras.need("redis", "[llm.budgets] redis")
        from voiceagent.gateway.budgets.redis import RedisLedger  # only who configures it needs the package

        return RedisLedger(settings.redis, settings.keep_days, clock)
    if settings.path:
        return SqliteLedger(Path(settings.path), settings.keep_days, clock)
    return MemoryLedger(clock)


class BudgetedLlm:
    """An LlmEngine that keeps budgets. What a request may cost is reserved before it goes out, so that requests that
    run side by side overrun a budget by no more than the cost of one, as long as none costs more than was reserved.

    The engine's own `Completed.cost` is taken as it is. An answer that is broken off is charged by estimate; one that
    fails before its first word costs nothing."""

    def __init__(
        self,
        engine: LlmEngine,
        ledger: Ledger,
        settings: BudgetSettings,
        price: Price,
        cheaper: LlmEngine | None = None,
        on_alert: AlertHook | None = None,
    ) -> None:
        """`price` is the dearest that may answer. `cheaper` answers from the share `degrade` on. `on_alert` is called
        once for each account, period and level."""
        self._engine, self._cheaper = engine, cheaper
        self._ledger = ledger
        self._settings = settings
        self._price = price
        self._on_alert = on_alert
        steps: list[tuple[float, Level]] = [(settings.refuse, "refuse"), (settings.degrade, "degrade")]
        self._steps = [step for step in steps if step[1] != "degrade" or cheaper is not None]
        self._steps.append((settings.warn, "warn"))
        self._alerted: dict[tuple[str, bool, Level], str] = {}
        """The period of the last alert that an account (its day or its month) has reached a level."""

    @property
    def inner(self) -> LlmEngine:
        return self._engine

    @property
    def talk_tokens(self) -> int | None:
        sizes = [engine.talk_tokens for engine in (self._engine, self._cheaper) if engine is not None]
        return min((size for size in sizes if size is not None), default=None)

    async def open(self) -> None:
        await self._ledger.open()
        try:
            await self._engine.open()
            if self._cheaper is not None:
                await self._cheaper.open()
        except BaseException:
            await self.close()
            raise

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does."""
        most = self._price.most(request, self._settings.answer_tokens)
        reservation = await self._ledger.reserve(request.caller.tenant, most)
        level = self._level(standings(self._settings, reservation.before))
        said: list[str] = []
        cost: int | None = None
        model = ""
        try:
            if level == "refuse":
                cost = 0
                yield TextDelta(sentence_for(request, self._settings.sentences))
                yield Completed()
                return
            engine = self._cheaper if level == "degrade" and self._cheaper is not None else self._engine
            async with aclosing(engine.reply(request)) as events:
                async for event in events:
                    if isinstance(event, Completed):
                        cost, model = round(event.cost * NANOS), event.endpoint
                    else:
                        said.append(event.arguments if isinstance(event, ToolCall) else event.text)
                    yield event
        except EngineError:
            cost = cost if said else 0
            raise
        finally:
            if cost is None:
                cost = self._price.so_far(request, "".join(said))
            self._ledger.settle(reservation, request.caller, model, cost)

    async def close(self) -> None:
        for engine in (self._cheaper, self._engine):
            if engine is not None:
                await engine.close()
        await self._ledger.close()

    def _level(self, found: list[Standing]) -> Level | None:
        """The highest step that any budget has reached; there is one alert for each."""
        reached: set[Level] = set()
        for standing in found:
            for share, level in self._steps:
                if share and standing.share >= share:
                    reached.add(level)
                    self._report(standing, level)
        return next((level for _, level in self._steps if level in reached), None)

    def _report(self, standing: Standing, level: Level) -> None:
        kind = (standing.account, is_day(standing.period), level)
        if self._alerted.get(kind) == standing.period:
            return
        self._alerted[kind] = standing.period
        share = f"{standing.share:.0%}"
        logger.warning("budget of %r for %s: %s is spent (%s)", standing.account, standing.period, share, level)
        if self._on_alert is not None:
            self._on_alert(BudgetAlert(standing.account, standing.period, level, standing.share))
