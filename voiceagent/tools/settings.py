"""`[tools]`: what agents may call, from Python modules, MCP servers and webhooks."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, SecretStr, model_validator

from voiceagent.errors import ConfigError
from voiceagent.section import (
    EngineSection,
    HeaderName,
    HeaderSecret,
    Milliseconds,
    Seconds,
    Section,
    header_value,
    web_address,
)
from voiceagent.tools.base import ToolPolicy


def endpoint(value: str) -> str:
    """An address as it is, with the slash at its end that some servers want. Raises ValueError for none of http."""
    web_address(value)
    return value


Endpoint = Annotated[str, AfterValidator(endpoint)]
ToolName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
Prefix = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{0,32}$")]


class PolicySection(Section):
    """How tools are run, as far as it is to be otherwise."""

    deadline_seconds: Seconds | None = None
    """After so long the call has failed; 15 unless the tool says otherwise."""
    on_interrupt: Literal["cancel", "keep"] | None = None
    """At a barge-in the call is cancelled, or goes on and its result is told with the next answer; `cancel` unless the
    tool says otherwise."""
    filler_ms: Milliseconds | None = None
    """After so long the agent says a filler (0: never); 700 unless the tool says otherwise."""
    confirm: bool | None = None
    """Whether the user is asked first; no unless the tool says otherwise."""

    def over(self, policy: ToolPolicy) -> ToolPolicy:
        return replace(policy, **self.model_dump(exclude_none=True))


class SourceSection(Section):
    """`policy` is that of all the source's tools, `policies` that of some, by the names that the source gives them."""

    policy: PolicySection = PolicySection()
    """How all the source's tools are run."""
    policies: dict[str, PolicySection] = Field(default_factory=dict)
    """How some of them are run, by the names that the source gives them."""

    def policy_of(self, name: str, own: ToolPolicy) -> ToolPolicy:
        """What is in force for this tool; `own` is what the source says of it."""
        general = self.policy.over(own)
        return self.policies[name].over(general) if name in self.policies else general


class PythonSection(SourceSection):
    """Functions of a Python module."""

    module: Annotated[str, Field(min_length=1)]
    """A module's name, or a `.py` file."""
    functions: tuple[str, ...] = ()
    """The functions to offer; empty: all that are marked with `@tool`."""
    prefix: Prefix = ""
    """Stands before their names."""


class McpSection(SourceSection):
    """An MCP server: a `command` that is started and spoken with by its standard streams, or the `url` of one."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,31}$")]
    """Stands before the names of the server's tools."""
    command: str = ""
    """The program to start."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: dict[str, SecretStr] = Field(default_factory=dict)
    """Variables for it, beside a plain environment."""
    inherit: tuple[str, ...] = ()
    """Names of variables that it gets from the server's own environment."""
    cwd: Path | None = None
    """Its working folder."""
    log_file: Path | None = None
    """Gets what it writes to its standard error, which may be users' words."""
    url: Endpoint | None = None
    """Address of a server by streamable HTTP."""
    headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    """Sent with each request; taken for secrets."""
    headers_env: dict[HeaderName, str] = Field(default_factory=dict)
    """Headers whose values are in these variables of the environment."""
    allowed: tuple[str, ...] | None = None
    """The server's own names of the tools that may be called; all without it."""
    prefix: Prefix | None = None
    """Stands before all names; without it the server's name and `_`."""
    mode: Literal["auto", "legacy"] = "auto"
    """`legacy` is for old servers that cannot bear being asked for the newest protocol."""
    connect_seconds: Seconds = 15.0
    """For connecting and listing the tools."""
    retry_seconds: Seconds = 1.0
    """Before connecting again; doubled each time, up to a minute."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either command or url")
        wrong = {"args", "env", "inherit", "cwd", "log_file"} if self.url else {"headers", "headers_env"}
        if given := sorted(wrong & self.model_fields_set):
            raise ValueError(f"{given[0]} is of no use with {'url' if self.url else 'command'}")
        return self


class WebhookSection(Section):
    """A tool that is a request to a web address."""

    name: ToolName
    """The tool's name, as the model sees it."""
    description: Annotated[str, Field(min_length=1)]
    """What it does, for the model."""
    parameters: dict[str, JsonValue] | Path = Field(default_factory=dict)
    """JSON schema of the arguments, or the path of a file with it."""
    url: Endpoint
    """Where the request goes."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """How it is sent."""
    headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    """Sent along; taken for secrets."""
    headers_env: dict[HeaderName, str] = Field(default_factory=dict)
    """Headers whose values are in these variables of the environment."""
    secret: SecretStr | None = None
    """Signs each request."""
    secret_env: str = ""
    """The variable that holds the secret."""
    connect_seconds: Seconds = 3.0
    """For the connection; the answer has `deadline_seconds`."""
    policy: PolicySection = PolicySection()
    """How the tool is run."""

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.secret_env and self.secret is not None:
            raise ValueError("give only one of secret and secret_env")
        return self


class ToolsSection(Section):
    """What agents may call."""

    threads: Annotated[int, Field(ge=1, le=256)] = 8
    """How many functions that are not async may run at once."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 8
    """How often in one turn a model may call tools; then it is offered none and must answer."""
    python: tuple[PythonSection, ...] = ()
    """Python functions."""
    mcp: tuple[McpSection, ...] = ()
    """MCP servers."""
    webhook: tuple[WebhookSection, ...] = ()
    """Webhooks."""
    source: tuple[EngineSection, ...] = ()
    """Tools of other packages."""
    client_mcp: bool = False
    """Whether clients of the Realtime protocol may name MCP servers for their session: any at a public address, by
    https."""
    client_mcp_hosts: tuple[str, ...] = ()
    """Hosts that such servers may be on wherever they are (`mcp.example.com`, `*.example.com`)."""
    client_mcp_seconds: Seconds = 10.0
    """For connecting to such a server and listing its tools."""

    @model_validator(mode="after")
    def _servers_differ(self) -> Self:
        names = [server.name for server in self.mcp]
        if len(set(names)) < len(names):
            raise ValueError("two MCP servers have one name")
        return self


def from_environment(where: str, variable: str) -> str:
    """Raises ConfigError when the variable is not set; `where` is the key that names it."""
    if not (value := os.environ.get(variable)):
        raise ConfigError(f"{where}: the environment has no {variable}")
    return value


def headers_of(where: str, headers: Mapping[str, SecretStr], headers_env: Mapping[str, str]) -> dict[str, str]:
    """The headers to send, with those of the environment. Raises ConfigError."""
    found = {name: secret.get_secret_value() for name, secret in headers.items()}
    for name, variable in headers_env.items():
        try:
            value = header_value(SecretStr(from_environment(f"{where} headers_env", variable)))
        except ValueError as error:
            raise ConfigError(f"{where} headers_env: {variable} {error}") from None
        found[name] = value.get_secret_value()
    return found
