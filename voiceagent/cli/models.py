"""`voiceagent models`: the models on this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from voiceagent.errors import ConfigError
from voiceagent.models.catalogue import DEFAULT, find
from voiceagent.models.store import ModelStore

app = typer.Typer(no_args_is_help=True, help="The models on this machine: list, fetch, check and remove them.")

Names = Annotated[list[str] | None, typer.Argument(help="Models, as `list` names them.", show_default=False)]
Dir = Annotated[
    Path | None,
    typer.Option(help="Where models are kept; else $VOICEAGENT_MODELS_DIR or your cache folder.", show_default=False),
]


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


@app.command("list")
def list_models(dir: Dir = None) -> None:  # noqa: A002 - the option's name
    """Show every model there is, and which of them are on this machine."""
    with _clear_errors():
        store = ModelStore(dir)
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("for", "size", "licence", "here", "what it is"):
        table.add_column(heading)
    for model in store.catalogue:
        here = "yes" if store.installed(model.name) else "no"
        table.add_row(model.name, model.kind, decimal(model.size), model.licence, here, model.description)
    Console().print(table)
    typer.echo(f"kept in {store.root}")


@app.command()
def fetch(names: Names = None, dir: Dir = None) -> None:  # noqa: A002
    """Fetch models; without names, all that a talk without keys and network needs."""
    wanted = names or list(DEFAULT)
    with _clear_errors():
        store = ModelStore(dir)
        fetched = fetch_with_bars(store, wanted)
        for name in dict.fromkeys(wanted):
            typer.echo(f"{name}: {'fetched' if name in fetched else 'already here'}, {store.path(name)}")


def fetch_with_bars(store: ModelStore, names: list[str]) -> list[str]:
    """ModelStore.fetch with its progress on standard error. Raises ConfigError."""
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.update(tasks[what], completed=done, total=total or None)

        return store.fetch(names, show)


@app.command()
def verify(names: Names = None, dir: Dir = None) -> None:  # noqa: A002
    """Compare every byte of the models on this machine with what was published; without names, of all that are here."""
    sound = True
    with _clear_errors():
        store = ModelStore(dir)
        here = [model.name for model in store.catalogue if store.installed(model.name)]
        for name in names or here:
            wrong = store.verify(name)
            sound = sound and not wrong
            damage = f"damaged ({', '.join(wrong)}); mend it with: {store.fetch_command(name)}"
            typer.echo(f"{name}: {damage if wrong else 'good'}")
    if not sound:
        raise typer.Exit(1)


@app.command()
def remove(names: Annotated[list[str], typer.Argument(help="Models to delete.")], dir: Dir = None) -> None:  # noqa: A002
    """Delete models from this machine."""
    with _clear_errors():
        store = ModelStore(dir)
        for name in [find(name, store.catalogue).name for name in names]:
            typer.echo(f"{name}: {'removed' if store.remove(name) else 'was not here'}")


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
