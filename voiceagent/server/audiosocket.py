"""AudioSocket's messages on a TCP connection, as a `Transport`."""

import asyncio

from voiceagent.protocols.audiosocket import HEADER, RATES
from voiceagent.protocols.base import Frame
from voiceagent.server.transport import Gone, Taker

BODY_SECONDS = 10.0
"""How long the rest of a message may take."""
LEAD_SECONDS = 0.04
"""Audio that Asterisk is given ahead: its channel holds next to none, and our clock is not its own."""


class Pace:
    """Lets audio pass no faster than it is heard."""

    def __init__(self) -> None:
        self._played_at = 0.0
        """When all audio so far will have been played, on the loop's clock."""

    async def wait(self, seconds: float) -> None:
        """Until so much more may be sent."""
        now = asyncio.get_running_loop().time()
        self._played_at = max(self._played_at, now)
        await asyncio.sleep(max(0.0, self._played_at - LEAD_SECONDS - now))
        self._played_at += seconds


def seconds_of(frame: bytes) -> float:
    """Of audio in this message."""
    rate = RATES.get(frame[0])
    return (len(frame) - HEADER.size) / 2 / rate if rate else 0.0


class AudioSocketTransport:
    """Asterisk plays what it gets at once, so audio is sent at the pace at which it is to be heard."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._pace = Pace()

    async def receive(self) -> Frame:
        try:
            header = await self._reader.readexactly(HEADER.size)
            _, length = HEADER.unpack(header)
            async with asyncio.timeout(BODY_SECONDS):
                return header + await self._reader.readexactly(length)
        except (EOFError, OSError):  # TimeoutError is one of the latter
            raise Gone from None

    async def send(self, frame: Frame) -> None:
        assert isinstance(frame, bytes)
        if seconds := seconds_of(frame):
            await self._pace.wait(seconds)
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError:
            raise Gone from None

    async def close(self, code: int, reason: str) -> None:
        """AudioSocket has no codes."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            raise Gone from None

    def give_to(self, taker: Taker | None) -> None: ...
