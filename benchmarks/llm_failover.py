"""What the failover engine costs and saves: `python -m benchmarks.llm_failover [--quick]`.

Real HTTP servers in processes of their own that delay, die, fall silent and have a heavy tail. Printed: its own
time a request beside plain httpx in the same run; what 100 talks notice when one of two endpoints is killed, and when
it becomes a black hole; and what hedging does to a tail.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

import httpx

from benchmarks.llm_failover_sessions import Heard, ServerProcess, engine_at, failover_over, p, past, servers, through
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.reports import Outcome

IN_FLIGHT = 100
NO_HEDGES = {"hedge": {"on": False}}
WORDS = 30
FIRST_TOKEN, TOKEN = 0.02, 0.03
"""Of the servers in the talks, in seconds."""
ANCHOR_WORDS = 3
"""That the second server repeats before it goes on."""
WARM_UP = 100
"""Turns after which the failover engine knows the endpoint; those before do not count in the tail."""
DEADLINE = 1.0
"""For the first byte, in the talks with the black hole."""


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    value: float
    limit: float
    n: int
    unit: str = "ms"
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "met" if self.met else "MISSED"
        return f"{self.what}: {self.value:.2f} {self.unit} (n={self.n}; {sign} {self.limit:g}: {verdict})"


async def overhead(rounds: int) -> list[Finding]:
    """100 in flight all the time at one server: a third by httpx, a third by its dialect alone, a third by failover."""
    async with servers(1) as [server], httpx.AsyncClient(timeout=None, trust_env=False) as client:
        await server.behave(first_token=1.0, spread=0.0)
        async with engine_at(server.base_url) as engine, failover_over([server.base_url], failover=NO_HEDGES) as llm:
            ways: dict[str, Callable[[int], Awaitable[Heard]]] = {
                "httpx": lambda turn: past(client, server.base_url, turn, 10),
                "engine": lambda turn: through(engine, turn, 10),
                "failover": lambda turn: through(llm, turn, 10),
            }
            times: dict[str, list[float]] = {way: [] for way in ways}

            async def worker(number: int) -> None:
                await asyncio.sleep(number / IN_FLIGHT)
                for turn in range(rounds + len(ways)):
                    way = list(ways)[(number + turn) % len(ways)]
                    heard = await ways[way](turn)
                    if heard.error:
                        raise RuntimeError(heard.error)
                    if turn >= len(ways):  # those before open the connections
                        times[way].append(heard.ttft - 1.0)

            await asyncio.gather(*map(worker, range(IN_FLIGHT)))
            for way, found in times.items():
                cpu = await cpu_seconds(ways[way], requests=20 * rounds)
                beyond = f"p50 {p(found, 0.5):.2f} ms, p95 {p(found, 0.95):.2f} ms beyond the server's time"
                print(f"  {way:6} {beyond} (n={len(found)}); a request costs {1000 * cpu:.2f} ms of a core")
    failover_times, plain = times["failover"], times["httpx"]
    return [
        Finding(
            f"own time a request, p{share * 100:.0f}", p(failover_times, share) - p(plain, share), limit, len(plain)
        )
        for share, limit in ((0.5, 1.0), (0.95, 3.0))
    ]


async def cpu_seconds(ask: Callable[[int], Awaitable[Heard]], requests: int) -> float:
    """Of this process, for one request, while 100 are in flight."""
    before = time.process_time()

    async def worker(number: int) -> None:
        for turn in range(requests // IN_FLIGHT):
            await ask(turn)

    await asyncio.gather(*map(worker, range(IN_FLIGHT)))
    return (time.process_time() - before) / (requests // IN_FLIGHT * IN_FLIGHT)


async def talks(llm: FailoverLlm, seconds: float) -> list[Heard]:
    """100 sessions that take turns for so long, with short pauses."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    heard: list[Heard] = []

    async def session(number: int) -> None:
        chance = random.Random(number)
        await asyncio.sleep(chance.random())
        turn = number * 1000
        while loop.time() < end:
            heard.append(await through(llm, turn, WORDS, f"session {number}"))
            turn += 1
            await asyncio.sleep(chance.uniform(0.2, 1.0))

    await asyncio.gather(*map(session, range(IN_FLIGHT)))
    return heard


async def killed(seconds: float) -> list[Finding]:
    async with servers(2) as both:
        for server in both:
            await server.behave(first_token=FIRST_TOKEN, token=TOKEN)
        async with failover_over([server.base_url for server in both]) as llm:
            broken: list[Outcome] = []
            llm.subscribe(lambda outcome: broken.append(outcome) if outcome.code not in ("ok", "cancelled") else None)
            killed_at, heard = await asyncio.gather(kill_later(both[0], seconds / 2), talks(llm, seconds))
    mid = [outcome for outcome in broken if outcome.ttft is not None]
    found = [outcome.began + outcome.seconds for outcome in mid]
    gaps = [gap for outcome in mid if (gap := gap_after(heard, outcome)) is not None]
    own = [gap - FIRST_TOKEN - ANCHOR_WORDS * TOKEN for gap in gaps]
    refused = sum(not outcome.check for outcome in broken) - len(mid)
    noticed = p([at - killed_at for at in found], 0.95)
    print(f"  {len(heard)} turns; {len(mid)} broke off in mid-answer, {refused} more found the endpoint dead")
    print(f"  noticed within {noticed:.1f} ms (p95); then to the next new word, the model's own time included:")
    print(f"  p50 {p(gaps, 0.5):.1f} ms, p95 {p(gaps, 0.95):.1f} ms")
    for one in [one for one in heard if not one.whole][:3]:
        print(f"  lost: {one.error or one.text}")
    lost = sum(not one.whole for one in heard)
    return [
        Finding("endpoint killed: turns lost", lost, 0, len(heard), ""),
        Finding("endpoint killed: words repeated", sum(one.repeated for one in heard), 0, len(heard) * WORDS, ""),
        Finding("endpoint killed: recovery p95, less the model's own time", p(own, 0.95), 50.0, len(own)),
    ]


