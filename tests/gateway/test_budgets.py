"""Prices, periods, ledgers and budgets."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.budgets.accounts import EVERYONE, NANOS, BudgetAlert, BudgetSettings, PeriodClock, Price, is_day
from voiceagent.gateway.budgets.engine import BudgetedLlm, ledger_of
from voiceagent.gateway.budgets.ledger import Books, Ledger, MemoryLedger
from voiceagent.gateway.budgets.sqlite import APPLICATION_ID, SqliteLedger
from voiceagent.llm.base import Caller, Completed, LlmEngine, LlmEvent, LlmRequest, Message, TextDelta
from voiceagent.llm.dialects.openai import OpenAILlm, OpenAILlmOptions
from voiceagent.models.store import ModelStore

ANNA = Caller(session="s1", user="u1", tenant="anna", language="en")
NOON = datetime(2025, 3, 9, 12, tzinfo=UTC).timestamp()
DAY, MONTH = "2025-03-09", "2025-03"
PRICE = Price(input=1.0, output=10.0)


class Clock:
    """A wall clock that is set by hand, and a monotonic one beside it."""

    def __init__(self, wall: float = NOON) -> None:
        self.wall = wall
        self.elapsed = 0.0

    def periods(self) -> PeriodClock:
        return PeriodClock(lambda: self.wall, lambda: self.elapsed)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds


class Metered:
    """What the gateway does for its endpoints: tells the cost by the tokens."""

    def __init__(self, engine: LlmEngine, name: str, price: Price = PRICE) -> None:
        self._engine, self._name, self._price = engine, name, price

    @property
    def talk_tokens(self) -> int | None:
        return self._engine.talk_tokens

    async def open(self) -> None:
        await self._engine.open()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        async with aclosing(self._engine.reply(request)) as events:
            async for event in events:
                if isinstance(event, Completed):
                    cost = self._price.cost(event.input_tokens, event.output_tokens) / NANOS
                    event = replace(event, cost=cost, endpoint=self._name)
                yield event

    async def close(self) -> None:
        await self._engine.close()


def metered(server: ScriptedLlm, name: str = "dear", price: Price = PRICE) -> Metered:
    options = OpenAILlmOptions.model_validate({"base_url": server.base_url, "api_key": None, "model": "test"})
    return Metered(OpenAILlm(options, ModelStore()), name, price)


def ask(words: str = "Hi", caller: Caller = ANNA, max_tokens: int | None = 100) -> LlmRequest:
    return LlmRequest((Message("user", words),), max_tokens=max_tokens, caller=caller)


async def answered(engine: LlmEngine, request: LlmRequest) -> tuple[str, Completed]:
    text, end = "", Completed()
    async with aclosing(engine.reply(request)) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, Completed):
                end = event
    return text, end


@asynccontextmanager
async def opened(engine: BudgetedLlm) -> AsyncIterator[BudgetedLlm]:
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(500):
        if happened():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it does not happen")


def budgets(**keys: object) -> BudgetSettings:
    return BudgetSettings.model_validate(keys)


# -- prices and periods -----------------------------------------------------------------------------------------------


def test_cached_tokens_are_part_of_the_input_and_may_be_cheaper() -> None:
    assert Price(2.0, 8.0).cost(1_000_000, 1_000_000, 500_000) == 10 * NANOS
    assert Price(2.0, 8.0, 0.5).cost(1_000_000, 0, 500_000) == int(1.25 * NANOS)
    assert Price(0.15, 0.6).cost(1, 1) == 750
    assert Price.dearest([Price(1.0, 2.0, 0.1), Price(0.5, 8.0)]) == Price(1.0, 8.0)
    assert Price.dearest([]) == Price()


def test_a_day_and_a_month_are_those_of_utc() -> None:
    clock = Clock(datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    periods = clock.periods()
    assert periods.periods() == ("2025-12-31", "2025-12")
    clock.pass_(1.0)
    assert periods.periods() == ("2026-01-01", "2026-01")
    assert is_day("2026-01-01")
    assert not is_day("2026-01")


def test_a_clock_set_back_opens_no_earlier_day_and_goes_on() -> None:
    clock = Clock(NOON)
    periods = clock.periods()
    clock.wall -= 3 * 86_400
    assert periods.periods()[0] == DAY
    clock.pass_(12 * 3600)
    assert periods.periods()[0] == "2025-03-10"
    clock.wall = NOON + 400 * 86_400
    assert periods.periods()[0] == "2026-04-13"
    clock.wall = NOON
    clock.pass_(86_400)
    assert periods.periods()[0] == "2026-04-14"


@given(st.lists(st.tuples(st.floats(-1e8, 1e8), st.floats(0, 1e6)), max_size=30))
def test_time_never_goes_back_nor_stands(jumps: list[tuple[float, float]]) -> None:
    clock = Clock(NOON)
    periods = clock.periods()
    last = periods.now()
    for jump, elapsed in jumps:
        clock.wall = max(0.0, min(4e9, clock.wall + jump))
        clock.elapsed += elapsed
        now = periods.now()
        assert now >= last + elapsed - 1e-3
        last = now


# -- ledgers ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=40),
    st.randoms(use_true_random=False),
)
def test_what_is_settled_is_spent_and_nothing_stays_reserved(turns: list[tuple[str, int, int]], random: Random) -> None:
    books = Books()
    under_way = []
    for tenant, amount, cost in turns:
        before = books.reserve(tenant, (DAY, MONTH), amount)
        under_way.append((before, cost))
    random.shuffle(under_way)
    for reservation, cost in under_way:
        books.settle(reservation, cost)
    assert not books.reserved
    spent = {account.name: nanos for account, nanos in books.spent.items() if account.period == DAY}
    assert spent.get(EVERYONE, 0) == sum(cost for _, _, cost in turns)
    for name in ("a", "b", ""):
        assert spent.get(name, 0) == sum(cost for tenant, _, cost in turns if tenant == name)


async def test_every_account_is_told_of() -> None:
    ledger = MemoryLedger(Clock().periods())
    await ledger.open()
    reservation = await ledger.reserve("anna", 500)
    assert set(reservation.before) == {(EVERYONE, DAY), (EVERYONE, MONTH), ("anna", DAY), ("anna", MONTH)}
    assert (await ledger.reserve("tom", 100)).before == {
        (EVERYONE, DAY): 500,
        (EVERYONE, MONTH): 500,
        ("tom", DAY): 0,
        ("tom", MONTH): 0,
    }
    ledger.settle(reservation, ANNA, "small", 300)
    ledger.settle(reservation, ANNA, "small", 300)
    assert await ledger.spent("budget", MONTH) == {EVERYONE: 300, "anna": 300}
    assert await ledger.spent("user", DAY) == {"anna/u1": 300}
    assert await ledger.spent("session", DAY) == {"anna/s1": 300}
    assert await ledger.spent("model", MONTH) == {"small": 300}
    assert (await ledger.reserve("anna", 1)).before[EVERYONE, DAY] == 400
    await ledger.close()


async def test_a_new_day_begins_at_nothing_and_the_month_goes_on() -> None:
    clock = Clock()
    ledger = MemoryLedger(clock.periods())
    ledger.settle(await ledger.reserve("anna", 500), ANNA, "small", 300)
    across = await ledger.reserve("anna", 500)
    clock.pass_(86_400)
    tomorrow = await ledger.reserve("anna", 500)
    assert tomorrow.before["anna", "2025-03-10"] == 0
    assert tomorrow.before["anna", MONTH] == 800
    ledger.settle(across, ANNA, "small", 200)
    assert (await ledger.reserve("anna", 0)).before["anna", "2025-03-10"] == 500
    assert (await ledger.reserve("anna", 0)).before["anna", MONTH] == 1000


def sqlite_ledger(path: Path, clock: Clock | None = None, keep_days: int = 400) -> SqliteLedger:
    return SqliteLedger(path, keep_days, (clock or Clock()).periods())


async def test_what_was_spent_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "budgets.db"
    ledger = sqlite_ledger(path)
    await ledger.open()
    ledger.settle(await ledger.reserve("anna", 500), ANNA, "small", 300)
    assert await ledger.spent("budget", DAY) == {EVERYONE: 300, "anna": 300}
    await ledger.close()
    await ledger.close()
    again = sqlite_ledger(path)
    await again.open()
    assert (await again.reserve("anna", 1)).before["anna", DAY] == 300
    assert await again.spent("session", DAY) == {"anna/s1": 300}
    await again.close()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_process_that_begins_with_a_clock_behind_the_file_opens_no_spent_budget(tmp_path: Path) -> None:
    ledger = sqlite_ledger(tmp_path / "budgets.db")
    await ledger.open()
    ledger.settle(await ledger.reserve("anna", 500), ANNA, "small", 300)
    await ledger.close()
    again = sqlite_ledger(tmp_path / "budgets.db", Clock(NOON - 40 * 86_400))
    await again.open()
    assert (await again.reserve("anna", 1)).before["anna", DAY] == 300
    await again.close()


async def test_processes_that_share_a_file_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceagent.gateway.budgets.sqlite.WRITE_SECONDS", 0.02)
    one, two = sqlite_ledger(tmp_path / "budgets.db"), sqlite_ledger(tmp_path / "budgets.db")
    await one.open()
    await two.open()
    one.settle(await one.reserve("anna", 500), ANNA, "small", 300)
    two.settle(await two.reserve("anna", 500), ANNA, "small", 200)
    for _ in range(500):
        if {(await ledger.reserve("anna", 0)).before["anna", DAY] for ledger in (one, two)} == {500}:
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("they never see each other")
    await one.close()
    await two.close()


async def test_old_days_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "budgets.db"
    for _ in range(2):
        ledger = sqlite_ledger(path, clock, keep_days=40)
        await ledger.open()
        ledger.settle(await ledger.reserve("anna", 500), ANNA, "small", 300)
        await ledger.close()
        clock.pass_(80 * 86_400)
    with sqlite3.connect(path) as database:
        periods = {row[0] for row in database.execute("SELECT period FROM spend")}
    database.close()
    assert periods == {"2025-05-28", "2025-05"}


async def test_a_file_that_cannot_be_written_costs_a_line_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voiceagent.gateway.budgets.sqlite.WRITE_SECONDS", 0.02)
    monkeypatch.setattr("voiceagent.database.BUSY_SECONDS", 0.01)
    caplog.set_level(logging.WARNING)
    ledger = sqlite_ledger(tmp_path / "budgets.db")
    await ledger.open()
    other = sqlite3.connect(tmp_path / "budgets.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.settle(await ledger.reserve("anna", 500), ANNA, "small", 300)
    await until(lambda: bool(caplog.records))
    await asyncio.sleep(0.1)
    assert [record.message for record in caplog.records] == [
        "the ledger cannot be written, budgets go on in memory (OperationalError)"
    ]
    other.execute("ROLLBACK")
    other.close()
    await ledger.close()
    again = sqlite_ledger(tmp_path / "budgets.db")
    await again.open()
    assert await again.spent("budget", DAY) == {EVERYONE: 300, "anna": 300}
    await again.close()


async def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    with pytest.raises(ConfigError, match="another program"):
        await sqlite_ledger(path).open()
    path = tmp_path / "text.db"
    path.write_text("no database at all, " * 100)
    with pytest.raises(ConfigError, match="no SQLite file"):
        await sqlite_ledger(path).open()
    path = tmp_path / "newer.db"
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(ConfigError, match="newer"):
        await sqlite_ledger(path).open()
    with pytest.raises(ConfigError, match="cannot be opened"):
        await sqlite_ledger(tmp_path).open()


async def test_the_memory_of_users_and_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceagent.gateway.budgets.ledger.REMEMBERED", 50)
    ledger = MemoryLedger(Clock().periods())
    for number in range(200):
        caller = Caller(session=f"s{number}", user=f"u{number}", tenant="anna")
        ledger.settle(await ledger.reserve("anna", 2), caller, "small", 1)
    assert await ledger.spent("budget", DAY) == {EVERYONE: 200, "anna": 200}
    assert len(await ledger.spent("session", DAY)) + len(await ledger.spent("user", DAY)) <= 50


def test_settings_choose_the_ledger(tmp_path: Path) -> None:
    assert isinstance(ledger_of(budgets()), MemoryLedger)
    assert isinstance(ledger_of(budgets(path=str(tmp_path / "x.db"))), SqliteLedger)
    with pytest.raises(ConfigError):
        ledger_of(budgets(redis=SecretStr("nowhere")))


# -- budgets ----------------------------------------------------------------------------------------------------------


async def test_cost_is_entered_once_the_answer_is_over() -> None:
    ledger = MemoryLedger(Clock().periods())
    async with (
        ScriptedLlm([Reply("one two three", input_tokens=100)]) as server,
        opened(BudgetedLlm(metered(server), ledger, budgets(), PRICE)) as engine,
    ):
        text, end = await answered(engine, ask())
        assert (text, end.endpoint) == ("one two three", "dear")
        assert await ledger.spent("model", DAY) == {"dear": PRICE.cost(100, 3)}
        assert await ledger.spent("session", DAY) == {"anna/s1": PRICE.cost(100, 3)}


async def test_a_budget_warns_once_then_degrades_then_refuses_in_the_users_language(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    alerts: list[BudgetAlert] = []
    reply = Reply(["word"], input_tokens=99_990)  # 0.1 by the price
    async with ScriptedLlm([reply]) as dear, ScriptedLlm([Reply(["cheap"], input_tokens=99_990)]) as cheap:
        clock = Clock()
        engine = BudgetedLlm(
            metered(dear),
            MemoryLedger(clock.periods()),
            budgets(tenant={"daily": 1.0}, warn=0.8, degrade=0.9),
            PRICE,
            metered(cheap, "cheap"),
            alerts.append,
        )
        async with opened(engine):
            texts = [(await answered(engine, ask()))[0] for _ in range(13)]
            assert texts[:9] == ["word"] * 9
            assert texts[9] == "cheap"
            assert all(text.startswith("I am sorry") for text in texts[10:])
            chinese = ask("你好", replace(ANNA, language=None))
            assert (await answered(engine, chinese))[0].startswith("抱歉")
            assert (await answered(engine, ask(caller=replace(ANNA, language="zh-CN"))))[0].startswith("抱歉")
            assert (await answered(engine, ask(caller=replace(ANNA, tenant="tom"))))[0] == "word"
            assert [(alert.account, alert.period, alert.level) for alert in alerts] == [
                ("anna", DAY, "warn"),
                ("anna", DAY, "degrade"),
                ("anna", DAY, "refuse"),
            ]
            assert len(caplog.records) == 3
            clock.wall -= 86_400
            assert (await answered(engine, ask()))[0].startswith("I am sorry")
            clock.pass_(2 * 86_400)
            assert (await answered(engine, ask()))[0] == "word"
    assert len(dear.requests) == 11


async def test_all_tenants_together_have_a_budget_and_one_may_have_its_own() -> None:
    async with ScriptedLlm([Reply(["word"], input_tokens=99_990)]) as server:
        settings = budgets(all={"monthly": 0.45}, tenants={"poor": {"daily": 0.05}}, sentences={"en": "No."})
        async with opened(BudgetedLlm(metered(server), MemoryLedger(Clock().periods()), settings, PRICE)) as engine:
            poor = ask(caller=replace(ANNA, tenant="poor"))
            assert [(await answered(engine, poor))[0] for _ in range(3)] == ["word", "No.", "No."]
            assert [(await answered(engine, ask()))[0] for _ in range(5)] == ["word"] * 4 + ["No."]


async def test_turns_side_by_side_overrun_a_budget_by_no_more_than_one() -> None:
    ledger = MemoryLedger(Clock().periods())
    price = Price(output=1000.0)
    async with ScriptedLlm([Reply(["word"] * 100, first_token_seconds=0.05)]) as server:
        settings = budgets(tenant={"daily": 0.55})
        async with opened(BudgetedLlm(metered(server, price=price), ledger, settings, price)) as engine:
            answers = await asyncio.gather(*(answered(engine, ask()) for _ in range(30)))
    assert sum(1 for _, end in answers if end.endpoint) == 6
    assert (await ledger.spent("budget", DAY))["anna"] == round(0.6 * NANOS)


async def test_an_answer_that_is_broken_off_is_charged_by_estimate() -> None:
    ledger = MemoryLedger(Clock().periods())
    async with (
        ScriptedLlm([Reply(["Hello ", "there"], token_seconds=0.01, stall_after=2)]) as server,
        opened(BudgetedLlm(metered(server), ledger, budgets(tenant={"daily": 1.0}), PRICE)) as engine,
    ):
        async with aclosing(engine.reply(ask())) as events:
            await anext(events)
        estimate = PRICE.so_far(ask(), "Hello ")
        assert (await ledger.spent("budget", DAY))["anna"] == estimate > 0
        assert (await ledger.reserve("anna", 0)).before["anna", DAY] == estimate


@pytest.mark.parametrize(("reply", "charged"), [(Reply(status=500), False), (Reply("Hi there", reset_after=1), True)])
async def test_a_failure_is_charged_only_once_it_has_said_something(reply: Reply, charged: bool) -> None:
    ledger = MemoryLedger(Clock().periods())
    async with (
        ScriptedLlm([reply]) as server,
        opened(BudgetedLlm(metered(server), ledger, budgets(), PRICE)) as engine,
    ):
        with pytest.raises(EngineError):
            await answered(engine, ask())
        assert bool(await ledger.spent("budget", DAY)) is charged
        assert not ledger._books.reserved


async def test_a_ledger_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    async with ScriptedLlm() as server:
        ledger: Ledger = sqlite_ledger(tmp_path)
        with pytest.raises(ConfigError):
            await BudgetedLlm(metered(server), ledger, budgets(), PRICE).open()


def test_settings_are_read_as_toml_gives_them() -> None:
    read = BudgetSettings.model_validate(json.loads('{"all": {"monthly": 200}, "tenants": {"anna": {"daily": 5}}}'))
    assert read.budget(EVERYONE).monthly == 200
    assert read.budget("anna").daily == 5
    assert read.budget("tom").daily == 0
