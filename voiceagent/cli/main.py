"""The command line: `voiceagent serve`, `demo`, `chat`, `init`, `eval`, `talk`, `doctor`, `models`, `memory`,
`speakers`, `tools`, `recordings`, `report`, `llm`, `llm-proxy`."""

import asyncio
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from voiceagent import __version__, settings
from voiceagent.cli import recordings
from voiceagent.cli.chat import chat
from voiceagent.cli.config import app as config_app
from voiceagent.cli.eval import evaluate
from voiceagent.cli.init import init
from voiceagent.cli.llm import app as llm_app
from voiceagent.cli.memory import app as memory_app
from voiceagent.cli.models import app as models_app
from voiceagent.cli.serve import serve
from voiceagent.cli.speakers import app as speakers_app
from voiceagent.cli.tools import app as tools_app
from voiceagent.errors import ConfigError, VoiceagentError
from voiceagent.problems import lines_of

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(config_app, name="config", help="The configuration file.")
app.add_typer(models_app, name="models", help="The model files on this machine.")
app.add_typer(memory_app, name="memory", help="What is remembered of users.")
app.add_typer(recordings.app, name="recordings", help="The recorded talks.")
app.command()(recordings.report)
app.add_typer(speakers_app, name="speakers", help="The xiaozhi devices that may come in.")
app.add_typer(tools_app, name="tools", help="What agents may call.")
app.add_typer(llm_app, name="llm", help="The language model's endpoints.")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The TOML file; the environment wins over it.")
]


@contextmanager
def plain_errors() -> Iterator[None]:
    """A wrong configuration, or an engine that does not start, is told in one line, without a traceback."""
    try:
        yield
    except* VoiceagentError as group:
        error = group.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        lines = lines_of(error) if isinstance(error, ConfigError) else (str(error),)
        for line in lines:
            Console(stderr=True).print(f"[red]error:[/] {escape(line)}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """A runtime for real-time voice conversations."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command(name="serve")
@functools.wraps(serve)
def serving(**options: object) -> None:
    with plain_errors():
        raise typer.Exit(serve(**options))  # type: ignore[arg-type]


@app.command(name="llm-proxy")
def llm_proxy(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = None,
) -> None:
    """Serve the configured language model alone, as an OpenAI-compatible endpoint."""
    from voiceagent.agent.running import LISTENING, log_to_stderr
    from voiceagent.server.llm.proxy import serve as run
    from voiceagent.server.resources import make_llm

    with plain_errors():
        loaded = settings.load(config)
        changes = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        loaded = loaded.model_copy(update={"server": loaded.server.model_copy(update=changes)})
        log_to_stderr(loaded.server.log_level)
        llm = make_llm(loaded)
        asyncio.run(run(loaded, llm, on_ready=lambda url: print(f"{LISTENING}{url}", flush=True)))


@app.command()
def demo(
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    out: Annotated[Path, typer.Option(help="Where the stereo recording goes.")] = Path("out/demo.wav"),
    turns: Annotated[Path | None, typer.Option(help="A folder with other spoken turns.")] = None,
) -> None:
    """Start the real server and hold a spoken conversation with it."""
    from voiceagent.cli.demo import run

    with plain_errors():
        raise typer.Exit(run(config=config, as_json=json, out=out, turns=turns))


@app.command(name="chat")
@functools.wraps(chat)
def chatting(**options: object) -> None:
    with plain_errors():
        raise typer.Exit(chat(**options))  # type: ignore[arg-type]


@app.command(name="init")
@functools.wraps(init)
def initialising(**options: object) -> None:
    with plain_errors():
        raise typer.Exit(init(**options))  # type: ignore[arg-type]


@app.command(name="eval")
@functools.wraps(evaluate)
def evaluation(**options: object) -> None:
    with plain_errors():
        raise typer.Exit(evaluate(**options))  # type: ignore[arg-type]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def talk(context: typer.Context) -> None:
    """Talk with a server by microphone and loudspeaker (`voiceagent talk --help` for its options)."""
    from voiceagent_client.cli import main as client_main

    raise typer.Exit(client_main(context.args))


@app.command()
def devices() -> None:
    """List microphones and loudspeakers, as `talk --input` and `--output` name them."""
    from voiceagent_client.cli import main as client_main

    raise typer.Exit(client_main(["--list-devices"]))


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Say what is installed, what is missing, and the command that mends it."""
    from voiceagent.cli.doctor import report, show
    from voiceagent.models.store import ModelStore

    with plain_errors():
        loaded = settings.load(config)
        checks = report(loaded, ModelStore(loaded.models_dir))
    show(checks, Console())
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)
