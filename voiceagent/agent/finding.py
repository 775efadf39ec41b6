"""Finder of agents: the Agent that a Python file or module defines, for the command line."""

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from voiceagent.agent.agent import Agent
from voiceagent.errors import ConfigError
from voiceagent.problems import did_you_mean

DEFAULT_FILE = Path("agent.py")
"""Looked for in the current folder by commands that are told of no agent."""


def find_agent(name: str) -> Agent:
    """The agent of `file.py`, `package.module`, or either with `:name` after it. Without a name it is the one called
    `agent`, or else the only one there is. Raises ConfigError."""
    source, attribute = _parts(name)
    module = _load(source)
    agents = {key: value for key, value in vars(module).items() if isinstance(value, Agent)}
    if attribute:
        if attribute not in agents:
            raise ConfigError(f"{source} has no Agent named {attribute}{did_you_mean(attribute, agents)}")
        return agents[attribute]
    if "agent" in agents:
        return agents["agent"]
    distinct = {id(agent): agent for agent in agents.values()}
    if len(distinct) != 1:
        which = f"{len(distinct)}: name one, as in {source}:{next(iter(agents))}" if distinct else "none"
        raise ConfigError(f"{source} must define an Agent; it has {which}")
    return next(iter(distinct.values()))


def chosen_agent(agent: str | None, config: Path | None) -> Agent:
    """The agent that a command is to use: the one named, else that of the configuration, else that of `agent.py` in the
    current folder, else the one that the environment configures. Raises ConfigError."""
    if agent is not None and config is not None:
        raise ConfigError("name either an agent or a configuration: an agent names its own")
    if agent is not None:
        return find_agent(agent)
    if config is None and DEFAULT_FILE.is_file():
        return find_agent(str(DEFAULT_FILE))
    return Agent(settings=config)


def file_of(name: str) -> Path | None:
    """The file that an agent's name is about; None for a module."""
    source = _parts(name)[0]
    return Path(source) if source.endswith(".py") else None


def _parts(name: str) -> tuple[str, str]:
    """Source and attribute. A drive letter's colon is no separator."""
    source, colon, attribute = name.rpartition(":")
    return (source, attribute) if colon and attribute.isidentifier() and len(source) > 1 else (name, "")


def _load(source: str) -> ModuleType:
    """Import a module, or a file as Python itself would run it: with its folder first on the path. Raises
    ConfigError."""
    path = Path(source)
    try:
        if not source.endswith(".py"):
            sys.path.insert(0, os.getcwd())
            return importlib.import_module(source)
        if not path.is_file():
            raise ConfigError(f"there is no file {source}")
        path = path.resolve()
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # annotations are looked up there
        spec.loader.exec_module(module)
        return module
    except ConfigError:
        raise
    except SyntaxError as error:
        raise ConfigError(f"{source} cannot be loaded: {error.msg} (line {error.lineno})") from None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        raise ConfigError(f"{source} cannot be loaded: {type(error).__name__}: {error} at {where}") from None
