"""A speech server on loopback that misbehaves on request: OpenAI's two audio paths, spoken in plain HTTP."""

import asyncio
import contextlib
import json
import re
from typing import Literal, Self, cast

import numpy as np

from voiceagent.audio.pcm import to_bytes

Deed = Literal["work", "stall", "half", "break", "deny", "limit", "reset", "babble"]
"""What to do with a request: answer it, never answer, answer half of it and no more, refuse it with 500, 401 or 429,
hang up in the middle, or answer what is no answer."""
STATUS = {"break": "500 Broken", "deny": "401 No", "limit": "429 Slowly"}

SOUND = to_bytes((8000 * np.sin(np.arange(9_600) / 10)).astype(np.int16))
"""0.4 s at 24 kHz, whatever was to be said."""
WORDS = json.dumps({"text": "What time is it?"}).encode()

_ASKED = re.compile(rb"please (stall|half|break|deny|limit|reset|babble)", re.IGNORECASE)


class SpeechServer:
    """Does what the request itself asks for: a text to be spoken or a prompt with "please stall", say. Other requests
    get `otherwise`."""

    def __init__(self, otherwise: Deed = "work") -> None:
        self._otherwise = otherwise
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.transport.abort()
        await self._server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._connections.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
            await reader.read()  # until the client hangs up
        writer.close()
        self._connections.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can go on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0] or 0))
        asked = _ASKED.search(body)
        deed = cast(Deed, asked[1].decode().lower()) if asked else self._otherwise
        spoken = head.split(" ")[1].endswith("/speech")
        answer, kind = (SOUND, "audio/pcm") if spoken else (WORDS, "application/json")
        match deed:
            case "work":
                writer.write(_head("200 OK", kind, len(answer)) + answer)
            case "half" | "reset":
                writer.write(_head("200 OK", kind, len(answer)) + answer[: len(answer) // 2])
            case "babble":
                writer.write(_head("200 OK", "text/html", 6) + b"<html>")
            case "break" | "deny" | "limit":
                writer.write(_head(STATUS[deed], "application/json", 2) + b"{}")
            case "stall":
                pass
        await writer.drain()
        if deed == "reset":
            await asyncio.sleep(0.05)
            writer.transport.abort()
        return deed not in ("stall", "half", "reset")


def _head(status: str, kind: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()
