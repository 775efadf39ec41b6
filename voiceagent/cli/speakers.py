"""`voiceagent speakers`: the xiaozhi devices that may come in."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from voiceagent.channels.channel import ANYONE
from voiceagent.channels.xiaozhi.fleet.store import Speaker, SpeakerStore
from voiceagent.channels.xiaozhi.settings import device_id, tenant_name
from voiceagent.errors import ConfigError, VoiceagentError
from voiceagent.settings import load

T = TypeVar("T")

app = typer.Typer(help="The xiaozhi devices that may come in.", no_args_is_help=True)

Device = Annotated[str, typer.Argument(metavar="MAC", help="A device's address, such as a0:b1:c2:d3:e4:f5.")]
Tenant = Annotated[str, typer.Option("--tenant", help=r"Whose device it is; otherwise \[xiaozhi] tenant's.")]
Config = Annotated[Path | None, typer.Option("--config", "-c", help=r"The TOML file whose \[xiaozhi] path to use.")]
StorePath = Annotated[Path | None, typer.Option("--path", help="The file of devices itself.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_speakers(config: Config = None, path: StorePath = None) -> None:
    """Every device that asked lately, the last one first. Those that wait are shown with their code."""
    speakers = _run(config, path, lambda store, _: store.speakers())
    if not speakers:
        typer.echo("No device has asked yet.")
    for speaker in speakers:
        typer.echo(_line(speaker))


@app.command()
def activate(
    code: Annotated[str, typer.Argument(help="The six digits that the device says or shows.")],
    tenant: Tenant = "",
    config: Config = None,
    path: StorePath = None,
) -> None:
    """Let the device in that says this code."""
    device = _run(config, path, lambda store, default: store.activate(code.strip(), _tenant(tenant) or default))
    if device is None:
        typer.echo("No device says this code, or not any more.", err=True)
        raise typer.Exit(1)
    typer.echo(f"{device} is activated.")


@app.command()
def allow(device: Device, tenant: Tenant = "", config: Config = None, path: StorePath = None) -> None:
    """Let a device in by its address; once more after its flash was erased."""
    mac = _device(device)
    _run(config, path, lambda store, default: store.allow(mac, _tenant(tenant) or default))
    typer.echo(f"{mac} may come in.")


@app.command()
def forget(device: Device, yes: Yes = False, config: Config = None, path: StorePath = None) -> None:
    """Let a device in no more: its token is refused a second later."""
    mac = _device(device)
    if not yes:
        typer.confirm(f"Forget {mac}?", abort=True)
    known = _run(config, path, lambda store, _: store.forget(mac))
    typer.echo(f"{mac} is forgotten." if known else f"{mac} was not known; tokens it may have are revoked.")


def _run(config: Path | None, path: Path | None, work: Callable[[SpeakerStore, str], Awaitable[T]]) -> T:
    """Do something with the store; an error goes to stderr and ends the command with status 1."""

    async def with_store() -> T:
        file, tenant = _file(config, path)
        store = SpeakerStore(file)
        await store.open()
        try:
            return await work(store, tenant)
        finally:
            await store.close()

    try:
        return asyncio.run(with_store())
    except VoiceagentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def _file(config: Path | None, path: Path | None) -> tuple[Path, str]:
    """The file of devices, and the tenant of those that nobody else was named for."""
    tenant = ""
    if path is None or config is not None:
        section = load(config).xiaozhi
        tenant = section.tenant
        if path is None and not section.path:
            raise ConfigError("devices are kept in memory only: [xiaozhi] path is empty; give --config or --path")
        path = path or Path(section.path)
    path = path.expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no file of devices at {path}")
    return path, tenant or ANYONE


def _device(value: str) -> str:
    try:
        return device_id(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _tenant(value: str) -> str:
    try:
        return tenant_name(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _line(speaker: Speaker) -> str:
    seen = datetime.fromtimestamp(speaker.seen).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    code = f"code {speaker.code}" if speaker.code else ""
    firmware = f"{speaker.board} {speaker.version}".strip() or "-"
    return f"{speaker.device_id}  {speaker.standing:8} {speaker.tenant or '-':12}  {seen}  {firmware}  {code}".rstrip()
