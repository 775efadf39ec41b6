"""FreeSWITCH's event socket and Asterisk's manager on a real port: they know a password and a call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PASSWORD = "s3cret-token"


class ConsoleServer:
    """`kind` is `freeswitch` or `asterisk`; what it was asked is kept, but for the login."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.asked: list[list[str]] = []
        self.silent = False
        """Answers nothing."""
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def running(self) -> "AsyncIterator[ConsoleServer]":
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        freeswitch = self.kind == "freeswitch"
        writer.write(b"Content-Type: auth/request\n\n" if freeswitch else b"Asterisk Call Manager/11.0.0\r\n")
        try:
            while True:
                asked = [line async for line in self._block(reader)]
                if self.silent:
                    continue
                writer.write(self._esl(asked) if freeswitch else self._ami(asked))
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    async def _block(self, reader: asyncio.StreamReader) -> AsyncIterator[str]:
        while line := (await reader.readuntil(b"\n")).strip().decode():
            yield line

    def _esl(self, asked: list[str]) -> bytes:
        [line] = asked
        if line.startswith("auth "):
            right = line == f"auth {PASSWORD}"
            reply = b"+OK accepted" if right else b"-ERR invalid"
            return b"Content-Type: command/reply\nReply-Text: " + reply + b"\n\n"
        self.asked.append(asked)
        body = b"+OK\n" if " u1" in line else b"-ERR No such channel!\n"
        return b"Content-Type: api/response\nContent-Length: %d\n\n%s" % (len(body), body)

    def _ami(self, asked: list[str]) -> bytes:
        event = b"Event: FullyBooted\r\nPrivilege: system,all\r\n\r\n"
        if asked[0] == "Action: Login":
            right = asked[1:3] == ["Username: agent", f"Secret: {PASSWORD}"]
            return (
                b"Response: Success\r\nMessage: Authentication accepted\r\n\r\n" + event
                if right
                else b"Response: Error\r\nMessage: Authentication failed\r\n\r\n"
            )
        if asked[0] == "Action: Logoff":
            return b"Response: Goodbye\r\n\r\n"
        self.asked.append(asked)
        known = asked[1] == "Channel: PJSIP/1000-1"
        return b"Response: Success\r\n\r\n" if known else b"Response: Error\r\nMessage: No such channel\r\n\r\n"
