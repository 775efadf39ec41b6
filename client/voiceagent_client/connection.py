"""The connection to a Realtime server: opened with a deadline, kept alive, and opened again when it drops."""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from voiceagent_client.endpoint import Endpoint
from voiceagent_client.errors import ClientError, ConnectError, RefusedError
from voiceagent_client.wire import ClientEvent, ServerEvent, SessionConfig, parse

logger = logging.getLogger(__name__)

MAX_MESSAGE = 32 * 1024 * 1024
"""Bytes of one message; a larger one ends the connection, which is then opened again."""

CLOSE_TIMEOUT = 2.0
"""Seconds in which the server may answer a close."""

FINISHED = 1000
"""Close code of a server that has ended the session on purpose."""

FORBIDDEN = frozenset({3000, 3003})
"""Close codes that say the client is not wanted: unauthorized, forbidden. Not 1008 (policy violation), with
which servers also end a client whose network was too slow for a while."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """When to try again after a drop: `first` seconds, then twice as long each time up to `longest`, each
    shortened by chance to no less than half so that clients of a restarted server do not come back all at once.
    After `attempts` without a connection that held for `steady` seconds it is given up."""

    first: float = 0.5
    longest: float = 15.0
    attempts: int = 8
    steady: float = 10.0

    def delay(self, attempt: int) -> float:
        return min(self.longest, self.first * 2.0 ** min(attempt, 30)) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Dropped:
    """The connection is gone, or the attempt to bring it back failed; the next attempt, number `attempt`, is
    made `retry_in` seconds from now. The server's session is lost: the next one starts afresh."""

    reason: str
    attempt: int
    retry_in: float


class RealtimeConnection:
    """An async context manager and an async iterator over what the server says, for one reading task:

        async with RealtimeConnection(url, key=key, session=SessionConfig()) as connection:
            async for event in connection: ...

    Opening waits for the server's first event, then sends the session's configuration; so does every reopening.
    The iteration yields `ServerEvent`s and `Dropped`, ends when the server ends the session (close code 1000),
    and raises `ConnectError` or `RefusedError` when there is nothing left to try.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
        session: SessionConfig | None = None,
        backoff: Backoff | None = None,
        open_timeout: float = 10.0,
        send_timeout: float = 10.0,
        ping_interval: float = 20.0,
    ) -> None:
        """`query` is added to the url's own. `open_timeout` covers the handshake and the server's first event.
        A server that takes nothing for `send_timeout`, or answers no ping for `ping_interval`, has dropped.
        ClientError: the url or the key cannot be used."""
        self._endpoint = Endpoint.of(url, key, query or {})
        self.name = self._endpoint.name
        self._session = session or SessionConfig()
        self._backoff = backoff or Backoff()
        self._open_timeout = open_timeout
        self._send_timeout = send_timeout
        self._ping_interval = ping_interval
        self._socket: ClientConnection | None = None
        self._first: ServerEvent | None = None
        self._opened_at = 0.0
        self._attempt = 0
        self._retry_in = 0.0
        self._warned = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def send(self, event: ClientEvent) -> bool:
        """Whether the event was sent; False while there is no connection (a microphone's audio would be stale
        later)."""
        socket = self._socket
        if socket is None:
            return False
        try:
            async with asyncio.timeout(self._send_timeout):
                await socket.send(event.encode())
        except ConnectionClosed:  # the reader sees it too, and reconnects
            return False
        except TimeoutError:
            socket.transport.abort()
            return False
        return True

    async def configure(self, session: SessionConfig) -> bool:
        """Changes the session's configuration, now and for every reopening."""
        self._session = session
        return await self.send(session.update())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerEvent | Dropped:
        if self._socket is None:
            dropped = await self._reopen()
            if dropped is not None:
                return dropped
        if self._first is not None:
            event, self._first = self._first, None
            return event
        return await self._next()

    async def _next(self) -> ServerEvent | Dropped:
        assert self._socket is not None
        while True:
            try:
                message = await self._socket.recv()
            except ConnectionClosed as closed:
                return self._closed(closed)
            event = self._parse(message)
            if event is not None:
                return event

    def _parse(self, message: str | bytes) -> ServerEvent | None:
        event = parse(message)
        if event is None and not self._warned:
            self._warned = True
            logger.warning("%s sends messages that are no Realtime events; they are ignored", self.name)
        return event

    def _closed(self, closed: ConnectionClosed) -> Dropped:
        code = _code(closed)
        if code == FINISHED:
            raise StopAsyncIteration
        self._socket = None
        if code in FORBIDDEN:
            raise RefusedError(f"{self.name} does not want this client (close code {code})")
        if asyncio.get_running_loop().time() - self._opened_at >= self._backoff.steady:
            self._attempt = 0
        return self._dropped("the connection broke" if code is None else f"the server closed it (code {code})")

    def _dropped(self, reason: str) -> Dropped:
        if self._attempt >= self._backoff.attempts:
            raise ConnectError(f"the connection to {self.name} is lost, after {self._attempt} attempts: {reason}")
        self._retry_in = self._backoff.delay(self._attempt)
        self._attempt += 1
        return Dropped(reason, self._attempt, self._retry_in)

    async def _reopen(self) -> Dropped | None:
        await asyncio.sleep(self._retry_in)
        try:
            await self._open()
        except ConnectError as failed:
            return self._dropped(str(failed))
        return None

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._open_timeout):
                socket = await self._handshake()
                try:
                    self._first = await self._greeting(socket)
                    await socket.send(self._session.update().encode())
                except BaseException:
                    socket.transport.abort()
                    await socket.wait_closed()
                    raise
        except TimeoutError:
            raise ConnectError(f"{self.name} did not answer within {self._open_timeout:g} s") from None
        except InvalidStatus as refused:
            raise self._refusal(refused.response.status_code) from None
        except OSError as failed:
            raise ConnectError(f"cannot reach {self.name}: {failed.strerror or failed}") from None
        except ConnectionClosed as closed:
            raise ConnectError(f"{self.name} closed the connection at once (code {_code(closed)})") from None
        except WebSocketException:
            raise ConnectError(f"{self.name} does not answer as a WebSocket server") from None
        self._socket = socket
        self._opened_at = asyncio.get_running_loop().time()

    async def _handshake(self) -> ClientConnection:
        return await connect(
            self._endpoint.url,
            additional_headers=self._endpoint.headers,
            compression=None,
            proxy=self._endpoint.proxy,
            open_timeout=None,
            ping_interval=self._ping_interval,
            ping_timeout=self._ping_interval,
            close_timeout=CLOSE_TIMEOUT,
            max_size=MAX_MESSAGE,
        )

    async def _greeting(self, socket: ClientConnection) -> ServerEvent:
        event: ServerEvent | None = None
        while event is None:
            event = self._parse(await socket.recv())
        if event.type == "error":
            raise ConnectError(f"{self.name} refused the session: {event.text('error', 'code') or 'no reason given'}")
        return event

    def _refusal(self, status: int) -> ClientError:
        if status in (401, 403):
            return RefusedError(f"{self.name} refused the API key (HTTP {status})")
        return ConnectError(f"{self.name} refused the connection (HTTP {status})")


def _code(closed: ConnectionClosed) -> int | None:
    """The server's close code; None when the connection broke without one."""
    return closed.rcvd.code if closed.rcvd is not None else None
