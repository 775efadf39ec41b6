"""`voiceagent serve`: the server of an agent or of a configuration."""

from pathlib import Path
from typing import Annotated

import typer

from voiceagent.errors import ConfigError

AgentArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[AGENT.py]", help="A Python file or module with an Agent, and `:name` where there are several."
    ),
]


def serve(
    agent: AgentArgument = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The TOML file; the environment wins over it.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when the configuration or a file of the agent's changes.")
    ] = False,
) -> int:
    """Serve on one port until SIGTERM; then let sessions finish."""
    from voiceagent.agent.agent import Agent
    from voiceagent.agent.finding import file_of, find_agent
    from voiceagent.agent.running import run
    from voiceagent.cli import reload as watcher
    from voiceagent.server.configuration import load_checked

    if agent is not None and config is not None:
        raise ConfigError("name either an agent or a configuration: an agent names its own")
    if reload:
        given = (("--config", config), ("--host", host), ("--port", port))
        arguments = [part for name, value in given if value is not None for part in (name, str(value))]
        arguments += [*(["--open"] if open_page else []), *([agent] if agent is not None else [])]
        return watcher.run(arguments, config=config, agent=None if agent is None else file_of(agent))
    chosen = Agent(settings=load_checked(config)) if agent is None else find_agent(agent)
    run(chosen, host=host, port=port, open_page=open_page)
    return 0
