"""What an experiment has shown so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voiceagent.gateway.experiments.statistics import of_ranks, of_shares

SURE = 0.05
"""Of a whole report: each of its comparisons must be so much surer (Bonferroni)."""
COMPARED = 3
"""Latency, errors and interruptions."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted of an arm. `ttft` are seconds to the first token, the newest ones as far as they are kept.
    `requests` counts attempts at endpoints, `turns` replies, of so many `sessions`."""

    ttft: Sequence[float] = ()
    requests: int = 0
    errors: int = 0
    cost: float = 0.0
    turns: int = 0
    interrupted: int = 0
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely chance alone makes an arm differ so much from the first one (p-values); None with too few cases."""

    latency: float | None
    errors: float | None
    interruptions: float | None


@dataclass(frozen=True, slots=True)
class ArmReport:
    """Times in seconds, None without measurement. `chances` compare with the first arm, which has none."""

    name: str
    tally: Tally
    ttft_p50: float | None
    ttft_p95: float | None
    chances: Chances | None = None

    @property
    def error_share(self) -> float:
        return self.tally.errors / max(1, self.tally.requests)

    @property
    def interrupted_share(self) -> float:
        return self.tally.interrupted / max(1, self.tally.turns)

    @property
    def cost_a_turn(self) -> float | None:
        return self.tally.cost / self.tally.turns if self.tally.turns else None

    @property
    def turns_a_session(self) -> float | None:
        return self.tally.turns / self.tally.sessions if self.tally.sessions else None


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    experiment: str
    arms: tuple[ArmReport, ...]

    @property
    def threshold(self) -> float:
        """Chances below this count as a difference."""
        return SURE / (COMPARED * max(1, len(self.arms) - 1))

    def table(self) -> str:
        """For people. A star marks a difference from the first arm that is more than chance."""
        rows = [_HEAD, *(_row(arm, self.threshold) for arm in self.arms)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        note = f"p: chance of such a difference from {self.arms[0].name}; * below {self.threshold:.4f}"
        return "\n".join([f"experiment {self.experiment}", *(line.rstrip() for line in lines), note])


_HEAD = [
    "arm",
    "sessions",
    "turns",
    "a session",
    "ttft p50",
    "p95",
    "p",
    "errors",
    "p",
    "interrupted",
    "p",
    "cost a turn",
]


def report(experiment: str, tallies: Sequence[tuple[str, Tally]]) -> ExperimentReport:
    """The first arm is what the others are compared with."""
    first = tallies[0][1]
    return ExperimentReport(
        experiment,
        tuple(_arm(name, tally, None if index == 0 else first) for index, (name, tally) in enumerate(tallies)),
    )


def _arm(name: str, tally: Tally, first: Tally | None) -> ArmReport:
    p50, p95 = (float(value) for value in np.percentile(tally.ttft, (50, 95))) if len(tally.ttft) else (None, None)
    if first is None:
        return ArmReport(name, tally, p50, p95)
    chances = Chances(
        latency=of_ranks(tally.ttft, first.ttft),
        errors=of_shares(tally.errors, tally.requests, first.errors, first.requests),
        interruptions=of_shares(tally.interrupted, tally.turns, first.interrupted, first.turns),
    )
    return ArmReport(name, tally, p50, p95, chances)


def _row(arm: ArmReport, threshold: float) -> list[str]:
    def chance(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}{'*' if value < threshold else ''}"

    chances = arm.chances or Chances(None, None, None)
    return [
        arm.name,
        str(arm.tally.sessions),
        str(arm.tally.turns),
        "-" if arm.turns_a_session is None else f"{arm.turns_a_session:.1f}",
        "-" if arm.ttft_p50 is None else f"{1000 * arm.ttft_p50:.0f} ms",
        "-" if arm.ttft_p95 is None else f"{1000 * arm.ttft_p95:.0f} ms",
        chance(chances.latency),
        f"{arm.error_share:.1%}",
        chance(chances.errors),
        f"{arm.interrupted_share:.1%}",
        chance(chances.interruptions),
        "-" if arm.cost_a_turn is None else f"{arm.cost_a_turn:.6f}",
    ]
