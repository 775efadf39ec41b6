"""`voiceagent eval`: run scenarios against a server and judge the answers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from voiceagent_client.errors import ClientError

from voiceagent.assets import ASSETS
from voiceagent.cli.demo import server
from voiceagent.errors import ConfigError
from voiceagent.evaluation import scenario
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
    json: Annotated[Path | None, typer.Option("--json", help="Where the results go as JSON; - prints them.")] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="How often each scenario is played.")] = 1,
    keep_audio: Annotated[Path | None, typer.Option(help="A folder for recordings: user left, agent right.")] = None,
) -> int:
    """Play scenarios against a Realtime server and measure how it takes turns.

    Returns 0 when every scenario went as it wants, else 1. Raises ConfigError for files that cannot be used.
    """
    printed = json == Path("-")
    console = Console(stderr=printed, highlight=False)
    staged = prepare(scenarios or [SCENARIOS])
    try:
        if keep_audio is not None:
            keep_audio.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(_evaluate(staged, url, key, config, repeat, keep_audio, console))
    except (ClientError, TimeoutError, OSError) as error:
        raise ConfigError(f"the evaluation could not be held: {error}") from None
    report.show(console)
    if printed:
        print(report.json(), end="")
    elif json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(report.json(), "utf-8")
    return 0 if report.passed else 1


def prepare(paths: Sequence[Path]) -> list[Staged]:
    """Read the scenarios and make their audio. Raises ConfigError."""
    voice = ScenarioVoice()
    staged = [stage(scenario.read(path), path.parent, voice) for path in scenario.find(paths)]
    names = [entry.scenario.name for entry in staged]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two scenarios have the same name: {', '.join(twice)}")
    return staged


async def _evaluate(
    staged: Sequence[Staged],
    url: str | None,
    key: str | None,
    config: Path | None,
    repeat: int,
    keep_audio: Path | None,
    console: Console,
) -> EvaluationReport:
    def tell(played: Run) -> None:
        times = [value for turn in played.turns for value in turn.response_ms]
        console.print(f"played {escape(played.scenario)}: {len(played.turns)} turns, answered after {times} ms")

    async with _server(url, config) as address:
        return await run(staged, address, key=key, repeat=repeat, keep_audio=keep_audio, on_run=tell)


@asynccontextmanager
async def _server(url: str | None, config: Path | None) -> AsyncIterator[str]:
    """The one named, or our own while it is needed."""
    if url is not None:
        yield url
        return
    async with server(config) as started:
        yield started
