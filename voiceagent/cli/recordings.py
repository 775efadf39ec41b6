"""`voiceagent recordings`: what is recorded, and deleting it; `voiceagent report`: a session as an HTML file."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from voiceagent import extras
from voiceagent.errors import ConfigError, VoiceagentError
from voiceagent.recordings.store import RecordingStore
from voiceagent.settings import load

app = typer.Typer(help="The recorded talks.", no_args_is_help=True)

Session = Annotated[
    str, typer.Argument(metavar="SESSION", help="A talk's id, as `voiceagent recordings list` shows it.")
]
Config = Annotated[Path | None, typer.Option("--config", "-c", help=r"The TOML file whose \[recordings] path to use.")]
Folder = Annotated[Path | None, typer.Option("--path", help="The folder of recordings itself.")]


@app.command("list")
def list_recordings(config: Config = None, path: Folder = None) -> None:
    """Every recorded session, the latest first."""
    recorded = opened(config, path).sessions()
    if not recorded:
        typer.echo("Nothing is recorded.")
    for one in recorded:
        at = datetime.fromtimestamp(one.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        notes = ("" if one.sound else "  without sound") + ("" if one.finished else "  not finished")
        typer.echo(f"{one.session}  {at}  {one.size / 1e6:8.1f} MB{notes}")


@app.command()
def delete(
    sessions: Annotated[list[str], typer.Argument(metavar="SESSION…", help="The talks' ids.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = None,
    path: Folder = None,
) -> None:
    """Delete recorded sessions."""
    store = opened(config, path)
    if not yes:
        typer.confirm(f"Delete {len(sessions)} {'recording' if len(sessions) == 1 else 'recordings'}?", abort=True)
    missing = [session for session in sessions if not store.delete(session)]
    for session in missing:
        typer.echo(f"Error: there is no recording of {session}", err=True)
    typer.echo(f"Deleted {len(sessions) - len(missing)}.")
    if missing:
        raise typer.Exit(1)


def report(
    session: Session,
    out: Annotated[Path | None, typer.Option(help="The file; SESSION.html here unless given.")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="With the sound in it: 0.5 MB a minute.")] = False,
    config: Config = None,
    path: Folder = None,
) -> None:
    """Write a recorded session as one HTML file that needs nothing else, to look at or to attach to a bug."""
    from voiceagent.report.page import render

    store = opened(config, path)
    if audio and not extras.installed("av"):
        typer.echo(f"Error: {extras.MissingExtra('--audio', 'av')}", err=True)
        raise typer.Exit(2)
    html = render(store, session, audio=audio)
    if html is None:
        typer.echo(f"Error: there is no recording of {session}", err=True)
        raise typer.Exit(1)
    file = out or Path(f"{session}.html")
    try:
        file.write_text(html, "utf-8")
    except OSError as error:
        typer.echo(f"Error: {file}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo(str(file))


def opened(config: Path | None, path: Path | None) -> RecordingStore:
    """The folder that is meant. An error goes to stderr and ends the command with status 2."""
    try:
        section = load(config).recordings
        folder = path if path is not None else Path(section.path) if section.path else None
        if folder is None:
            raise ConfigError("nothing is recorded: [recordings] path is empty; give --config or --path")
        if not folder.expanduser().is_dir():
            raise ConfigError(f"there is no folder {folder}")
    except VoiceagentError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    return RecordingStore(folder, section.days)
