"""Redis as all parts of the gateway use it: a client that gives up soon, and whether Redis is there."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionBroke

from voiceagent.errors import ConfigError

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.25
"""How long Redis may take: a user is waiting."""
AWAY_SECONDS = 5.0
"""How long Redis is left alone after it has failed."""


class Script(Protocol):
    """A script that Redis knows, as its client gives it."""

    async def __call__(self, keys: Sequence[str], args: Sequence[str | float]) -> object: ...


def connect(address: SecretStr) -> Redis:
    """A client for what processes share; it connects at the first use. Close it with `aclose()`.
    Raises ConfigError for an address that is none."""
    try:
        return Redis.from_url(
            address.get_secret_value(),
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            decode_responses=True,
            retry=Retry(NoBackoff(), 1, (ConnectionBroke,)),  # a kept connection that turns out to be closed
        )
    except ValueError:
        raise ConfigError("[llm] redis is no address such as redis://host:6379/0 or rediss://user:key@host") from None


class Presence:
    """Whether Redis is there. One line in the log says that it went, and one that it is back."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._away_until = float("-inf")
        self._away = False

    @property
    def worth_a_try(self) -> bool:
        return asyncio.get_running_loop().time() >= self._away_until

    def failed(self, error: Exception) -> None:
        self._away_until = asyncio.get_running_loop().time() + AWAY_SECONDS
        if not self._away:
            self._away = True
            logger.warning("Redis is away (%s): %s", type(error).__name__, self._what)

    def answered(self) -> None:
        if self._away:
            self._away = False
            logger.warning("Redis is back")
