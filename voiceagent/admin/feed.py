"""Server-sent events: one snapshot a second for all who look at the board, and the events of a session being
watched."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

SNAPSHOT_SECONDS = 1.0
MOST_STREAMS = 32
"""That all operators together may have open."""
SEND_SECONDS = 20.0
"""How long a viewer may not read before it is let go."""
HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", "x-accel-buffering": "no"}


class BoardFeed:
    """Makes a snapshot only while somebody looks. Who is slow misses some."""

    def __init__(self, make: Callable[[], str]) -> None:
        """`make` the snapshot of now, as JSON."""
        self._make = make
        self._latest = ""
        self._next = asyncio.Event()
        self._looked_at = asyncio.Event()
        self._viewers = 0
        self._closed = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._looked_at.wait()
                self._latest = self._make()
                self._tick()
                await asyncio.sleep(SNAPSHOT_SECONDS)
        finally:
            self.close()

    def close(self) -> None:
        """Nobody sees anything any more."""
        self._closed = True
        self._tick()

    async def lines(self) -> AsyncGenerator[str, None]:
        self._viewers += 1
        self._looked_at.set()
        try:
            while not self._closed:
                await self._next.wait()
                yield self._latest
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._looked_at.clear()

    def _tick(self) -> None:
        """Wake all who wait, once."""
        self._next.set()
        if not self._closed:
            self._next = asyncio.Event()


class EventStream(Response):
    """Lines of JSON as server-sent events, until there are no more or nobody reads them."""

    def __init__(self, lines: AsyncGenerator[str, None], over: Callable[[], None]) -> None:
        """`over` is called at the end, whatever it was."""
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._lines = lines
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._lines):
                sending = asyncio.create_task(self._send(send), name="events")
                leaving = asyncio.create_task(left(receive), name="viewer")
                try:
                    await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (sending, leaving):
                        task.cancel()
                    await asyncio.gather(sending, leaving, return_exceptions=True)
        finally:
            self._over()

    async def _send(self, send: Send) -> None:
        async def patiently(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        await patiently({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for line in self._lines:
            body = f"data: {line}\n\n" if line else ":\n\n"
            await patiently({"type": "http.response.body", "body": body.encode(), "more_body": True})
        await patiently({"type": "http.response.body", "body": b"", "more_body": False})


async def left(receive: Receive) -> None:
    """Until the viewer has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
