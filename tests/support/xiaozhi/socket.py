"""The model of a device on a real socket: it talks to a running server, and fails the test as soon as that sends what a
real one would not survive."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.xiaozhi.device import Device
from voiceagent.audio.pcm import silence

STEP = 0.02
DEADLINE = 30.0
MAC = "a0:b1:c2:d3:e4:f5"


class Speaker:
    """`microphone` holds what its user is about to say, at 16 kHz; silence follows."""

    def __init__(self, socket: ClientConnection, device: Device) -> None:
        self.socket = socket
        self.device = device
        self.closed: int | None = None
        self.microphone = silence(0)
        self._start = asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self._start

    async def until(self, what: str, count: int = 1) -> None:
        """Wait until it was told this (`tts.stop`, `stt`) so often."""
        kind, _, state = what.partition(".")
        async with asyncio.timeout(DEADLINE):
            while len(self.device.of(kind, state or None)) < count:  # noqa: ASYNC110 - the device keeps its own time
                await asyncio.sleep(STEP)

    async def until_closed(self) -> int | None:
        async with asyncio.timeout(DEADLINE):
            while self.closed is None:  # noqa: ASYNC110
                await asyncio.sleep(STEP)
        return self.closed

    async def read(self) -> None:
        try:
            async for frame in self.socket:
                self.device.receive(frame, self.now)
        except ConnectionClosed:
            pass
        self.closed = self.socket.close_code

    async def live(self) -> None:
        """Its own time: playing, and a packet from the microphone whenever one is due."""
        device, size = self.device, 16 * self.device.frame_ms
        due = self.now
        try:
            while True:
                device.advance(self.now)
                while self.now >= due:
                    due += device.frame_ms / 1000
                    piece = np.concatenate((self.microphone[:size], silence(max(0, size - len(self.microphone)))))
                    if device.say(piece):
                        self.microphone = self.microphone[size:]
                while device.outbox:
                    await self.socket.send(device.outbox.pop(0))
                await asyncio.sleep(STEP)
        except ConnectionClosed:
            pass


def headers(version: int = 1, device_id: str = MAC, token: str = "") -> dict[str, str]:
    given = {"Protocol-Version": str(version), "Device-Id": device_id, "Client-Id": "7f1d-client"}
    return {**given, "Authorization": f"Bearer {token}"} if token else given


@asynccontextmanager
async def speaker(
    url: str,
    device: Device | None = None,
    path: str = "/xiaozhi/v1/",
    given: Mapping[str, str] | None = None,
    checked: bool = True,
) -> AsyncIterator[Speaker]:
    """Connected and greeted. At the end it must have survived, unless it is not to be `checked`."""
    device = device or Device()
    given = headers(device.version) if given is None else given
    async with connect(url + path, additional_headers=given, compression=None, close_timeout=1) as socket:
        there = Speaker(socket, device)
        tasks = [asyncio.create_task(there.read()), asyncio.create_task(there.live())]
        try:
            device.connect()
            await there.until("hello")
            yield there
            for task in tasks:
                if task.done():
                    task.result()
            device.advance(there.now)
            if checked:
                device.check()
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, AssertionError):
            raise result
