"""`voiceagent llm`: how the endpoints of a running server's language model are, and what experiments have shown."""

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx
import msgspec
import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from voiceagent.errors import ConfigError, VoiceagentError
from voiceagent.section import web_address
from voiceagent.settings import load

if TYPE_CHECKING:
    from voiceagent.gateway.experiments.assignment import Experiments
    from voiceagent.gateway.experiments.report import ExperimentReport

app = typer.Typer(help="The language model's endpoints and experiments.", no_args_is_help=True)

KEY_VARIABLE = "VOICEAGENT_API_KEY"
SECONDS = 5.0
"""How long the server may take to answer."""
PIPED_WIDTH = 160
"""Columns where the output is no terminal, so that nothing is cut."""
COLORS = {"closed": "green", "half-open": "yellow", "open": "red"}


class EndpointReport(msgspec.Struct):
    """A row of `/llm/status`; times in seconds."""

    name: str
    breaker: str
    requests: int
    in_flight: int = 0
    waiting: int = 0
    region: str = ""
    reopens_in: float = 0.0
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    failure_rate: float = 0.0
    capacity: int | None = None
    headroom: float = 1.0
    errors: dict[str, int] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    spend: float = 0.0


class StatusReport(msgspec.Struct):
    endpoints: list[EndpointReport]
    requests: int = 0
    hedged: int = 0
    resumed: int = 0
    failed: int = 0


@app.command()
def status(
    url: Annotated[str, typer.Option(help="The server's address.")] = "http://127.0.0.1:8000",
    key: Annotated[
        str | None, typer.Option(help=f"An API key, or the admin's; else ${KEY_VARIABLE}.", show_default=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the table once, for scripts.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
) -> None:
    """A live table of the endpoints: how fast they are, what fails, what they cost. Ctrl-C ends it."""
    try:
        address = web_address(url).removesuffix("/v1")
    except ValueError as error:
        typer.echo(f"Error: --url {error}", err=True)
        raise typer.Exit(2) from None
    key = key or os.environ.get(KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    local = httpx.URL(address).host in ("localhost", "127.0.0.1", "::1")
    with httpx.Client(base_url=address, headers=headers, timeout=SECONDS, trust_env=not local) as client:
        if once:
            _print_once(client)
        else:
            _watch(client, every)


@app.command()
def experiments(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The TOML file with the experiments.")] = None,
) -> None:
    """What the experiments have shown so far, arm by arm."""
    try:
        for report in asyncio.run(_reports(_trial(config))):
            typer.echo(report.table())
    except VoiceagentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def _trial(config: Path | None) -> "Experiments":
    """Raises ConfigError."""
    from voiceagent.gateway.engine import GatewayOptions
    from voiceagent.gateway.experiments.assignment import Experiments

    section = load(config).llm_section
    if section.engine != "gateway":
        raise ConfigError('experiments need [llm] engine = "gateway"')
    try:
        options = GatewayOptions.model_validate(section.model_extra or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"[llm] {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    if not (options.experiments and options.experiments_path):
        raise ConfigError("there are no [[llm.experiments]] whose results are kept in an experiments_path")
    if not Path(options.experiments_path).expanduser().is_file():
        raise ConfigError(f"there is no file {options.experiments_path}: nothing has been seen yet")
    names = [endpoint.name for endpoint in options.endpoints]
    return Experiments(options.experiments, options.groups, names, options.experiments_path)


async def _reports(trial: "Experiments") -> "list[ExperimentReport]":
    """Raises ConfigError and EngineError."""
    await trial.open()
    try:
        return await trial.report()
    finally:
        await trial.close()


def fetch(client: httpx.Client) -> StatusReport:
    """Raises ConfigError, saying what to do."""
    where = client.base_url
    try:
        response = client.get("/llm/status")
    except httpx.HTTPError as error:
        raise ConfigError(f"there is no server at {where} ({type(error).__name__})") from None
    if response.status_code == 401:
        raise ConfigError(f"{where} wants a key: give --key or set {KEY_VARIABLE}")
    if response.status_code == 404:
        raise ConfigError(f'{where} has no status of endpoints: that needs [llm] engine = "failover" or "gateway"')
    if response.status_code != 200:
        raise ConfigError(f"{where} answered HTTP {response.status_code}")
    try:
        return msgspec.json.decode(response.content, type=StatusReport)
    except msgspec.MsgspecError:
        raise ConfigError(f"{where} gave an answer that is no status") from None


def shown(status: StatusReport) -> Table:
    """The table of the endpoints, with the sums below. First token: p50/p95. Under way: of the capacity, and those that
    wait for the rate limit. Tokens: in/out."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=_sums(status), caption_justify="left")
    for name in ("endpoint", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("first\ntoken ms", "fail", "under\nway", "limit\nleft", "asked"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("errors", overflow="fold")
    for name in ("tokens", "spend"):
        table.add_column(name, justify="right", no_wrap=True)
    for endpoint in status.endpoints:
        table.add_row(*_row(endpoint))
    return table


def _print_once(client: httpx.Client) -> None:
    try:
        table = shown(fetch(client))
    except VoiceagentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    _console().print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def _watch(client: httpx.Client, every: float) -> None:
    """A server that is away for a while is waited for."""
    with Live(console=_console(), auto_refresh=False) as live:
        try:
            while True:
                view: RenderableType
                try:
                    view = shown(fetch(client))
                except VoiceagentError as error:
                    view = Text(str(error), style="red")
                live.update(view, refresh=True)
                time.sleep(every)
        except KeyboardInterrupt:
            pass


def _row(endpoint: EndpointReport) -> list[str]:
    state = f"[{COLORS.get(endpoint.breaker, 'white')}]{escape(endpoint.breaker)}[/]"
    if endpoint.reopens_in > 0:
        state += f" {endpoint.reopens_in:.0f} s"
    region = f" ({escape(endpoint.region)})" if endpoint.region else ""
    capacity = "" if endpoint.capacity is None else f"/{endpoint.capacity}"
    waiting = f" +{endpoint.waiting}" if endpoint.waiting else ""
    errors = ", ".join(f"{escape(code)} {count}" for code, count in sorted(endpoint.errors.items()))
    return [
        escape(endpoint.name) + region,
        state,
        f"{_ms(endpoint.ttft_p50)}/{_ms(endpoint.ttft_p95)}",
        f"{endpoint.failure_rate:.0%}",
        f"{endpoint.in_flight}{capacity}{waiting}",
        f"{endpoint.headroom:.0%}",
        str(endpoint.requests),
        errors,
        f"{_thousands(endpoint.input_tokens)}/{_thousands(endpoint.output_tokens)}",
        f"{endpoint.spend:.4f}",
    ]


def _sums(status: StatusReport) -> str:
    spend = sum(endpoint.spend for endpoint in status.endpoints)
    return (
        f"{status.requests} requests, {status.failed} failed, {status.hedged} hedged, {status.resumed} went on "
        f"elsewhere; {spend:.4f} spent"
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


def _thousands(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"
