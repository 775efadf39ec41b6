"""Admission control: API keys, origins of web pages, and how many sessions there may be at once."""

import hmac
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from voiceagent.channels.channel import ANYONE, Denied, presented_key
from voiceagent.server.settings import LimitSection


class Admission:
    """The API keys and limits of one process, and its count of sessions. Not thread-safe: it lives on the loop."""

    def __init__(self, limits: LimitSection) -> None:
        self._limits = limits
        self._by_key: Counter[str] = Counter()
        self.draining = False
        """The server is going down: no new session begins."""

    @property
    def keys_required(self) -> bool:
        """Whether API keys are configured, so that clients need one."""
        return bool(self._limits.api_keys)

    @property
    def sessions(self) -> int:
        """Sessions in progress."""
        return self._by_key.total()

    def check_key(self, authorization: str | None, subprotocols: Sequence[str] = ()) -> str:
        """The name of the API key that is presented. Raises Denied 401."""
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
    def slot(self, tenant: str) -> Iterator[None]:
        """A slot for one session. Raises Denied 503 or 429 when there is none."""
        if self.draining:
            raise Denied(503, "server_draining", "the server is shutting down", retry_after=5)
        if self.sessions >= self._limits.sessions:
            raise Denied(503, "server_full", "all places are taken", retry_after=10)
        if self._by_key[tenant] >= self._limits.sessions_per_key:
            raise Denied(429, "too_many_sessions", "this key has all its places taken", retry_after=10)
        self._by_key[tenant] += 1
        try:
            yield
        finally:
            self._by_key[tenant] -= 1
