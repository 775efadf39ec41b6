"""Proof of who calls, as far as vendors have it in common: addresses, secrets of ours, and what a request holds."""

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr
from starlette.requests import HTTPConnection

FormFields = Sequence[tuple[str, str]]
"""The fields of a form, in its order."""

DEFAULT_PORTS = {"wss": 443, "https": 443, "ws": 80, "http": 80}
MAX_KEYS = 4
"""Keys that one request may present."""


@dataclass(frozen=True, slots=True)
class VendorRequest:
    """A request as its signature covers it. `urls` are those that the vendor may have asked for (see `addresses`);
    `form` holds the fields of the `body` where that is a form. A stream's request has neither."""

    headers: Mapping[str, str]
    urls: Sequence[str]
    method: str = "GET"
    form: FormFields = ()
    body: bytes = b""


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def addresses(connection: HTTPConnection, public_url: str | None) -> list[str]:
    """The URLs that the vendor may have asked for: behind a proxy only the configured one is known; where the port is
    the scheme's own it may be written or not."""
    safe, plain = ("wss", "ws") if connection.scope["type"] == "websocket" else ("https", "http")
    if public_url is not None:
        base = urlsplit(public_url)
        schemes = [safe if base.scheme == "https" else plain]
        host, prefix = base.netloc, base.path
    else:
        schemes, host, prefix = [safe, plain], connection.headers.get("host", ""), ""
    path = connection.url.path
    if public_url is not None:  # which has in it where this application is mounted
        path = prefix + path.removeprefix(connection.scope.get("root_path", ""))
    found = []
    for scheme in schemes:
        port = f":{DEFAULT_PORTS[scheme]}"
        bare = host.removesuffix(port)
        hosts = [host] if ":" in bare.rpartition("]")[2] else [bare, bare + port]
        found += [urlunsplit((scheme, name, path, connection.url.query, "")) for name in hosts]
    return found


def presented_keys(connection: HTTPConnection) -> list[str]:
    """Secrets of ours that the vendor sends along: in the path, in the query, as a token, as a password."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    given = [connection.path_params.get("key"), *(connection.query_params.getlist("key"))]
    if scheme.lower() == "bearer":
        given.append(value.strip())
    if scheme.lower() == "basic":
        with suppress(ValueError):
            given.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
    return [key for key in given if key][:MAX_KEYS]


def secret_presented(secret: SecretStr | None, keys: Iterable[str]) -> bool | None:
    """Whether the secret is among the keys; None where none is configured."""
    return None if secret is None else any(same(secret.get_secret_value(), key) for key in keys)