async def kill_later(server: ServerProcess, seconds: float) -> float:
    await asyncio.sleep(seconds)
    server.kill()
    return asyncio.get_running_loop().time()


def gap_after(heard: Sequence[Heard], outcome: Outcome) -> float | None:
    """From the failure of this attempt to the next word of its turn; None where all words had come already."""
    failed = outcome.began + outcome.seconds
    turn = max((one for one in heard if one.session == outcome.caller.session and one.asked <= failed), key=asked)
    return min((came - failed for came in turn.came if came > failed), default=None)


def asked(heard: Heard) -> float:
    return heard.asked


async def black_hole(seconds: float) -> list[Finding]:
    async with servers(2) as both:
        for server in both:
            await server.behave(first_token=FIRST_TOKEN, token=TOKEN)
        failover = {"first_token_seconds": DEADLINE, "hedge": {"on": False}, "breaker": {"open_seconds": 1.0}}
        async with failover_over([server.base_url for server in both], failover=failover) as llm:
            outcomes: list[Outcome] = []
            llm.subscribe(outcomes.append)
            _, heard = await asyncio.gather(swallow_later(both[0], seconds / 2), talks(llm, seconds))
    late = [outcome for outcome in outcomes if outcome.code == "timeout" and not outcome.check]
    first = min(outcome.began + outcome.seconds for outcome in late)
    chosen_after = [one for one in outcomes if one.endpoint == "line-0" and one.began > first and not one.check]
    paid = [one for one in heard if one.came and one.ttft > DEADLINE / 2]
    worst = max(one.ttft for one in heard if one.came)
    for one in [one for one in heard if not one.whole][:3]:
        print(f"  lost: {one.error or one.text}")
    print(f"  {len(paid)} turns waited for it, at most {1000 * worst:.0f} ms; the deadline is {1000 * DEADLINE:.0f} ms")
    return [
        Finding("black hole: turns lost", sum(not one.whole for one in heard), 0, len(heard), ""),
        Finding("black hole: longest wait beyond the deadline", 1000 * (worst - DEADLINE), 100.0, len(paid)),
        Finding("black hole: times chosen after its first deadline", len(chosen_after), 0, len(heard), ""),
    ]


async def swallow_later(server: ServerProcess, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await server.behave(black_hole=True)


async def hedging(requests: int) -> list[Finding]:
    """One endpoint, of whose requests 5 % take ten times as long."""
    results: dict[bool, tuple[list[float], int]] = {}
    for on in (False, True):
        async with servers(1) as [server]:
            await server.behave(first_token=0.05, tail=0.05)
            async with failover_over([server.base_url], failover={"hedge": {"on": on}}) as llm:
                times: list[float] = []

                async def worker(llm: FailoverLlm, times: list[float]) -> None:
                    times.extend([(await through(llm, turn, 3)).ttft for turn in range(requests // 20)])

                await asyncio.gather(*(worker(llm, times) for _ in range(20)))
                results[on] = times[WARM_UP:], await server.requests()
    (plain, asked), (hedged, asked_hedged) = results[False], results[True]
    print(f"  without: p50 {p(plain, 0.5):.0f} ms, p95 {p(plain, 0.95):.0f} ms, p99 {p(plain, 0.99):.0f} ms")
    print(f"  hedged:  p50 {p(hedged, 0.5):.0f} ms, p95 {p(hedged, 0.95):.0f} ms, p99 {p(hedged, 0.99):.0f} ms")
    n = len(hedged)
    return [
        Finding("hedging: p99 to the first token, times less", p(plain, 0.99) / p(hedged, 0.99), 3.0, n, "x", True),
        Finding("hedging: more requests", 100 * (asked_hedged / asked - 1), 10.0, n, "%"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    quick = parser.parse_args(argv).quick
    findings: list[Finding] = []
    parts: tuple[tuple[str, Callable[[], Coroutine[None, None, list[Finding]]]], ...] = (
        ("own time a request, 100 in flight", lambda: overhead(5 if quick else 20)),
        ("one of two endpoints is killed, 100 talks", lambda: killed(3.0 if quick else 10.0)),
        ("one of two endpoints becomes a black hole, 100 talks", lambda: black_hole(3.0 if quick else 10.0)),
        ("a heavy tail", lambda: hedging(400 if quick else 3000)),
    )
    for title, part in parts:
        print(title, flush=True)
        found = asyncio.run(part())
        print(*(f"  {finding}" for finding in found), sep="\n", flush=True)
        findings += found
    return 0 if all(finding.met for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
