"""A plain Realtime client for tests, and a raw socket for what no decent client would do."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.support.llm.server import Reply, Script, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, quiet
from voiceagent.audio.pcm import Pcm, to_bytes
from voiceagent.server.app import VoiceServer
from voiceagent.settings import Settings

Json = dict[str, object]
DEADLINE = 20.0


class WireClient:
    """Keeps all events it gets."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.events: list[Json] = []

    async def send(self, kind: str, **fields: object) -> None:
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str, count: int = 1) -> Json:
        """Read on until this kind of event has come so often."""
        async with asyncio.timeout(DEADLINE):
            while len(self.of(kind)) < count:
                self.events.append(json.loads(await self.connection.recv()))
        return self.of(kind)[count - 1]

    async def closed(self) -> int:
        """Read on until the server ends the connection; returns the close code."""
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    self.events.append(json.loads(await self.connection.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006

    def of(self, kind: str) -> list[Json]:
        return [event for event in self.events if event["type"] == kind]

    def errors(self) -> list[str]:
        return [str(cast(Json, event["error"])["code"]) for event in self.of("error")]

    async def append(self, data: bytes) -> None:
        await self.send("input_audio_buffer.append", audio=base64.b64encode(data).decode())

    async def say(self, pcm: Pcm) -> None:
        """24 kHz audio, faster than real time, in pieces of 100 ms."""
        for start in range(0, len(pcm), 2400):
            await self.append(to_bytes(pcm[start : start + 2400]))

    async def turn(self, spoken: Pcm) -> None:
        await self.say(np.concatenate((quiet(0.2), spoken, quiet(1.2))))

    async def type(self, text: str, *, spoken: bool = False) -> Json:
        """A typed turn; returns the finished response."""
        count = len(self.of("response.done"))
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create", response={"output_modalities": ["audio" if spoken else "text"]})
        return cast(Json, (await self.until("response.done", count + 1))["response"])

    async def is_well(self) -> None:
        """Proof that the session still works."""
        response = await self.type("Are you there?")
        assert response["status"] == "completed", response

    def audio_bytes(self) -> int:
        return sum(len(base64.b64decode(str(event["delta"]))) for event in self.of("response.output_audio.delta"))


@asynccontextmanager
async def client_of(url: str, key: str | None = None, user: str = "", **options: object) -> AsyncIterator[WireClient]:
    """Connected, with session.created received."""
    headers = {"Authorization": f"Bearer {key}"} if key else None
    connection = connect(
        f"{url}/v1/realtime?model=m&user={user}",
        additional_headers=headers,
        max_size=None,
        **options,  # type: ignore[arg-type]
    )
    async with connection as socket_:
        client = WireClient(socket_)
        await client.until("session.created")
        yield client


@asynccontextmanager
async def serving(
    engines_for: EnginesFor, settings: Settings | None = None, *answers: Reply | str, script: Script | None = None
) -> AsyncIterator[tuple[VoiceServer, str]]:
    """The server with a model that gives these answers; and its base URL."""
    try:
        async with (
            ScriptedLlm(script or answers or ["Hello."]) as llm,
            running(settings or Settings(), engines_for(llm.base_url)) as (voice, url),
        ):
            yield voice, url
    finally:
        await asyncio.get_running_loop().shutdown_default_executor()  # large messages are parsed in its threads


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something of which no event tells."""
    async with asyncio.timeout(DEADLINE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_sessions(url: str, count: int) -> None:
    """Until the server holds so many sessions."""

    async def reached() -> bool:
        sessions: int = (await get(url, "/healthz")).json()["sessions"]
        return sessions == count

    await eventually(reached)


async def get(url: str, path: str) -> httpx.Response:
    """A page of the server."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(url.replace("ws://", "http://") + path)


class RawSocket:
    """A TCP connection on which anything can be sent, or nothing."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        host, _, port = url.removeprefix("ws://").partition(":")
        self._address = (host, int(port))
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setblocking(False)

    async def __aenter__(self) -> "RawSocket":
        await asyncio.get_running_loop().sock_connect(self.socket, self._address)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.socket.close()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read_until(self, mark: bytes) -> bytes:
        data = b""
        async with asyncio.timeout(DEADLINE):
            while mark not in data:
                more = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                if not more:
                    break
                data += more
        return data

    async def read_to_end(self) -> bytes:
        """Everything until the server ends the connection, by whatever means."""
        data = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE):
                while more := await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                    data += more
        return data

    async def upgrade(self, *headers: str) -> bytes:
        """Ask for a WebSocket; returns the head of the answer."""
        await self.send(handshake(*headers))
        return await self.read_until(b"\r\n\r\n")

    def reset(self) -> None:
        """Vanish: the kernel sends RST instead of a proper end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.socket.close()


def handshake(*headers: str) -> bytes:
    lines = (
        "GET /v1/realtime?model=m HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def text_frame(text: str | bytes) -> bytes:
    return Frame(Opcode.TEXT, text.encode() if isinstance(text, str) else text).serialize(mask=True)


def ping_frame(data: bytes = b"") -> bytes:
    return Frame(Opcode.PING, data).serialize(mask=True)
