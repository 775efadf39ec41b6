"""Who may connect: keys, origins, and how many at once."""

import hmac
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voiceagent.settings import LimitSection

ANYONE = "anyone"
"""The name under which connections run where no keys are configured."""
SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""Browsers cannot set headers: they send the key as a WebSocket subprotocol with this prefix."""


@dataclass
class Denied(Exception):
    """A connection that is not accepted. `status` is HTTP's; `retry_after` in seconds, 0 when it is no use."""

    status: int
    code: str
    message: str
    retry_after: int = 0


class Admission:
    """Counts the conversations of this process. Not thread-safe: it lives on the loop."""

    def __init__(self, limits: "LimitSection") -> None:
        self._limits = limits
        self._by_key: Counter[str] = Counter()
        self.draining = False
        """The server is going down: nobody new comes in."""

    @property
    def sessions(self) -> int:
        return self._by_key.total()

    def identify(self, authorization: str | None, subprotocols: list[str]) -> str:
        """The name of the key that was presented. Raises Denied 401."""
        if not self._limits.api_keys:
            return ANYONE
        presented = presented_key(authorization, subprotocols).encode()
        found = None
        for known in self._limits.api_keys:  # all are compared, so that timing tells nothing
            if presented and hmac.compare_digest(known.key.get_secret_value().encode(), presented):
                found = known.name
        if found is None:
            raise Denied(401, "invalid_api_key", "the API key is missing or wrong")
        return found

    def check_origin(self, origin: str | None) -> None:
        """Only web pages send an origin; where origins are configured, a page must be from one. Raises Denied 403."""
        allowed = self._limits.allowed_origins
        if origin is not None and allowed and origin not in allowed:
            raise Denied(403, "origin_not_allowed", "this page's origin is not allowed")

    @contextmanager
    def seat(self, key_name: str) -> Iterator[None]:
        """A place for one conversation. Raises Denied 503 or 429 when there is none."""
        if self.draining:
            raise Denied(503, "server_draining", "the server is shutting down", retry_after=5)
        if self.sessions >= self._limits.sessions:
            raise Denied(503, "server_full", "all places are taken", retry_after=10)
        if self._by_key[key_name] >= self._limits.sessions_per_key:
            raise Denied(429, "too_many_sessions", "this key has all its places taken", retry_after=10)
        self._by_key[key_name] += 1
        try:
            yield
        finally:
            self._by_key[key_name] -= 1


def presented_key(authorization: str | None, subprotocols: list[str]) -> str:
    """The key from the Authorization header or the browser's subprotocol, '' when there is neither."""
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""
    for subprotocol in subprotocols:
        if subprotocol.startswith(SUBPROTOCOL_KEY):
            return subprotocol.removeprefix(SUBPROTOCOL_KEY)
    return ""
