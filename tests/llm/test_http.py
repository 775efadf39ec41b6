"""The way to an endpoint: TLS with an authority of one's own, HTTP/2, proxies, IPv6, keys from elsewhere."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from tests.conftest import open_files
from tests.support.llm.vendors import VENDORS, events, failure
from tests.support.llm.wires import ChatWire, Reply
from voiceagent.errors import ConfigError
from voiceagent.llm.base import LLM_ENGINES, Completed, LlmRequest, Message, TextDelta
from voiceagent.llm.remote import RemoteLlm
from voiceagent.models.store import ModelStore

HI = LlmRequest((Message("user", "你好"),))
WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "9"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(made.key), "-out", str(made.cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made


async def read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except ConnectionError:
        return b""


@dataclass
class Http2Server:
    """Streams the words one by one until the client hangs up; counts what happens."""

    words: tuple[str, ...] = ("one", " two", " three")
    endless: bool = False
    port: int = 0
    connections: int = 0
    open_connections: set[asyncio.Task[None]] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def serving(self, certificate: Certificate) -> AsyncIterator[str]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.cert, certificate.key)
        context.set_alpn_protocols(["h2"])
        async with await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=context) as server:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            for task in list(self.open_connections):
                task.cancel()
            await asyncio.gather(*self.open_connections, return_exceptions=True)

    async def hung_up(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(WAIT_SECONDS), self.changed:
            await self.changed.wait_for(lambda: not self.open_connections)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open_connections.add(task)
        self.connections += 1
        sending: set[asyncio.Task[None]] = set()
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        writer.write(state.data_to_send())
        try:
            while received := await read(reader):
                for event in state.receive_data(received):
                    if isinstance(event, h2.events.RequestReceived) and event.stream_ended is not None:  # a HEAD
                        state.send_headers(event.stream_id, [(":status", "404")], end_stream=True)
                    elif isinstance(event, h2.events.DataReceived) and event.stream_ended is not None:
                        sending.add(asyncio.create_task(self._answer(state, writer, event.stream_id)))
                writer.write(state.data_to_send())
        finally:
            for one in sending:
                one.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            writer.transport.abort()
            async with self.changed:
                self.open_connections.discard(task)
                self.changed.notify_all()

    async def _answer(self, state: h2.connection.H2Connection, writer: asyncio.StreamWriter, stream: int) -> None:
        state.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        for chunk in ChatWire().chunks(Reply(self.words), {}):
            state.send_data(stream, chunk)
            writer.write(state.data_to_send())
            await asyncio.sleep(0)
            if self.endless:
                await asyncio.Event().wait()
        state.end_stream(stream)
        writer.write(state.data_to_send())


@asynccontextmanager
async def opened(base_url: str, **options: object) -> AsyncIterator[RemoteLlm]:
    llm = VENDORS["openai"].make(base_url, **options)
    await llm.open()
    try:
        yield llm
    finally:
        await llm.close()


async def test_http2_and_an_authority_of_ones_own(certificate: Certificate) -> None:
    server = Http2Server()
    async with server.serving(certificate) as url, opened(url, http2=True, ca_file=str(certificate.cert)) as llm:
        for _ in range(3):
            assert await events(llm, HI) == [TextDelta("one two three"), Completed()]
        assert server.connections == 1, "it is kept"
        await asyncio.gather(*(events(llm, HI) for _ in range(4)))
        assert server.connections == 4, "each answer has one to itself"


async def test_http2_hangs_up_on_an_answer_without_touching_others(certificate: Certificate) -> None:
    server = Http2Server(endless=True)
    async with server.serving(certificate) as url, opened(url, http2=True, ca_file=str(certificate.cert)) as llm:
        async with aclosing(llm.reply(HI)) as other:
            assert await anext(other) == TextDelta("one")
            for _ in range(3):
                async with aclosing(llm.reply(HI)) as stream:
                    assert await anext(stream) == TextDelta("one")
            async with asyncio.timeout(WAIT_SECONDS), server.changed:
                await server.changed.wait_for(lambda: len(server.open_connections) == 1)
            server.endless = False
        await server.hung_up()


async def test_closing_the_engine_ends_http2_answers(certificate: Certificate) -> None:
    server = Http2Server(endless=True)
    async with server.serving(certificate) as url:
        async with opened(url, http2=True, ca_file=str(certificate.cert)) as llm:
            stream = llm.reply(HI)
            await anext(stream)
        await server.hung_up()
        await stream.aclose()
        assert (await failure(llm, HI)).code == "unavailable"


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Certificate) -> None:
    before = open_files().keys()
    async with Http2Server().serving(certificate) as url, opened(url) as llm:
        assert (await failure(llm, HI)).code == "unavailable"
    for _ in range(1000):  # the server's side of the failed handshake is still closing
        if not open_files().keys() - before:
            break
        await asyncio.sleep(0.01)


async def test_without_h2_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    with pytest.raises(ConfigError, match=r"pip install 'voiceagent\[gateway\]'"):
        await VENDORS["openai"].make("https://localhost:1/v1", http2=True).open()


@dataclass
class HeadsServer:
    """Answers any request with one word, and keeps what it was asked."""

    heads: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator[int]:
        async with await asyncio.start_server(self._serve, host, 0) as server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        body = b"" if head.startswith(b"HEAD") else b"".join(ChatWire().chunks(Reply("Hi."), {}))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


async def test_a_proxy_even_for_this_machine() -> None:
    server = HeadsServer()
    async with (
        server.serving() as port,
        opened("http://127.0.0.1:9/v1", proxy=f"http://me:word@127.0.0.1:{port}") as llm,
    ):
        assert await events(llm, HI) == [TextDelta("Hi."), Completed()]
    request, *headers = server.heads[-1].splitlines()
    assert request == "POST http://127.0.0.1:9/v1/chat/completions HTTP/1.1"
    assert "proxy-authorization: basic bwu6d29yza==" in [header.lower() for header in headers]


async def test_ipv6_literals() -> None:
    server = HeadsServer()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server.serving("::1") as port, opened(f"http://[::1]:{port}/v1") as llm:
        assert await events(llm, HI) == [TextDelta("Hi."), Completed()]
    assert f"Host: [::1]:{port}" in server.heads[-1]


async def test_keys_from_the_environment_and_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    monkeypatch.setenv("MY_KEY", "from-env")
    file = tmp_path / "key"
    file.write_text("from-file\n", "utf-8")
    for options, key in (
        ({"api_key_env": "MY_KEY"}, "from-env"),
        ({"api_key_file": str(file)}, "from-file"),
        ({}, "usual"),
    ):
        server = HeadsServer()
        async with server.serving() as port:
            section = {"engine": "openai", "base_url": f"http://127.0.0.1:{port}/v1", **options}
            llm = LLM_ENGINES.make("[llm]", section, ModelStore(tmp_path))
            assert isinstance(llm, RemoteLlm)
            await llm.open()
            await events(llm, HI)
            await llm.close()
        assert f"Authorization: Bearer {key}" in server.heads[-1]


async def test_where_a_key_is_missing_the_option_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty, wrong = tmp_path / "empty", tmp_path / "wrong"
    empty.write_text("\n", "utf-8")
    wrong.write_bytes(b"sk-1\nsk-2")
    monkeypatch.setenv("WRONG", "密钥")
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where the extra is not installed
    for options, says in (
        ({"api_key_env": "NO_SUCH"}, "api_key_env.*NO_SUCH"),
        ({"api_key_env": "WRONG"}, "api_key_env"),
        ({"api_key_file": str(tmp_path / "none")}, "api_key_file.*cannot be read"),
        ({"api_key_file": str(empty)}, "api_key_file.*empty"),
        ({"api_key_file": str(wrong)}, "api_key_file"),
        ({"ca_file": str(wrong)}, "ca_file"),
        ({"ca_file": str(tmp_path / "none")}, "ca_file"),
        ({"proxy": "socks5://127.0.0.1:1"}, "socksio"),
    ):
        llm = VENDORS["openai"].make("https://127.0.0.1:1", **{"api_key": None, **options})
        with pytest.raises(ConfigError, match=says) as caught:
            await llm.open()
        assert "密钥" not in str(caught.value)
        assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "a", "api_key_env": "B"},
        {"api_key": "a b"},
        {"proxy": "proxy:3128"},
        {"proxy": "http://me:secret@[::1"},
        {"extra_headers": {"a b": "c"}},
        {"azure_api_version": "1&x=2"},
    ],
)
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        LLM_ENGINES.make("[llm]", {"engine": "openai", **options}, ModelStore(Path("none")))
    assert next(iter(options)) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    llm = VENDORS["openai"].make("http://h", api_key="hush", proxy="http://me:hush@h", extra_headers={"x": "hush"})
    assert "hush" not in repr(llm._options)
    assert "hush" not in json.dumps(llm._options.model_dump(mode="json"))
