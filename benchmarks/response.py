"""How fast an answer goes out once the silence is over: `python -m benchmarks.response [--json]`.

Recogniser, model and voice are scripted and take no time; the voice detector is real, and every client asks for a
silence of 200 ms.
What is left is the server's own: the time from the last speech (by the server's account) to the answer's first sound,
less the silence. Printed for one talk alone and for fifty at once, with 95 % intervals.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.capacity import HEAD, Step, line, measure, pinned_to
from benchmarks.intervals import percentile
from benchmarks.recording import record
from benchmarks.server_process import scripted_server, two_cores
from voiceagent.models.store import ModelStore


@dataclass(frozen=True, slots=True)
class Target:
    """Milliseconds beyond the silence, for so many talks at once; None where none is set."""

    talks: int
    seconds: float
    p50_ms: float | None
    p95_ms: float

    def met(self, step: Step) -> bool:
        if step.p50_ms is None or step.p95_ms is None:
            return False
        return (self.p50_ms is None or step.p50_ms <= self.p50_ms) and step.p95_ms <= self.p95_ms


TARGETS = (Target(1, 90.0, 10.0, 25.0), Target(50, 20.0, None, 40.0))


async def response() -> list[Step]:
    recording = await record(ModelStore())
    server_core, clients_core = two_cores()
    print(HEAD, file=sys.stderr)
    steps: list[Step] = []
    async with scripted_server(server_core) as server:
        with pinned_to(clients_core):
            for target in TARGETS:
                steps.append(
                    await measure(
                        server, recording, target.talks, core=server_core, warm_up=4.0, seconds=target.seconds
                    )
                )
                print(line(steps[-1]), file=sys.stderr, flush=True)
    return steps


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)
    steps = asyncio.run(response())
    if arguments.json:
        print(json.dumps([{**asdict(target), **asdict(step)} for target, step in zip(TARGETS, steps, strict=True)]))
    for target, step in zip(TARGETS, steps, strict=True):
        verdict = "met" if target.met(step) else "MISSED"
        wanted = f"p95 <= {target.p95_ms:.0f}" + (f", p50 <= {target.p50_ms:.0f}" if target.p50_ms else "")
        p50, p95 = (percentile(step.beyond_ms, q) if step.beyond_ms else "-" for q in (50, 95))
        print(f"{step.talks} talk(s), n={step.answered}: p50 {p50} ms, p95 {p95} ms ({wanted}: {verdict})")
    return 0 if all(target.met(step) for target, step in zip(TARGETS, steps, strict=True)) else 1


if __name__ == "__main__":
    sys.exit(main())
