"""Do limits, fairness and budgets hold? `python -m benchmarks.llm_limits [--seconds N] [--turns N]`.

Overload: tenants of very different size ask a real HTTP server for three times what it allows. The server counts
requests and tokens in a sliding window and refuses with 429 what is beyond; the clients go through a gate that knows
the limits. A minute is shortened to ten seconds, so that the run sees many. "Without the gate" is the same crowd.

A day: 24 hours of turns in virtual time through audit log, masking, budgets and gate, with a wall clock that is set
back and forth. What each tenant spent is held against its budget, by the ledger and by the model's own count.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import looptime

from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.errors import EngineError
from voiceagent.gateway.audit import AuditedLlm, AuditFile, AuditLog
from voiceagent.gateway.budgets.accounts import EVERYONE, NANOS, BudgetSettings, PeriodClock, Price
from voiceagent.gateway.budgets.engine import BudgetedLlm
from voiceagent.gateway.budgets.ledger import MemoryLedger
from voiceagent.guard.masking import MaskedLlm
from voiceagent.llm.base import Caller, Completed, LlmEvent, LlmRequest, Message, TextDelta
from voiceagent.llm.dialects.openai import OpenAILlm, OpenAILlmOptions
from voiceagent.llm.failover.limits.buckets import Limit, Limits, LimitSettings
from voiceagent.llm.failover.limits.gates import LimitedGate
from voiceagent.llm.failover.limits.tokens import prompt_tokens, request_tokens
from voiceagent.models.store import ModelStore

WINDOW = 10.0
REQUESTS, TOKENS = 400, 50_000
"""What the server allows in a window."""
ANSWER = 4
"""Tokens."""
TENANTS = {"shop": 80, "bank": 40, "clinic": 30, "school": 20}
"""How many ask at once: each tenant alone wants more than its share."""
REFUSED_TARGET = 0.005
FAIRNESS_TARGET = 0.10
WAIT_SECONDS = 3.0
PAUSE_SECONDS = 0.1

DAY_SECONDS = 24 * 3600
EVENING = datetime(2025, 3, 9, 18, tzinfo=UTC).timestamp()
PRICE = Price(input=2.5, output=10.0)
BUDGETS = {"shop": 1.5, "bank": 2.0, "clinic": 0.5, "school": 50.0}
ALL_DAILY = 6.0
LONGEST_ANSWER = 80
GROWTH_TARGET = 200_000
"""Bytes from the middle of the day to its end."""


class Server:
    """What a service does: refuses what exceeds its limits in any window."""

    def __init__(self) -> None:
        self.let_in: deque[tuple[float, int]] = deque()
        self.asked = 0
        self.refused = 0
        self.tokens = 0

    def answer(self, messages: list[dict[str, str]]) -> Reply:
        now = time.monotonic()
        self.asked += 1
        while self.let_in and self.let_in[0][0] <= now - WINDOW:
            self.let_in.popleft()
        words = messages[-1]["content"].split()
        used = len(words) + 12 + ANSWER
        if len(self.let_in) >= REQUESTS or sum(tokens for _, tokens in self.let_in) + used > TOKENS:
            self.refused += 1
            return Reply(status=429, error={"error": {"code": "rate_limit_exceeded"}})
        self.let_in.append((now, used))
        self.tokens += used
        return Reply(["word "] * ANSWER, input_tokens=len(words) + 12)


@dataclass(slots=True)
class Crowd:
    """`shares`: what each tenant got of the limits, in windows' worth."""

    shares: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TENANTS, 0.0))
    turned_away: int = 0
    waited: list[float] = field(default_factory=list)


