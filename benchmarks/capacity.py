"""How many talks one core holds: `python -m benchmarks.capacity [--json]`.

The server runs in a process of its own, pinned to one core with all its threads; its recogniser, model and voice are
scripted and take no time, its voice detector is real. Clients in another process, on another core, send 20 ms frames
and speak 40 % of the time. A number of talks is held when every turn is answered, the 95th percentile of the time to
the answer beyond the configured silence is below 100 ms, and no answer has an audible gap. The largest such number is
the result; it is looked for in steps and then by halving.
"""

import argparse
import asyncio
import gc
import json
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from benchmarks.crowd import Crowd, Turn, crowd
from benchmarks.recording import Recording, record
from benchmarks.server_process import ServerProcess, Usage, cores, scripted_server, two_cores
from voiceagent.models.store import ModelStore

TARGET = 100
"""Talks."""
BEYOND_MS = 100.0
LATE_MS = 10.0
"""When 1 % of the clients' messages are later than this, it is the clients that fail and not the server."""
ANSWER_SECONDS = 2.0
"""How long after the measured time an answer may still come."""
READING_SECONDS = 1.0
"""Between two readings of the server's numbers."""
STRANGERS = 0.1
"""Share of the server's core taken by other processes above which the result is a lower bound."""
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Step:
    """What was measured with one number of talks. Shares are of one core; `others` is what processes beside the server
    took of its core, None where it was not pinned to one. Times are None where nothing was answered; `beyond_ms` are
    all of them."""

    talks: int
    turns: int
    answered: int
    p50_ms: float | None
    p95_ms: float | None
    gaps: int
    longest_gap_ms: float
    lost: int
    server_cpu: float
    others: float | None
    loop_lag_ms: float
    clients_late_ms: float
    beyond_ms: tuple[float, ...] = ()

    @property
    def held(self) -> bool:
        soon = self.p95_ms is not None and self.p95_ms < BEYOND_MS
        return soon and self.answered == self.turns and self.gaps == 0 and self.lost == 0

    @property
    def valid(self) -> bool:
        """Whether it was the server that was measured."""
        return self.held or self.clients_late_ms <= LATE_MS

    @property
    def disturbed(self) -> bool:
        """Whether another try may go better."""
        return not self.valid or (self.others is not None and self.others > STRANGERS)


