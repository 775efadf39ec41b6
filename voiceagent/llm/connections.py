"""Who shares a connection with whom: nobody does at the same time, but one exchange after another."""

import time
from collections import deque
from collections.abc import Callable

import httpx

from voiceagent.errors import EngineError

MOST_CLIENTS = 1_000
"""Exchanges at the same time with one endpoint."""


class Clients:
    """Each exchange has a client, and so a connection, to itself; idle ones are kept for the next.

    httpx's own pool walks through all its connections for each that is idle: at 100 answers in flight that is 5 ms of a
    core a request. And on a shared HTTP/2 connection a lost packet would hold up every answer; httpcore (1.0) tells
    neither the server nor its own count of open streams when an answer is not read to its end, which here happens at
    each interruption.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient], keep_seconds: float) -> None:
        """`make` should be cheap: its clients share one TLS context."""
        self._make = make
        self._keep_seconds = keep_seconds
        self._all: set[httpx.AsyncClient] = set()
        self._idle: deque[tuple[float, httpx.AsyncClient]] = deque()
        """With the time until which they are kept; the newest last."""

    def take(self) -> httpx.AsyncClient:
        """A client for one exchange. Raises EngineError when there are too many already."""
        if self._idle:
            return self._idle.pop()[1]
        if len(self._all) >= MOST_CLIENTS:
            raise EngineError("llm", "unavailable", "too many requests to this language model at the same time")
        client = self._make()
        self._all.add(client)
        return client

    async def give_back(self, client: httpx.AsyncClient, *, sound: bool) -> None:
        """After the exchange. It was `sound` when the response has been read to its end."""
        if client not in self._all:  # closed meanwhile
            return
        now = time.monotonic()
        if sound and self._keep_seconds:
            self._idle.append((now + self._keep_seconds, client))
        else:
            await self._drop(client)
        while self._idle and self._idle[0][0] < now:
            await self._drop(self._idle.popleft()[1])

    async def close(self) -> None:
        """Exchanges still going on are broken off."""
        self._idle.clear()
        for client in list(self._all):
            await self._drop(client)

    async def _drop(self, client: httpx.AsyncClient) -> None:
        self._all.discard(client)
        await client.aclose()
