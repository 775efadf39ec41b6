"""Who shares a connection with whom: httpx clients for one exchange after another."""

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import httpx

MakeClient = Callable[[], httpx.AsyncClient]


class Clients(Protocol):
    def take(self) -> httpx.AsyncClient:
        """A client for one exchange."""
        ...

    async def give_back(self, client: httpx.AsyncClient, *, sound: bool) -> None:
        """After the exchange. It was `sound` when the response has been read to its end."""
        ...

    async def close(self) -> None:
        """Exchanges still going on are broken off."""
        ...


class SharedClient:
    """For HTTP/1.1: the client's own pool gives each exchange a connection, and closes those cut short."""

    def __init__(self, make: MakeClient) -> None:
        self._client = make()

    def take(self) -> httpx.AsyncClient:
        return self._client

    async def give_back(self, client: httpx.AsyncClient, *, sound: bool) -> None:
        pass

    async def close(self) -> None:
        await self._client.aclose()


class ClientEach:
    """For HTTP/2: each exchange has a connection to itself.

    On a shared one a lost packet would hold up every answer; and httpcore (1.0) tells neither the server nor its own
    count of open streams when an answer is not read to its end, which here happens at each interruption.
    """

    def __init__(self, make: MakeClient, keep_seconds: float) -> None:
        self._make = make
        self._keep_seconds = keep_seconds
        self._all: set[httpx.AsyncClient] = set()
        self._idle: deque[tuple[float, httpx.AsyncClient]] = deque()
        """With the time until which they are kept; the newest last."""

    def take(self) -> httpx.AsyncClient:
        if self._idle:
            return self._idle.pop()[1]
        client = self._make()
        self._all.add(client)
        return client

    async def give_back(self, client: httpx.AsyncClient, *, sound: bool) -> None:
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
        self._idle.clear()
        for client in list(self._all):
            await self._drop(client)

    async def _drop(self, client: httpx.AsyncClient) -> None:
        self._all.discard(client)
        await client.aclose()
