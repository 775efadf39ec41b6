"""`voiceagent memory`: look at what is kept of users, and delete it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from voiceagent.errors import ConfigError, VoiceagentError
from voiceagent.memory.base import MEMORY_STORES, MemoryStore
from voiceagent.memory.settings import StoreSection
from voiceagent.settings import load

T = TypeVar("T")

MOST_ENTRIES = 1_000_000

app = typer.Typer(help="What is remembered of users.", no_args_is_help=True)

User = Annotated[str, typer.Argument(metavar="USER", help="A user's id, as `list` shows it.")]
Config = Annotated[Path | None, typer.Option("--config", help=r"The TOML file whose \[memory] path to use.")]
MemoryPath = Annotated[Path | None, typer.Option("--path", help="The memory file itself.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_users(config: Config = None, path: MemoryPath = None) -> None:
    """Every user with the number of entries and the time of the last one."""
    users = _run(config, path, lambda store: store.users())
    if not users:
        typer.echo("Nothing is remembered.")
        return
    width = max(len(_shown(user)) for user, _, _ in users)
    for user, entries, last in users:
        typer.echo(f"{_shown(user):{width}}  {entries:6}  {_time(last)}")


@app.command()
def show(user: User, config: Config = None, path: MemoryPath = None) -> None:
    """All that is kept of one user, oldest first."""
    entries = _run(config, path, lambda store: store.recall(user, MOST_ENTRIES))
    if not entries:
        typer.echo("Nothing is remembered of this user.", err=True)
        raise typer.Exit(1)
    for entry in entries:
        typer.echo(f"{_time(entry.at)}  {entry.role:9}  {_shown(entry.text)}")


@app.command()
def forget(user: User, yes: Yes = False, config: Config = None, path: MemoryPath = None) -> None:
    """Delete all that is kept of one user."""
    if not yes:
        typer.confirm(f"Delete all that is remembered of {_shown(user)}?", abort=True)
    count = _run(config, path, lambda store: store.forget(user))
    typer.echo(f"Deleted {count} {'entry' if count == 1 else 'entries'}.")


def _run(config: Path | None, path: Path | None, work: Callable[[MemoryStore], Awaitable[T]]) -> T:
    """Do something with the store; an error goes to stderr and ends the command with status 1."""

    async def with_store() -> T:
        async with _opened(_section(config, path)) as store:
            return await work(store)

    try:
        return asyncio.run(with_store())
    except VoiceagentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


@asynccontextmanager
async def _opened(section: StoreSection) -> AsyncIterator[MemoryStore]:
    store = MEMORY_STORES.make("[memory]", section.with_options())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _section(config: Path | None, path: Path | None) -> StoreSection:
    """The memory to look at. Raises ConfigError when there is none."""
    section = load(config).memory if path is None else StoreSection(path=str(path))
    if not section.enabled:
        raise ConfigError("no memory is kept: [memory] path is empty; give --config or --path")
    if section.engine == "sqlite" and not (file := Path(section.path).expanduser()).is_file():
        raise ConfigError(f"there is no memory file at {file}")
    return section


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _shown(text: str) -> str:
    """On one line, and without what would steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
