"""The parts of the project that the reference is generated from: the one place to change when a module moves."""

import argparse
import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import get_args

import msgspec
import voiceagent_client.cli
from pydantic import BaseModel

import voiceagent
from voiceagent.channels.realtime.client_events import ClientEvent
from voiceagent.channels.realtime.server_events import ServerEvent
from voiceagent.session.commands import Command
from voiceagent.session.events import Event
from voiceagent.settings import Settings

STAGES = ("vad", "asr", "llm", "tts")
"""The tables of the settings whose other keys belong to the engine that they name."""

COMMAND_LINE = "voiceagent.cli.main"
"""The module of the command `voiceagent`, a Typer application."""

API = {
    "Agents": ("voiceagent",),
    "Engines": (
        "voiceagent.vad.base",
        "voiceagent.asr.base",
        "voiceagent.llm.base",
        "voiceagent.tts.base",
        "voiceagent.memory.base",
        "voiceagent.errors",
    ),
    "Tools": ("voiceagent.tools.functions", "voiceagent.tools.base"),
    "Client": ("voiceagent_client",),
}
"""The modules of each page of the API's reference."""

PACKAGE = Path(voiceagent.__file__).parent
"""Where the sources of the server's package are."""


def settings() -> type[BaseModel]:
    """The model of the whole configuration file."""
    return Settings


def engines(stage: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The engines of a stage that come with the project, by name, with the models of their options."""
    points: list[EntryPoint] = sorted(entry_points(group=f"voiceagent.{stage}"), key=lambda point: point.name)
    for point in points:
        if point.value.startswith(f"{voiceagent.__name__}."):
            yield point.name, point.load().Options


def session_events() -> tuple[type, ...]:
    """What a session tells its channel."""
    return get_args(Event)


def session_commands() -> tuple[type, ...]:
    """What a channel may ask of a session."""
    return get_args(Command)


def server_events() -> list[type[msgspec.Struct]]:
    """The messages of the Realtime protocol that the server sends."""
    return list(_tagged(ServerEvent))


def client_events() -> list[type[msgspec.Struct]]:
    """The messages of the Realtime protocol that clients send."""
    return list(_tagged(ClientEvent))


def client_command_line() -> argparse.ArgumentParser:
    """The command `voiceagent-client`."""
    return voiceagent_client.cli.parser()


def _tagged(base: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """The messages below a base class, in all modules of its package. Those without a type of their own are bases."""
    package = base.__module__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    yield from _below(base)


def _below(base: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for kind in base.__subclasses__():
        if kind.__struct_config__.tag != kind.__name__:
            yield kind
        yield from _below(kind)
