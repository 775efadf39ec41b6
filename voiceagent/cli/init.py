"""`voiceagent init`: a folder to begin an agent in, with its configuration, a scenario and a test."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from voiceagent.assets import ASSETS
from voiceagent.errors import ConfigError

TEMPLATE = ASSETS / "template"
"""The files that are written, as they are."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Made where it is not there.")] = Path(),
) -> int:
    """Write an agent to begin with: agent.py, agent.toml, a scenario, a test and a README. Nothing is overwritten.

    Raises ConfigError.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False)
    files = {folder / path.relative_to(TEMPLATE): path for path in sorted(TEMPLATE.rglob("*")) if _is_source(path)}
    if there := [str(path) for path in files if path.exists() or path.is_symlink()]:
        raise ConfigError(f"nothing was written: {', '.join(there)} would be overwritten")
    for path, source in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:  # never over what came meanwhile
                file.write(source.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from None
        console.print(f"wrote {path}")
    place = "" if folder == Path() else f"cd {folder}\n"
    steps = ("voiceagent chat", "voiceagent serve agent.py --open", "voiceagent eval scenarios", "pytest")
    console.print(f"\nNext:\n{place}" + "\n".join(steps))
    return 0


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