@dataclass(slots=True)
class Readings:
    """The server's numbers, read while it works."""

    usages: list[tuple[float, Usage]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    async def take(self, server: ServerProcess) -> None:
        """Read them again and again until cancelled."""
        while True:
            self.usages.append((time.monotonic(), await server.usage()))
            self.lags.append(await server.loop_lag())
            await asyncio.sleep(READING_SECONDS)

    @property
    def cpu(self) -> float:
        (began, first), (ended, last) = self.usages[0], self.usages[-1]
        return (last.cpu_seconds - first.cpu_seconds) / max(ended - began, READING_SECONDS)


async def measure(
    server: ServerProcess, recording: Recording, talks: int, *, core: int | None, warm_up: float, seconds: float
) -> Step:
    """Let so many clients talk, and watch for so long after the warm-up."""
    async with crowd(server.host, server.port, recording, talks) as clients:
        talking = asyncio.create_task(clients.talk())
        readings = Readings()
        reading: asyncio.Task[None] | None = None
        try:
            await asyncio.sleep(warm_up)
            began, busy_before = time.monotonic(), busy_seconds(core)
            reading = asyncio.create_task(readings.take(server))
            await asyncio.sleep(seconds)
            ended, busy_after = time.monotonic(), busy_seconds(core)
            reading.cancel()
            await asyncio.sleep(ANSWER_SECONDS)
        finally:
            tasks = [task for task in (talking, reading) if task is not None]
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        busy = None if core is None else (busy_after - busy_before) / (ended - began)
        return judged(clients, readings, busy, began, ended)


def judged(clients: Crowd, readings: Readings, busy: float | None, began: float, ended: float) -> Step:
    """The step's numbers, from what happened between two moments."""
    turns = [turn for talker in clients.talkers for turn in talker.turns if began <= turn.ended < ended]
    gaps = [gap.seconds for talker in clients.talkers for gap in talker.gaps if began <= gap.at < ended]
    late = [seconds for at, seconds in clients.lateness if began <= at < ended]
    beyond = beyond_of(turns)
    return Step(
        talks=len(clients.talkers),
        turns=len(turns),
        answered=len(beyond),
        p50_ms=percentile(beyond, 50),
        p95_ms=percentile(beyond, 95),
        gaps=len(gaps),
        longest_gap_ms=max(gaps, default=0.0) * 1000,
        lost=sum(talker.lost for talker in clients.talkers),
        server_cpu=readings.cpu,
        others=None if busy is None else max(0.0, busy - readings.cpu),
        loop_lag_ms=max(readings.lags, default=0.0) * 1000,
        clients_late_ms=(percentile(late, 99) or 0.0) * 1000,
        beyond_ms=tuple(beyond),
    )


def beyond_of(turns: Sequence[Turn]) -> list[float]:
    return [turn.beyond_ms for turn in turns if turn.beyond_ms is not None]


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None


def busy_seconds(core: int | None) -> float:
    """Seconds that a core has worked since the machine started, for whomever."""
    if core is None:
        return 0.0
    times = psutil.cpu_times(percpu=True)[core]
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


async def search(
    run: Callable[[int], Awaitable[Step]], *, start: int, step: int, limit: int, fineness: int
) -> tuple[int, list[Step]]:
    """The largest number of talks that is held, to the fineness, and all that was measured. A step that failed while
    something else than the server may have been the reason is measured again, up to ATTEMPTS times. Where the clients
    were too slow to the last, the search ends with what was held until then."""
    steps: list[Step] = []

    async def held(talks: int) -> bool:
        for _ in range(ATTEMPTS):
            steps.append(await run(talks))
            if steps[-1].held or not steps[-1].disturbed:
                break
        return steps[-1].held

    best, talks = 0, start
    while talks <= limit and await held(talks):
        best, talks = talks, talks + step
    too_many = min(talks, limit + 1)
    while steps[-1].valid and too_many - best > fineness:
        middle = (best + too_many) // 2
        if await held(middle):
            best = middle
        else:
            too_many = middle
    return best, steps


HEAD = " talks  turns answered  p50 ms  p95 ms   gaps  lost  server  others  loop lag  clients late"


def line(step: Step) -> str:
    """A row of the table under HEAD."""
    p50, p95 = ("-" if value is None else f"{value:.0f}" for value in (step.p50_ms, step.p95_ms))
    others = "-" if step.others is None else f"{step.others:.0%}"
    verdict = "" if step.held else "  too many" if step.valid else "  invalid: the clients were too slow"
    return (
        f"{step.talks:6} {step.turns:6} {step.answered:8} {p50:>7} {p95:>7} {step.gaps:6} {step.lost:5} "
        f"{step.server_cpu:7.0%} {others:>7} {step.loop_lag_ms:6.0f} ms {step.clients_late_ms:10.1f} ms{verdict}"
    )


@contextmanager
def pinned_to(core: int | None) -> Iterator[None]:
    """This process on one core, and without the garbage collector's pauses, for the time being."""
    allowed = set(cores())
    if core is not None:
        os.sched_setaffinity(0, {core})
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if core is not None:
            os.sched_setaffinity(0, allowed)


async def capacity(arguments: argparse.Namespace) -> tuple[int, list[Step]]:
    recording = await record(ModelStore())
    server_core, clients_core = two_cores()
    if server_core is None:
        print("note: this machine has no two cores to keep server and clients apart", file=sys.stderr)
    async with scripted_server(server_core, arguments.profile) as server:
        with pinned_to(clients_core):

            async def run(talks: int) -> Step:
                step = await measure(
                    server, recording, talks, core=server_core, warm_up=arguments.warm_up, seconds=arguments.seconds
                )
                print(line(step), file=sys.stderr, flush=True)
                return step

            print(HEAD, file=sys.stderr)
            return await search(
                run,
                start=arguments.start,
                step=arguments.step,
                limit=arguments.limit,
                fineness=arguments.fineness,
            )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=int, default=50, help="talks in the first step")
    parser.add_argument("--step", type=int, default=50, help="talks more in each further step")
    parser.add_argument("--limit", type=int, default=1000, help="talks after which it stops")
    parser.add_argument("--fineness", type=int, default=10, help="talks by which the result may be too low")
    parser.add_argument("--seconds", type=float, default=18.0, help="measured in each step")
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds of talk before that")
    parser.add_argument("--target", type=int, default=TARGET, help="talks below which the exit code is 1")
    parser.add_argument("--profile", type=Path, help="a file for cProfile's numbers of the server's loop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    best, steps = asyncio.run(capacity(arguments))
    others = max((step.others or 0.0 for step in steps), default=0.0)
    if arguments.json:
        print(json.dumps({"talks": best, "target": arguments.target, "steps": [asdict(step) for step in steps]}))
    else:
        print(f"one core holds {best} talks (target: at least {arguments.target})")
        if others > STRANGERS:
            print(f"other processes took up to {others:.0%} of the server's core: on a quiet machine it may be more")
        if not steps[-1].valid:
            print("the clients could not keep their pace, so that more was not measured")
    return 0 if best >= arguments.target else 1


if __name__ == "__main__":
    sys.exit(main())
