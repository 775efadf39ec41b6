"""`voiceagent eval`: run scenarios against a server and judge the answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from json import dumps, loads
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from voiceagent_client.errors import ClientError

from voiceagent.agent.agent import Agent
from voiceagent.agent.finding import chosen_agent
from voiceagent.assets import ASSETS
from voiceagent.cli.demo import server
from voiceagent.errors import ConfigError
from voiceagent.evaluation import scenario, text
from voiceagent.evaluation.report import EvaluationReport, Run
from voiceagent.evaluation.run import run
from voiceagent.evaluation.stage import ScenarioVoice, Staged, stage

SCENARIOS = ASSETS / "scenarios"
"""Those that come with the project."""


def evaluate(
    scenarios: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files and folders; the project's own without any.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="A Realtime server; without it this one is started.")] = None,
    key: Annotated[str | None, typer.Option(envvar="VOICEAGENT_API_KEY", help="The server's API key.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The TOML file of the server that is started.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="The Python file whose Agent is tested; ./agent.py where there is one.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Where the results go as JSON; - prints them.")] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="How often each scenario is played.")] = 1,
    keep_audio: Annotated[Path | None, typer.Option(help="A folder for recordings: user left, agent right.")] = None,
) -> int:
    """Play scenarios against a Realtime server and measure how it takes turns; hold those in writing with an agent.

    Returns 0 when every scenario went as it wants, else 1. Raises ConfigError for files that cannot be used.
    """
    printed = json == Path("-")
    console = Console(stderr=printed, highlight=False)
    written, spoken = sort(scenarios or [SCENARIOS])
    staged = prepare(spoken)
    report: EvaluationReport | None = None
    texts: list[text.TextRun] = []
    try:
        if written:
            texts = asyncio.run(_evaluate_texts(written, chosen_agent(agent, config), repeat, console))
            text.show(texts, console)
        if staged:
            if keep_audio is not None:
                keep_audio.mkdir(parents=True, exist_ok=True)
            source = config if agent is None else agent
            report = asyncio.run(_evaluate(staged, url, key, source, repeat, keep_audio, console))
            report.show(console)
    except (ClientError, TimeoutError, OSError) as error:
        raise ConfigError(f"the evaluation could not be held: {error}") from None
    passed = (report is None or report.passed) and all(run.passed for run in texts)
    result = as_json(report, texts, passed)
    if printed:
        print(result, end="")
    elif json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(result, "utf-8")
    return 0 if passed else 1


def as_json(report: EvaluationReport | None, texts: Sequence[text.TextRun], passed: bool) -> str:
    """The results of both kinds in one object: those of conversations in writing under `text`."""
    if report is not None and not texts:
        return report.json()
    body = {} if report is None else loads(report.json())
    return dumps({**body, "passed": passed, "text": text.plain(texts)}, indent=2, ensure_ascii=False) + "\n"


def sort(paths: Sequence[Path]) -> tuple[list[text.TextScenario], list[Path]]:
    """The scenarios in writing, and the files of those with audio. Raises ConfigError."""
    written: list[text.TextScenario] = []
    spoken: list[Path] = []
    for path in scenario.find(paths):
        if (found := text.read(path)) is not None:
            written.append(found)
        else:
            spoken.append(path)
    _check_names([found.name for found in written])
    return written, spoken


async def _evaluate_texts(
    scenarios: Sequence[text.TextScenario], agent: Agent, repeat: int, console: Console
) -> list[text.TextRun]:
    def tell(held: text.TextRun) -> None:
        console.print(f"held {escape(held.scenario)}: {len(held.turns)} turns")

    return await text.run(scenarios, agent, repeat=repeat, on_run=tell)


def prepare(paths: Sequence[Path]) -> list[Staged]:
    """Read the scenarios with audio and make it. Raises ConfigError."""
    voice = ScenarioVoice()
    staged = [stage(scenario.read(path), path.parent, voice) for path in scenario.find(paths)]
    _check_names([entry.scenario.name for entry in staged])
    return staged


def _check_names(names: Sequence[str]) -> None:
    """Raises ConfigError when two scenarios have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two scenarios have the same name: {', '.join(twice)}")


async def _evaluate(
    staged: Sequence[Staged],
    url: str | None,
    key: str | None,
    source: Path | str | None,
    repeat: int,
    keep_audio: Path | None,
    console: Console,
) -> EvaluationReport:
    def tell(played: Run) -> None:
        times = [value for turn in played.turns for value in turn.response_ms]
        console.print(f"played {escape(played.scenario)}: {len(played.turns)} turns, answered after {times} ms")

    async with _server(url, source) as address:
        return await run(staged, address, key=key, repeat=repeat, keep_audio=keep_audio, on_run=tell)


@asynccontextmanager
async def _server(url: str | None, source: Path | str | None) -> AsyncIterator[str]:
    """The one named, or our own while it is needed."""
    if url is not None:
        yield url
        return
    async with server(source) as started:
        yield started
