"""Microsoft's read-aloud service as far as its browser's protocol goes, on loopback: says any text as a tone."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from fractions import Fraction
from functools import cache
from typing import Literal
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import av
import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

RATE = 24_000
LEAD, TONE, TAIL = 0.2, 1.0, 0.5
SSML = "{http://www.w3.org/2001/10/synthesis}"

Mood = Literal[
    "well", "skewed", "403", "429", "500", "stall", "cut", "1007", "garbage", "bad frame", "no audio", "quiet"
]


@cache
def mp3(tone: float = TONE) -> bytes:
    """Quiet, a tone, quiet: as the service encodes speech."""
    samples = np.concatenate(
        [np.zeros(int(LEAD * RATE)), np.sin(np.arange(int(tone * RATE)) * 0.12) * 8000, np.zeros(int(TAIL * RATE))]
    ).astype(np.int16)
    codec = av.AudioCodecContext.create("libmp3lame", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = RATE, "mono", "s16p", 48_000
    out = b""
    for start in range(0, len(samples), 576):
        frame = av.AudioFrame.from_ndarray(samples[start : start + 576].reshape(1, -1), format="s16p", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        out += b"".join(bytes(packet) for packet in codec.encode(frame))
    return out + b"".join(bytes(packet) for packet in codec.encode(None))


@dataclass
class Asked:
    """One request as the service understood it."""

    text: str
    voice: str
    rate: str
    token: str
    origin: str | None


@dataclass
class EdgeServer:
    """`moods` are used up, one a connection; then all is well. `closed` counts the connections that are over."""

    url: str = ""
    moods: list[Mood] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    pause: float = 0.0
    closed: int = 0

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        mood = self.moods[0] if self.moods else "well"
        if mood in ("skewed", "403", "429", "500"):
            self.moods.pop(0)
            response = connection.respond(403 if mood == "skewed" else int(mood), "no\n")
            del response.headers["Date"]
            if mood == "skewed":
                response.headers["Date"] = formatdate(4_000_000_000, usegmt=True)
            return response
        return None

    async def converse(self, connection: ServerConnection) -> None:
        mood: Mood = self.moods.pop(0) if self.moods else "well"
        with suppress(ConnectionClosed):
            await self.listen(connection)
            await self.answer(connection, mood)
            await connection.wait_closed()
        self.closed += 1

    async def listen(self, connection: ServerConnection) -> None:
        config = str(await connection.recv())
        head, _, body = config.partition("\r\n\r\n")
        assert "Path:speech.config" in head.split("\r\n")
        audio = json.loads(body)["context"]["synthesis"]["audio"]
        assert audio["outputFormat"] == "audio-24khz-48kbitrate-mono-mp3"
        assert audio["metadataoptions"]["wordBoundaryEnabled"] == "true"
        head, _, body = str(await connection.recv()).partition("\r\n\r\n")
        assert "Path:ssml" in head.split("\r\n")
        voice = ElementTree.fromstring(body).find(f"{SSML}voice")
        assert voice is not None
        assert connection.request is not None
        prosody = voice.find(f"{SSML}prosody")
        assert prosody is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        self.asked.append(
            Asked(
                text=prosody.text or "",
                voice=voice.attrib["name"],
                rate=prosody.attrib["rate"],
                token=query["Sec-MS-GEC"][0],
                origin=connection.request.headers.get("Origin"),
            )
        )

    async def answer(self, connection: ServerConnection, mood: Mood) -> None:
        await connection.send(_text("turn.start", {"context": {}}))
        match mood:
            case "stall":
                return
            case "1007":
                await connection.close(1007, "unsupported voice")
            case "garbage":
                await connection.send(_binary(np.random.default_rng(0).bytes(20_000)))
            case "bad frame":
                await connection.send(b"\xff\xff short")
            case "no audio":
                pass
            case "quiet":
                await connection.send(_binary(mp3(0.0)))
            case _:
                await self.say(connection, cut=mood == "cut")
        if mood != "cut":
            await connection.send(_text("turn.end", {}))

    async def say(self, connection: ServerConnection, cut: bool) -> None:
        await connection.send(_text("response", {"context": {}}))
        for number, word in enumerate(re.findall(r"\w+", self.asked[-1].text)):
            data = {
                "Offset": round((LEAD + 0.1 * number) * 10_000_000),
                "Duration": 1_000_000,
                "text": {"Text": word, "Length": len(word), "BoundaryType": "WordBoundary"},
            }
            await connection.send(_text("audio.metadata", {"Metadata": [{"Type": "WordBoundary", "Data": data}]}))
        audio = mp3()
        for start in range(0, len(audio), 1000):
            await connection.send(_binary(audio[start : start + 1000]))
            await asyncio.sleep(self.pause)
            if cut and start > len(audio) // 2:
                connection.transport.abort()
                return
        await connection.send(_head(b"X-RequestId:1\r\nPath:audio\r\n"))
        await connection.send(_text("audio.metadata", {"Metadata": [{"Type": "SessionEnd", "Data": {"Offset": 1}}]}))


@asynccontextmanager
async def running() -> AsyncIterator[EdgeServer]:
    server = EdgeServer()
    async with serve(server.converse, "127.0.0.1", 0, process_request=server.admit) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        server.url = f"ws://127.0.0.1:{port}/edge/v1"
        yield server


def _text(path: str, body: object) -> str:
    return f"X-RequestId:1\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n{json.dumps(body)}"


def _head(head: bytes) -> bytes:
    return len(head).to_bytes(2, "big") + head


def _binary(data: bytes) -> bytes:
    return _head(b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nX-StreamId:2\r\nPath:audio\r\n") + data
