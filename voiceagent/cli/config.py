"""`voiceagent config`: check a configuration file."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The configuration file.", no_args_is_help=True)

ConfigFile = Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file.")]


@app.callback()
def main() -> None:
    """The configuration file."""


@app.command()
def check(file: ConfigFile) -> None:
    """Say everything that is wrong with a configuration file and the environment, a line each."""
    from voiceagent.problems import InvalidConfig
    from voiceagent.server.configuration import load_checked

    try:
        load_checked(file)
    except InvalidConfig as error:
        for line in error.problems:
            typer.echo(line)
        raise typer.Exit(1) from None
    typer.echo(f"{file}: nothing is wrong")