async def overload(seconds: float, with_gate: bool) -> tuple[Server, Crowd]:
    service, crowd = Server(), Crowd()
    limits = Limits(Limit(REQUESTS, 0.2, WINDOW), Limit(TOKENS, 0.2, WINDOW))
    gate = LimitedGate("service", limits, LimitSettings()) if with_gate else None
    async with ScriptedLlm(service.answer) as server:
        options = OpenAILlmOptions.model_validate({"base_url": server.base_url, "api_key": None, "model": "m"})
        engine = OpenAILlm(options, ModelStore())
        await engine.open()
        began = time.monotonic()

        async def talk(tenant: str, number: int) -> None:
            random = Random(f"{tenant}{number}")
            caller = Caller(session=f"{tenant}{number}", tenant=tenant)
            while (now := time.monotonic() - began) < seconds:
                words = " ".join(["word"] * random.randint(20, 120))
                request = LlmRequest((Message("user", words),), max_tokens=ANSWER, caller=caller)
                try:
                    await turn(request, now > WINDOW)
                except EngineError:
                    crowd.turned_away += 1
                    await asyncio.sleep(PAUSE_SECONDS)

        async def turn(request: LlmRequest, counts: bool) -> None:
            asked = time.monotonic()
            tokens = request_tokens(request)
            entered = await gate.enter(tokens, request.caller, WAIT_SECONDS) if gate is not None else None
            crowd.waited.append(time.monotonic() - asked)
            end: Completed | None = None
            try:
                async for event in engine.reply(request):
                    end = event if isinstance(event, Completed) else end
            finally:
                if entered is not None:
                    entered.settle(end)
            if end is not None and counts:
                crowd.shares[request.caller.tenant] += limits.share(end.input_tokens + end.output_tokens)

        await asyncio.gather(*(talk(tenant, number) for tenant, count in TENANTS.items() for number in range(count)))
        await engine.close()
    return service, crowd


def overload_holds(seconds: float) -> bool:
    bare, _ = asyncio.run(overload(2 * WINDOW, with_gate=False))
    print(f"without the gate  n={bare.asked} requests, {bare.refused} answered 429 ({bare.refused / bare.asked:.1%})")
    service, crowd = asyncio.run(overload(seconds, with_gate=True))
    share = service.refused / service.asked
    used = service.asked / (seconds / WINDOW * REQUESTS)
    waits = sorted(crowd.waited)
    print(
        f"with the gate     n={service.asked} requests, {service.refused} answered 429 ({share:.2%}, target "
        f"<= {REFUSED_TARGET:.1%}: {verdict(share <= REFUSED_TARGET)})"
    )
    print(
        f"  {used:.0%} of the requests allowed were made; waited p50 {waits[len(waits) // 2]:.2f} s, p95 "
        f"{waits[int(len(waits) * 0.95)]:.2f} s; {crowd.turned_away} turned away by the queue"
    )
    mean = sum(crowd.shares.values()) / len(TENANTS)
    off = max(abs(crowd.shares[tenant] / mean - 1) for tenant in TENANTS)
    each = ", ".join(f"{name} ({TENANTS[name]} callers) {crowd.shares[name] / mean:.3f}" for name in TENANTS)
    fair = off <= FAIRNESS_TARGET
    print(f"shares            {each}; off by {off:.1%} (target <= {FAIRNESS_TARGET:.0%}: {verdict(fair)})")
    return share <= REFUSED_TARGET and fair


class Model:
    """A model in virtual time behind a gate: words at a pace, and its own count of what it did."""

    talk_tokens = None

    def __init__(self, random: Random, clock: PeriodClock) -> None:
        self.spent: Counter[tuple[str, str]] = Counter()
        self.dearest = 0
        self.turns = 0
        self._random = random
        self._clock = clock
        self._gate = LimitedGate("model", Limits.a_minute(600, 400_000), LimitSettings())

    async def open(self) -> None:
        pass

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        entered = await self._gate.enter(request_tokens(request), request.caller, 5.0)
        periods = self._clock.periods()
        self.turns += 1
        words, said = self._random.randint(5, LONGEST_ANSWER), 0
        prompt = prompt_tokens(request)
        end: Completed | None = None
        try:
            await asyncio.sleep(self._random.uniform(0.2, 0.8))
            if self._random.random() < 0.02:
                raise EngineError("llm", "unavailable", "the model is out of order")
            for said in range(1, words + 1):
                yield TextDelta("word ")
                if said % 25 == 0:
                    await asyncio.sleep(0.6)
            cost = PRICE.cost(prompt, words) / NANOS
            end = Completed(input_tokens=prompt, output_tokens=words, cost=cost, endpoint="model")
            yield end
        finally:
            entered.settle(end)
            cost_nanos = PRICE.cost(prompt, said) if said else 0
            self.dearest = max(self.dearest, cost_nanos)
            for account in (request.caller.tenant, EVERYONE):
                self.spent[account, periods[0]] += cost_nanos

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Day:
    model: Model
    ledger: dict[tuple[str, str], int]
    outcomes: Counter[str]
    bytes_at: dict[int, int]
    jumps: int


