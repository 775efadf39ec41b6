"""`[tools]`: what agents may call, from Python modules, MCP servers and webhooks."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, SecretStr, model_validator

from voiceagent.errors import ConfigError
from voiceagent.section import HeaderName, HeaderSecret, Milliseconds, Seconds, Section, header_value, web_address
from voiceagent.tools.base import ToolPolicy


def endpoint(value: str) -> str:
    """An address as it is, with the slash at its end that some servers want. Raises ValueError for none of http."""
    web_address(value)
    return value


Endpoint = Annotated[str, AfterValidator(endpoint)]
ToolName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]
Prefix = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{0,32}$")]


class PolicySection(Section):
    """How tools are run, as far as it is to be otherwise (see ToolPolicy)."""

    deadline_seconds: Seconds | None = None
    on_interrupt: Literal["cancel", "keep"] | None = None
    filler_ms: Milliseconds | None = None
    confirm: bool | None = None

    def over(self, policy: ToolPolicy) -> ToolPolicy:
        return replace(policy, **self.model_dump(exclude_none=True))


class SourceSection(Section):
    """`policy` is that of all the source's tools, `policies` that of some, by the names that the source gives them."""

    policy: PolicySection = PolicySection()
    policies: dict[str, PolicySection] = Field(default_factory=dict)

    def policy_of(self, name: str, own: ToolPolicy) -> ToolPolicy:
        """What is in force for this tool; `own` is what the source says of it."""
        general = self.policy.over(own)
        return self.policies[name].over(general) if name in self.policies else general


class PythonSection(SourceSection):
    """`module` is a module's name or a `.py` file. Without `functions` all that are marked with `@tool` are taken."""

    module: Annotated[str, Field(min_length=1)]
    functions: tuple[str, ...] = ()
    prefix: Prefix = ""


class McpSection(SourceSection):
    """Either a `command` that is started and spoken with by its standard input and output, or the `url` of a server.
    The command gets a plain environment, with `env`, and with the variables that `inherit` names. `log_file` gets what
    it writes to its standard error. `headers_env` are headers whose values the environment holds. `allowed` are the
    server's own names of the tools that may be called; None allows all. `prefix` stands before them all, by default the
    server's name and `_`. `mode` "legacy" is for old servers that cannot bear being asked for the newest protocol."""

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,31}$")]
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = Field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    cwd: Path | None = None
    log_file: Path | None = None
    url: Endpoint | None = None
    headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    headers_env: dict[HeaderName, str] = Field(default_factory=dict)
    allowed: tuple[str, ...] | None = None
    prefix: Prefix | None = None
    mode: Literal["auto", "legacy"] = "auto"
    connect_seconds: Seconds = 15.0
    retry_seconds: Seconds = 1.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either command or url")
        wrong = {"args", "env", "inherit", "cwd", "log_file"} if self.url else {"headers", "headers_env"}
        if given := sorted(wrong & self.model_fields_set):
            raise ValueError(f"{given[0]} is of no use with {'url' if self.url else 'command'}")
        return self


class WebhookSection(Section):
    """One tool, which is a request to `url`. `parameters` is the JSON schema of the arguments, or the file with it.
    With a `secret` each request is signed."""

    name: ToolName
    description: Annotated[str, Field(min_length=1)]
    parameters: dict[str, JsonValue] | Path = Field(default_factory=dict)
    url: Endpoint
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    headers_env: dict[HeaderName, str] = Field(default_factory=dict)
    secret: SecretStr | None = None
    secret_env: str = ""
    connect_seconds: Seconds = 3.0
    policy: PolicySection = PolicySection()

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.secret_env and self.secret is not None:
            raise ValueError("give only one of secret and secret_env")
        return self


class ToolsSection(Section):
    """`threads`: how many functions that are not async may run at once. With `client_mcp` clients of the Realtime
    protocol may name MCP servers for their session: any at a public address, by https; those of `client_mcp_hosts`
    (`mcp.example.com`, `*.example.com`) wherever they are. Such a server must answer within `client_mcp_seconds`."""

    threads: Annotated[int, Field(ge=1, le=256)] = 8
    python: tuple[PythonSection, ...] = ()
    mcp: tuple[McpSection, ...] = ()
    webhook: tuple[WebhookSection, ...] = ()
    client_mcp: bool = False
    client_mcp_hosts: tuple[str, ...] = ()
    client_mcp_seconds: Seconds = 10.0

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
