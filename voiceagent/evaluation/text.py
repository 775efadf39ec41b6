"""Text scenarios: conversations held in writing, with the words and the tool calls that must come of each turn.

They need neither audio nor a server, and are as fast as the model. A scenario is one where it says `modality: text`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, ValidationError, convert
from msgspec import field as struct_field
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from voiceagent.agent.agent import Agent
from voiceagent.agent.chat import ChatCall, ChatReply
from voiceagent.errors import ConfigError, EngineError, Refused, VoiceagentError
from voiceagent.evaluation.scenario import Milliseconds, Name, invalid, load_yaml, read_bytes
from voiceagent.evaluation.summary import says

TURN_SECONDS = 120.0
"""How long an answer may take with all its tools."""


class ExpectedCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call that must be made. Of the arguments only those count that are named here."""

    name: Annotated[str, Meta(min_length=1)]
    arguments: dict[str, object] = struct_field(default_factory=dict)


class TextExpect(Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a turn; what is not stated is not looked at."""

    answer: str | list[str] | None = None
    not_answer: str | list[str] | None = None
    calls: list[ExpectedCall] | None = None
    max_response_ms: Milliseconds | None = None


class TextTurn(Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of the user's."""

    say: Annotated[str, Meta(min_length=1)]
    expect: TextExpect = TextExpect()


class TextScenario(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation in writing. `user` names whose memory it has, `variables` fill the agent's instructions."""

    name: Name
    modality: Literal["text"]
    turns: Annotated[list[TextTurn], Meta(min_length=1, max_length=100)]
    description: str = ""
    user: str = ""
    variables: dict[str, str] = struct_field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextResult:
    """What came of a turn, and what is not as the scenario wants it."""

    said: str
    answer: str
    calls: tuple[ChatCall, ...]
    response_ms: int
    shortcomings: tuple[str, ...]


@dataclass(slots=True)
class TextRun:
    """One holding of a scenario. `failure` is why there are no more turns."""

    scenario: str
    turns: list[TextResult] = field(default_factory=list)
    failure: str | None = None

    @property
    def passed(self) -> bool:
        return self.failure is None and not any(turn.shortcomings for turn in self.turns)


def read(path: Path) -> TextScenario | None:
    """The text scenario of this file; None where it holds one with audio. Raises ConfigError."""
    content = load_yaml(read_bytes(path), str(path))
    if not isinstance(content, dict) or content.get("modality") != "text":
        return None
    try:
        return convert(content, TextScenario)
    except ValidationError as error:
        raise invalid(str(path), error) from None
    except RecursionError:
        raise ConfigError(f"{path}: the whole file: contains itself") from None


async def run(
    scenarios: Sequence[TextScenario], agent: Agent, *, repeat: int = 1, on_run: Callable[[TextRun], None]
) -> list[TextRun]:
    """Each scenario `repeat` times, in a conversation of its own. `on_run` is told of each when it is over. Raises
    ConfigError when the agent cannot be used."""
    runs: list[TextRun] = []
    for _ in range(repeat):
        for scenario in scenarios:
            runs.append(await _hold(scenario, agent))
            on_run(runs[-1])
    return runs


async def _hold(scenario: TextScenario, agent: Agent) -> TextRun:
    """A conversation that breaks is a failure of this scenario alone."""
    held = TextRun(scenario.name)
    async with agent.chat(user=scenario.user, variables=scenario.variables) as chat:
        for turn in scenario.turns:
            try:
                reply = await chat.say(turn.say, timeout_seconds=TURN_SECONDS)
            except ConfigError:
                raise
            except TimeoutError:
                held.failure = f"{turn.say!r}: no answer within {TURN_SECONDS:g} s"
                break
            except (EngineError, Refused, VoiceagentError) as error:
                held.failure = f"{turn.say!r}: {error}"
                break
            found = tuple(shortcomings(reply, turn.expect))
            held.turns.append(TextResult(turn.say, reply.text, reply.calls, reply.timings.total_ms, found))
    return held


def shortcomings(reply: ChatReply, expect: TextExpect) -> list[str]:
    """What is not as the scenario wants it."""
    found = [f"the answer does not say {text!r}" for text in _texts(expect.answer) if not says(reply.text, text)]
    found += [f"the answer says {text!r}" for text in _texts(expect.not_answer) if says(reply.text, text)]
    if expect.calls is not None:
        found += _wrong_calls(reply.calls, expect.calls)
    if expect.max_response_ms is not None and reply.timings.total_ms > expect.max_response_ms:
        found.append(f"answered after {reply.timings.total_ms} ms, more than {expect.max_response_ms}")
    return found


def _texts(texts: str | list[str] | None) -> list[str]:
    return [] if texts is None else [texts] if isinstance(texts, str) else texts


def _wrong_calls(made: Sequence[ChatCall], wanted: Sequence[ExpectedCall]) -> list[str]:
    """The calls must be these and no others, in this order."""
    if [call.name for call in made] != [call.name for call in wanted]:
        names = [", ".join(call.name for call in calls) or "nothing" for calls in (made, wanted)]
        return [f"called {names[0]} instead of {names[1]}"]
    return [
        f"called {call.name} with {name} {call.arguments.get(name)!r} instead of {value!r}"
        for call, expected in zip(made, wanted, strict=True)
        for name, value in expected.arguments.items()
        if name not in call.arguments or not _alike(call.arguments[name], value)
    ]


def _alike(given: object, wanted: object) -> bool:
    """Texts are compared without their case and the blanks around them."""
    match given, wanted:
        case str(), str():
            return given.strip().casefold() == wanted.strip().casefold()
        case list(), list():
            return len(given) == len(wanted) and all(map(_alike, given, wanted))
        case dict(), dict():
            return given.keys() == wanted.keys() and all(_alike(given[key], wanted[key]) for key in wanted)
        case _:
            return type(given) is type(wanted) and given == wanted


def show(runs: Sequence[TextRun], console: Console) -> None:
    """A table of the scenarios, and what went wrong with the answer in which it did."""
    table = Table("scenario", title="Text scenarios", box=SIMPLE, padding=0)
    table.columns[0].overflow = "fold"
    for title in ("turns", "calls", "slowest, ms", ""):
        table.add_column(title, justify="right", no_wrap=True)
    for name in dict.fromkeys(run.scenario for run in runs):
        own = [run for run in runs if run.scenario == name]
        turns = [turn for run in own for turn in run.turns]
        slowest = max((turn.response_ms for turn in turns), default=0)
        verdict = "[green]ok[/]" if all(run.passed for run in own) else "[red]failed[/]"
        calls = sum(len(turn.calls) for turn in turns)
        table.add_row(escape(name), str(len(turns)), str(calls), str(slowest), verdict)
    console.print(table)
    for run in runs:
        for turn in run.turns:
            for entry in turn.shortcomings:
                console.print(f"[red]{escape(run.scenario)}:[/] {escape(repr(turn.said))}: {escape(entry)}")
            if turn.shortcomings:
                console.print(f"      the answer was: {escape(turn.answer) or '(nothing)'}")
        if run.failure is not None:
            console.print(f"[red]{escape(run.scenario)}:[/] {escape(run.failure)}")


def plain(runs: Sequence[TextRun]) -> list[Mapping[str, object]]:
    """The runs as JSON holds them."""
    return [{**asdict(run), "passed": run.passed} for run in runs]
