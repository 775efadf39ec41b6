"""Where the server is and how to ask to be let in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from voiceagent_client.errors import ClientError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`name` is the url as messages and logs may show it: without user and query, which may be secret. `proxy`
    True goes by the system's settings; this machine's own servers are never reached through one."""

    url: str = field(repr=False)
    name: str
    host: str
    headers: Mapping[str, str] = field(repr=False)
    proxy: Literal[True] | None

    @classmethod
    def of(cls, url: str, key: str | None, query: Mapping[str, str]) -> Self:
        """`query` is added to the url's own. ClientError: the url or the key cannot be used."""
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ClientError("the url is malformed") from None
        if parts.scheme not in ("ws", "wss") or not host:
            raise ClientError("the url must be ws://HOST[:PORT]/PATH or wss://HOST[:PORT]/PATH")
        full = parts._replace(query=urlencode([*parse_qsl(parts.query, keep_blank_values=True), *query.items()]))
        shown = f"[{host}]" if ":" in host else host
        name = f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"
        return cls(full.geturl(), name, host, _authorization(key), None if host in LOOPBACK else True)


def _authorization(key: str | None) -> dict[str, str]:
    if not key:
        return {}
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ClientError("the API key holds characters that no key has (a space or a line break?)")
    return {"Authorization": f"Bearer {key}"}
