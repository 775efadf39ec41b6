"""All benchmarks one after the other: `python -m benchmarks [name …]`. The exit code is 1 when any target is missed."""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence

Benchmark = Callable[[list[str]], int]
"""Takes the command line's arguments, prints what it found, returns 0 when its targets are met."""

NAMES = (
    "session-cost",
    "demo",
    "response",
    "turn-end",
    "ready",
    "barge-in",
    "heard",
    "normalise",
    "page",
    "client-echo",
    "llm-failover",
    "llm-limits",
    "llm-cache",
    "capacity",
)
"""Each is the module of that name, with underscores, whose `main` is a Benchmark. A new one is a line here."""


def benchmark(name: str) -> Benchmark:
    """It is loaded only when it runs: some need packages that others do not."""

    def run(argv: list[str]) -> int:
        main: Benchmark = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").main
        return main(argv)

    return run


BENCHMARKS: dict[str, Benchmark] = {name: benchmark(name) for name in NAMES}


def main(argv: Sequence[str] | None = None, benchmarks: dict[str, Benchmark] = BENCHMARKS) -> int:
    known = ", ".join(benchmarks)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which; all when none is named: {known}")
    names: list[str] = parser.parse_args(argv).names or list(benchmarks)
    if unknown := [name for name in names if name not in benchmarks]:
        parser.error(f"there is no benchmark {unknown[0]}; there is: {known}")
    summary: list[str] = []
    missed = False
    for name in names:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        try:
            result = "met" if benchmarks[name]([]) == 0 else "MISSED"
        except Exception as error:  # the others are still worth running
            result = f"FAILED: {type(error).__name__}: {error}"
        missed = missed or result != "met"
        summary.append(f"{name:14} {result}  ({time.monotonic() - began:.0f} s)")
    print("== summary", *summary, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
