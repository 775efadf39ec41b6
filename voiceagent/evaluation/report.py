"""The results for people and for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voiceagent.evaluation.measure import TurnResult
from voiceagent.evaluation.summary import Figure, Share, Spread, summarise
from voiceagent.evaluation.usage import SpeculationCounts

NAMES = {
    "response_ms": "response time, ms",
    "turns_unanswered": "turns not answered",
    "turns_cut_off": "turns cut off in a pause",
    "interruptions_missed": "interruptions missed",
    "interruptions_false": "stopped for nothing",
    "time_to_silence_ms": "time to silence, ms",
    "replies_resumed": "replies that went on whole",
    "heard_within_one_word": "heard text within one word",
    "heard_words_off": "heard text, words off",
    "word_errors": "word errors",
    "interjections_late": "interjections too late",
}
"""Of the figures, as the table shows them."""


@dataclass(slots=True)
class Run:
    """One playing of a scenario. `shortcomings` are those of each turn; `failure` why there are no turns."""

    scenario: str
    turns: list[TurnResult] = field(default_factory=list)
    shortcomings: list[list[str]] = field(default_factory=list)
    failure: str | None = None

    @property
    def passed(self) -> bool:
        return self.failure is None and not any(self.shortcomings)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    url: str
    runs: Sequence[Run]
    speculation: SpeculationCounts | None
    notes: Sequence[str] = ()
    """What could not be measured and why."""

    @property
    def passed(self) -> bool:
        return all(run.passed for run in self.runs)

    def json(self) -> str:
        by_scenario = {run.scenario: summarise(turns_of(self.runs, run.scenario)) for run in self.runs}
        body = {
            "url": self.url,
            "passed": self.passed,
            "figures": _plain(summarise(turns_of(self.runs))),
            "speculation": None if self.speculation is None else asdict(self.speculation),
            "notes": list(self.notes),
            "scenarios": {name: _plain(figures) for name, figures in by_scenario.items()},
            "runs": [
                {
                    "scenario": run.scenario,
                    "passed": run.passed,
                    "failure": run.failure,
                    "turns": [
                        {**_of_turn(turn), "shortcomings": short}
                        for turn, short in zip(run.turns, run.shortcomings, strict=True)
                    ],
                }
                for run in self.runs
            ],
        }
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"

    def show(self, console: Console) -> None:
        console.print(_scenarios(self.runs))
        console.print(_figures(summarise(turns_of(self.runs)), self.speculation))
        for note in self.notes:
            console.print(f"[yellow]not measured:[/] {escape(note)}")
        for run in self.runs:
            if run.failure is not None:
                console.print(f"[red]{escape(run.scenario)}:[/] {escape(run.failure)}")
            for turn, short in zip(run.turns, run.shortcomings, strict=True):
                for entry in short:
                    console.print(f"[red]{escape(run.scenario)}:[/] {escape(turn.text)!r}: {escape(entry)}")
                if short:
                    console.print(f"      the answer was: {escape(turn.agent_text) or '(nothing)'}")


def turns_of(runs: Sequence[Run], scenario: str | None = None) -> list[TurnResult]:
    return [turn for run in runs if scenario in (None, run.scenario) for turn in run.turns]


def _scenarios(runs: Sequence[Run]) -> Table:
    table = Table("scenario", title="Scenarios", box=SIMPLE, padding=0)
    table.columns[0].overflow = "fold"
    for title in ("turns", "p50", "p95", "cut", "missed", "false", "silent", "whole", "wrong", ""):
        table.add_column(title, justify="right", no_wrap=True)
    for name in dict.fromkeys(run.scenario for run in runs):
        own = [run for run in runs if run.scenario == name]
        figures = summarise(turns_of(own))
        response, silence = figures["response_ms"], figures["time_to_silence_ms"]
        assert isinstance(response, Spread)
        assert isinstance(silence, Spread)
        table.add_row(
            escape(name),
            str(len(turns_of(own))),
            _number(response.p50),
            _number(response.p95),
            _ratio(figures["turns_cut_off"]),
            _ratio(figures["interruptions_missed"]),
            _ratio(figures["interruptions_false"]),
            _number(silence.p50),
            _ratio(figures["replies_resumed"]),
            _percent(figures["word_errors"]),
            "[green]ok[/]" if all(run.passed for run in own) else "[red]failed[/]",
        )
    return table


def _figures(figures: Mapping[str, Figure], speculation: SpeculationCounts | None) -> Table:
    table = Table("figure", title="All together", box=SIMPLE)
    for title in ("n", "value", "p95", "largest"):
        table.add_column(title, justify="right")
    for name, figure in figures.items():
        match figure:
            case Spread(n, p50, p95, largest):
                table.add_row(NAMES[name], str(n), _number(p50), _number(p95), _number(largest))
            case Share(n):
                table.add_row(NAMES[name], str(n), f"{_percent(figure)} ({figure.count})", "", "")
    if speculation is not None:
        prepared = speculation.used + speculation.thrown_away
        table.add_row("prepared ahead and used", str(prepared), str(speculation.used), "", "")
        written = speculation.tokens_thrown_away + speculation.tokens_spoken
        table.add_row("tokens thrown away", str(written), str(speculation.tokens_thrown_away), "", "")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _ratio(figure: Figure) -> str:
    return f"{figure.count}/{figure.n}" if isinstance(figure, Share) and figure.n else "–"


def _percent(figure: Figure) -> str:
    return "–" if not isinstance(figure, Share) or figure.share is None else f"{figure.share:.0%}"


def _plain(figures: Mapping[str, Figure]) -> dict[str, object]:
    return {name: asdict(figure) for name, figure in figures.items()}


def _of_turn(turn: TurnResult) -> dict[str, object]:
    """All but the audio."""
    heard = [{"text": text, "claimed": claimed} for text, claimed, _ in turn.heard]
    names = [name for name in TurnResult.__slots__ if name != "heard"]
    return {**{name: getattr(turn, name) for name in names}, "interrupted": turn.interrupted, "heard": heard}
