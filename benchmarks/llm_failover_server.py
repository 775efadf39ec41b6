"""A language model on loopback that misbehaves to order, and costs little: `python -m benchmarks.llm_failover_server`.

It prints its port and answers `POST …/chat/completions` with a numbered story, a word every so often. An answer that is
to go on where another broke off begins with the words the request ends with, as a good model would. How it behaves is
set by JSON posted to `/behave` (the fields of `Behaviour`), what it has seen is at `/seen`.
"""

import asyncio
import json
import random
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)
_TURN = re.compile(r"turn (\d+) of (\d+) words")
_ANCHOR = re.compile("«(.*)»", re.S)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Delays in seconds. `tail` is the share of requests whose first token takes `tail_factor` times as long; `spread`
    that of the first token's time, either way. `limited` is the share that gets a 429 with `retry_after`, `broken` that
    gets a 500, `reset` whose connection breaks after `reset_after` words. A black hole takes requests and is silent."""

    first_token: float = 0.02
    token: float = 0.0
    spread: float = 0.1
    tail: float = 0.0
    tail_factor: float = 10.0
    limited: float = 0.0
    retry_after: str = "1"
    broken: float = 0.0
    reset: float = 0.0
    reset_after: int = 5
    black_hole: bool = False


@dataclass(slots=True)
class Seen:
    requests: int = 0
    hung_up: int = 0
    """Answers that the client did not wait for."""


def story(turn: int, words: int) -> str:
    return " ".join(f"w{turn}x{number}" for number in range(words))


def answer_to(messages: list[dict[str, str]]) -> str:
    """The story a request asks for; the rest of it, from the words it is to begin with, when an answer broke off."""
    asked = next((found for message in messages if (found := _TURN.search(message["content"]))), None)
    whole = story(int(asked[1]), int(asked[2])) if asked else "Hello there."
    anchor = _ANCHOR.search(messages[-1]["content"])
    return whole[max(0, whole.find(anchor[1])) :] if anchor else whole


class Server:
    """Serves on a free port of 127.0.0.1 until `close`."""

    def __init__(self, behaviour: Behaviour | None = None, seed: int = 1) -> None:
        self.behaviour = behaviour or Behaviour()
        self.seen = Seen()
        self.random = random.Random(seed)
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1000)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """All connections break."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)


class Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._answering is not None and self.busy:
            self._server.seen.hung_up += 1
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = bytes(self._received).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if found and len(rest) >= size:
            self._received = bytearray(rest[size:])
            self._answer(head.split(b" ", 2), rest[:size])

    @property
    def busy(self) -> bool:
        """Whether it is answering."""
        return self._answering is not None and not self._answering.done()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, head: list[bytes], body: bytes) -> None:
        if head[1] == b"/behave":
            self._server.behaviour = replace(self._server.behaviour, **json.loads(body))
            self._say(200, b"{}")
        elif head[1] == b"/seen":
            self._say(200, json.dumps(asdict(self._server.seen)).encode())
        elif head[0] != b"POST":
            self._say(404, b"")
        else:
            self._server.seen.requests += 1
            self._answering = asyncio.create_task(self._complete(json.loads(body)))

    async def _complete(self, request: Mapping[str, list[dict[str, str]]]) -> None:
        behaviour, chance = self._server.behaviour, self._server.random.random
        if behaviour.black_hole:
            await asyncio.Event().wait()
        if chance() < behaviour.limited:
            self._say(429, b'{"error":{"code":"rate_limit_exceeded"}}', f"Retry-After: {behaviour.retry_after}\r\n")
            return
        if chance() < behaviour.broken:
            self._say(500, b"{}")
            return
        wait = behaviour.first_token * (1 + behaviour.spread * (2 * chance() - 1))
        await asyncio.sleep(wait * (behaviour.tail_factor if chance() < behaviour.tail else 1.0))
        resets = chance() < behaviour.reset
        self._write(HEAD)
        for number, event in enumerate(_events(answer_to(request["messages"]))):
            if resets and number == behaviour.reset_after:
                self.abort()
                return
            self._write(b"%x\r\n%b\r\n" % (len(event), event))
            if behaviour.token:
                await asyncio.sleep(behaviour.token)
        self._write(b"0\r\n\r\n")

    def _say(self, status: int, body: bytes, headers: str = "") -> None:
        self._write(f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _events(text: str) -> Iterator[bytes]:
    words = re.findall(r"\s*\S+", text)
    for word in words:
        yield _event({"choices": [{"index": 0, "delta": {"content": word}}]})
    usage = {"prompt_tokens": 50, "completion_tokens": len(words)}
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


async def main() -> None:
    server = Server(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(await server.start(), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started it is gone
    await server.close()


if __name__ == "__main__":
    asyncio.run(main())