async def day(turns: int, folder: Path) -> Day:
    loop = asyncio.get_running_loop()
    random = Random(4)
    off = 0.0
    clock = PeriodClock(lambda: EVENING + loop.time() + off, loop.time)
    model, ledger = Model(random, clock), MemoryLedger(clock)
    budgets = {tenant: {"daily": daily} for tenant, daily in BUDGETS.items()}
    settings = BudgetSettings.model_validate(
        {"all": {"daily": ALL_DAILY}, "tenants": budgets, "answer_tokens": LONGEST_ANSWER}
    )
    budgeted = BudgetedLlm(model, ledger, settings, PRICE)
    engine = AuditedLlm(MaskedLlm(budgeted), AuditLog(AuditFile(folder / "audit.jsonl", 1.0, 2)))
    await engine.open()
    outcomes: Counter[str] = Counter()
    bytes_at: dict[int, int] = {}
    system = Message("system", "You are a friendly voice assistant. " * 10)

    async def talk(number: int, every: float) -> None:
        session = 0
        while loop.time() < DAY_SECONDS:
            await asyncio.sleep(random.expovariate(1 / every))
            session += 1
            tenant = random.choice(list(BUDGETS))
            caller = Caller(session=f"{number}-{session}", user=f"u{number}", tenant=tenant, language="en")
            words = f"My card is 4111 1111 1111 1111, call 415555{random.randint(1000, 9999)}, what is my balance?"
            request = LlmRequest((system, Message("user", words)), max_tokens=LONGEST_ANSWER, caller=caller)
            outcomes[await outcome(request)] += 1

    async def outcome(request: LlmRequest) -> str:
        patience = random.randint(1, 40) if random.random() < 0.1 else LONGEST_ANSWER + 1
        heard = 0
        try:
            async with aclosing(engine.reply(request)) as events:
                async for event in events:
                    heard += 1
                    if heard >= patience:
                        return "interrupted"
                    if isinstance(event, Completed):
                        return "answered" if event.endpoint else "refused"
        except EngineError as error:
            return error.code
        return "nothing"

    async def upset() -> int:
        nonlocal off
        for hour in range(1, 25):
            await asyncio.sleep(3600)
            off += random.choice((-7200, -3600, -40_000, 0, 1800))
            if hour in (6, 12, 18, 24):
                time.sleep(0.3)  # noqa: ASYNC251 - the real thread of the audit log catches up
                gc.collect()
                bytes_at[hour] = tracemalloc.get_traced_memory()[0]
        return 24

    callers = 400
    async with asyncio.TaskGroup() as tasks:
        upsetting = tasks.create_task(upset())
        for number in range(callers):
            tasks.create_task(talk(number, DAY_SECONDS * callers / turns))
    spent: dict[tuple[str, str], int] = {}
    for period in {period for _, period in model.spent}:
        for account, nanos in (await ledger.spent("budget", period)).items():
            spent[account, period] = nanos
    await engine.close()
    return Day(model, spent, outcomes, bytes_at, upsetting.result())


def virtual() -> asyncio.AbstractEventLoop:
    return looptime.new_event_loop(start=0.0, noop_cycles=2)


def day_holds(turns: int) -> bool:
    tracemalloc.start()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=virtual) as runner:
        result = runner.run(day(turns, Path(folder)))
    tracemalloc.stop()
    told = ", ".join(f"{name} {count}" for name, count in result.outcomes.most_common())
    print(f"a day             n={sum(result.outcomes.values())} turns in {time.monotonic() - began:.0f} s: {told}")
    most = 0.0
    for account, limit in {**BUDGETS, EVERYONE: ALL_DAILY}.items():
        for period in sorted({period for _, period in result.model.spent}):
            true = result.model.spent[account, period]
            over = (true - limit * NANOS) / result.model.dearest
            most = max(most, over)
            by_ledger = result.ledger.get((account, period))
            ledger = "" if by_ledger is None else f"  by the ledger {by_ledger / NANOS:.4f}"  # it keeps the present day
            print(f"  {account:8} {period}  budget {limit:7.4f}  spent {true / NANOS:7.4f}{ledger}")
    held = most <= 1.0
    dearest = result.model.dearest / NANOS
    print(f"  overrun at most {most:.2f} of the dearest turn ({dearest:.6f}; target <= 1: {verdict(held)})")
    growth = result.bytes_at[24] - result.bytes_at[12]
    at = ", ".join(f"{hour} h {count}" for hour, count in result.bytes_at.items())
    small = growth <= GROWTH_TARGET
    print(f"memory            bytes at {at}; 12 to 24 h {growth:+} (target <= {GROWTH_TARGET}: {verdict(small)})")
    return held and small


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="of overload")
    parser.add_argument("--turns", type=int, default=25_000, help="in the day")
    arguments = parser.parse_args(argv)
    met = [overload_holds(arguments.seconds), day_holds(arguments.turns)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
