"""Reach of the engines: which of them send what is said to other machines, and to whose."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
from pydantic import BaseModel

from voiceagent.engines import KINDS, EngineStage
from voiceagent.errors import ConfigError
from voiceagent.llm.base import LLM_ENGINES
from voiceagent.llm.failover.options import EndpointOptions
from voiceagent.server.configuration import engine_sections
from voiceagent.settings import Settings

_ADDRESS = re.compile(r"(?:https?|wss?)://\S+")


@dataclass(frozen=True, slots=True)
class StageReach:
    """The engine of a stage. `hosts` are the other machines that it talks to; `known` is False where only the engine's
    author can say."""

    stage: EngineStage
    engine: str
    hosts: tuple[str, ...] = ()
    known: bool = True

    def __str__(self) -> str:
        if self.hosts:
            return f"{self.stage}: {self.engine}, leaves this machine: {', '.join(self.hosts)}"
        return f"{self.stage}: {self.engine}, {'on this machine' if self.known else 'not known whether it leaves it'}"


def reach(settings: Settings, given: Mapping[EngineStage, object]) -> list[StageReach]:
    """Every stage, in the order in which a turn goes through them. `given` are engines that are not configured."""
    found = []
    for stage, section in engine_sections(settings).items():
        if stage in given:
            found.append(StageReach(stage, type(given[stage]).__qualname__, known=False))
            continue
        plugin, options = KINDS[stage].check(f"[{stage}]", section.with_options())
        hosts = tuple(dict.fromkeys(host for host in _hosts(options) if not is_loopback(host)))
        ours = getattr(plugin, "__module__", "").startswith("voiceagent.")
        found.append(StageReach(stage, section.engine, hosts, known=ours or bool(hosts)))
    return found


def is_loopback(host: str) -> bool:
    """Whether the host, a name or an address, is this machine for this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _hosts(value: object) -> Iterator[str]:
    """The hosts of all addresses in an engine's options, those of its endpoints' own engines too."""
    match value:
        case str() if _ADDRESS.fullmatch(value):
            yield from filter(None, (_host(value),))
        case EndpointOptions():
            try:
                _, options = LLM_ENGINES.check("[llm]", {"engine": value.dialect, **value.dialect_options})
            except ConfigError:  # making the engine will say it
                return
            yield from _hosts(options)
        case BaseModel():
            for name in type(value).model_fields:
                yield from _hosts(getattr(value, name))
        case Mapping():
            for inner in value.values():
                yield from _hosts(inner)
        case list() | tuple() | set() | frozenset():
            for inner in value:
                yield from _hosts(inner)


def _host(address: str) -> str:
    try:
        return httpx.URL(address).host
    except httpx.InvalidURL:
        return ""
