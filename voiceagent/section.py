"""Sections of the configuration: their base classes and the types of their values.

Each part of the project defines the section that it is handed in its own folder. A text below a key says what it means:
the reference of all settings is made of these.
"""

import re
from typing import Annotated

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

Milliseconds = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


def web_address(value: str) -> str:
    """An endpoint's address without a slash at its end. Raises ValueError when it is none of http or https."""
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError("not a web address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("must begin with http:// or https:// and name a host")
    return value.rstrip("/")


WebAddress = Annotated[str, AfterValidator(web_address)]


def header_value(secret: SecretStr) -> SecretStr:
    """A header's value without blanks around it. Raises ValueError when it cannot be sent."""
    value = secret.get_secret_value().strip()
    if not (value.isascii() and value.isprintable()):
        raise ValueError("has characters that cannot be sent in an HTTP header")
    return SecretStr(value)


def key_value(secret: SecretStr) -> SecretStr:
    """A key as it is sent in a header. Raises ValueError when it cannot be sent, or has a blank inside."""
    key = header_value(secret)
    if " " in key.get_secret_value():
        raise ValueError("has a blank inside, which no key has")
    return key


def header_name(name: str) -> str:
    """Raises ValueError when no header can have this name."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("cannot be the name of an HTTP header")
    return name


HeaderSecret = Annotated[SecretStr, AfterValidator(header_value)]
KeySecret = Annotated[SecretStr, AfterValidator(key_value)]
HeaderName = Annotated[str, AfterValidator(header_name)]


class Section(BaseModel):
    """A table of the TOML file: unknown keys are errors, nothing is changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineSection(BaseModel):
    """A table that names a plug-in: `engine` is the name of an installed one or `package.module:Class`; every other key
    is an option of that plug-in."""

    model_config = ConfigDict(extra="allow", frozen=True)
    engine: str
    """The name of an installed plug-in, or `package.module:Class`."""

    def __repr__(self) -> str:
        """Without the options: a key may be among them."""
        return f"{type(self).__name__}(engine={self.engine!r})"

    __str__ = __repr__

    def with_options(self) -> dict[str, object]:
        """The table as it stands in the configuration."""
        return {"engine": self.engine, **(self.model_extra or {})}
