"""A telephone call at Twilio, as its documents and its users describe it: a microphone that sends 20 ms at a time, a
buffer that plays what it is sent in real time, marks that come back when they are reached, and `clear`."""

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.telephone.vendors import Json, Vendor
from voiceagent.audio.g711 import decode_ulaw
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.telephone.vendors.twilio import twilio_signature

RATE = 8000
STEP = 160
"""Samples of 20 ms."""
STEP_SECONDS = STEP / RATE
DEADLINE = 60.0
VOICE_ABOVE = 50
"""A sample louder than this was said by somebody."""


class Hung(Exception):
    """Not an error: the server has ended the stream."""


class SimulatedTwilio:
    """`send` and `receive` carry text messages; `receive` raises Hung when the stream is over."""

    def __init__(self, send: Callable[[str], Awaitable[None]], receive: Callable[[], Awaitable[str]]) -> None:
        self._send = send
        self._receive = receive
        self._vendor = Vendor("twilio")
        self._buffer: deque[Pcm | str] = deque()
        """Audio and names of marks, in order."""
        self._to_say = silence(0)
        self._changed = asyncio.Event()
        self.lost = False
        """The caller's packets get lost."""
        self.played = silence(0)
        """All that came out of the earpiece."""
        self.played_at: list[float] = []
        """When each 20 ms of it did, on the loop's clock."""
        self.received = 0
        """Samples that came, played or not."""
        self.shortest = RATE
        """Samples of the shortest message but those at the end of a clause."""
        self.cleared_at: list[float] = []
        self.returned: list[str] = []
        self._started = False
        self.over = asyncio.Event()

    # -- what the caller does ---------------------------------------------------------------------------------------

    async def say(self, pcm: Pcm) -> None:
        """Returns when it was said."""
        self._to_say = np.concatenate((self._to_say, pcm))
        await self.until(lambda: not len(self._to_say))

    async def press(self, keys: str) -> None:
        for key in keys:
            await self._send(cast(str, self._vendor.dtmf(key)))

    async def hang_up(self) -> None:
        await self._send(cast(str, self._vendor.stop()))

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_silent(self, seconds: float = 0.4) -> None:
        """Wait until the agent has said something and then nothing for so long."""
        loop = asyncio.get_running_loop()
        await self.until(lambda: self.played_at and loop.time() - self.played_at[-1] > seconds)

    @property
    def played_seconds(self) -> float:
        return len(self.played) / RATE

    # -- Twilio itself ----------------------------------------------------------------------------------------------

    async def run(self, parameters: Json | None = None) -> None:
        """The call, from its beginning until the stream is over."""
        for frame in self._vendor.connected():
            await self._send(cast(str, frame))
        start = json.loads(self._vendor.start())
        start["start"]["customParameters"] |= parameters or {}
        await self._send(json.dumps(start))
        self._started = True
        line = asyncio.create_task(self._line(), name="telephone line")
        try:
            with suppress(Hung):
                while True:
                    await self._take(json.loads(await self._receive()))
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
            self.over.set()
            self._changed.set()

    async def _take(self, message: Json) -> None:
        assert message["streamSid"] == "MZ1"
        match message:
            case {"event": "media", "media": {"payload": str(payload)}}:
                audio = decode_ulaw(base64.b64decode(payload, validate=True))
                self.received += len(audio)
                self._buffer.append(audio)
            case {"event": "mark", "mark": {"name": str(name)}}:
                self._buffer.append(name)
                await self._return_marks()
            case {"event": "clear"}:
                self.cleared_at.append(asyncio.get_running_loop().time())
                self._buffer = deque(entry for entry in self._buffer if isinstance(entry, str))
                await self._return_marks()
            case other:
                raise AssertionError(f"error 31924: {other}")

    async def _line(self) -> None:
        """Every 20 ms: so much is played, so much is sent."""
        loop = asyncio.get_running_loop()
        begun, steps = loop.time(), 0
        with suppress(Hung):
            while True:
                steps += 1
                await asyncio.sleep(max(0.0, begun + steps * STEP_SECONDS - loop.time()))
                await self._play()
                await self._speak()
                self._changed.set()

    async def _play(self) -> None:
        pieces: list[Pcm] = []
        left = STEP
        while self._buffer and left:
            entry = self._buffer[0]
            if isinstance(entry, str):
                await self._return_marks()
                continue
            pieces.append(entry[:left])
            left -= len(pieces[-1])
            if len(entry) > len(pieces[-1]):
                self._buffer[0] = entry[len(pieces[-1]) :]
            else:
                self._buffer.popleft()
        if pieces:
            self.played = np.concatenate((self.played, *pieces))
            self.played_at.append(asyncio.get_running_loop().time())
        await self._return_marks()

    async def _return_marks(self) -> None:
        while self._buffer and isinstance(self._buffer[0], str):
            name = self._buffer.popleft()
            assert isinstance(name, str)
            self.returned.append(name)
            await self._send(cast(str, self._vendor.played(name)))

    async def _speak(self) -> None:
        said, self._to_say = self._to_say[:STEP], self._to_say[STEP:]
        packet = np.concatenate((said, silence(STEP - len(said))))
        if self.lost:
            self._vendor.chunk += 1
            self._vendor.at_ms += 20
        else:
            await self._send(cast(str, self._vendor.media(packet)))


@asynccontextmanager
async def running_call(twilio: SimulatedTwilio, parameters: Json | None = None) -> AsyncIterator[SimulatedTwilio]:
    """The call goes on meanwhile; it is hung up at the end, if it is not over."""
    running = asyncio.create_task(twilio.run(parameters), name="simulated twilio")
    running.add_done_callback(lambda _: twilio._changed.set())
    try:
        await twilio.until(lambda: twilio._started)
        yield twilio
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def twilio_call(
    url: str, *, auth_token: str = "", signed_url: str = "", parameters: Json | None = None
) -> AsyncIterator[SimulatedTwilio]:
    """A call over a real socket, to `ws://…/twilio`, signed as Twilio signs."""
    headers = {"X-Twilio-Signature": twilio_signature(auth_token, signed_url or url, ())} if auth_token else {}
    async with connect(url, additional_headers=headers, max_size=None) as connection:

        async def send(text: str) -> None:
            try:
                await connection.send(text)
            except ConnectionClosed:
                raise Hung from None

        async def receive() -> str:
            try:
                return cast(str, await connection.recv())
            except ConnectionClosed:
                raise Hung from None

        async with running_call(SimulatedTwilio(send, receive), parameters) as twilio:
            yield twilio
