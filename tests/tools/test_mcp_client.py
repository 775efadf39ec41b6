"""MCP servers that clients name: what may be reached, and what is offered of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.tools_mcp_server import http_server
from voiceagent.llm.base import Caller
from voiceagent.tools.base import ToolError
from voiceagent.tools.mcp.client import Approval, ClientMcp, ClientServer
from voiceagent.tools.mcp.http import MOST_BYTES, AddressRefused, Allow, is_public
from voiceagent.tools.settings import ToolsSection
from voiceagent.tools.toolbox import Toolbox

ME = Caller(session="s1")
LISTED = ToolsSection(client_mcp=True, client_mcp_hosts=("127.0.0.1", "*.example.com"), client_mcp_seconds=5)


async def here(host: str, port: int | None) -> list[str]:
    """Every name is this machine's."""
    return ["127.0.0.1"]


@asynccontextmanager
async def opened(server: ClientServer, *taken: str, settings: ToolsSection = LISTED) -> AsyncIterator[ClientMcp]:
    mcp = ClientMcp(settings, server, taken=taken, resolve=here)
    await mcp.open()
    try:
        yield mcp
    finally:
        await mcp.close()


async def refused(server: ClientServer, settings: ToolsSection = LISTED) -> str:
    with pytest.raises(ToolError) as raised:
        async with opened(server, settings=settings):
            pass
    return str(raised.value)


async def test_a_listed_server(tmp_path: Path) -> None:
    async with http_server(tmp_path / "log") as (url, seen):
        server = ClientServer(
            "shop",
            url.replace("127.0.0.1", "mcp.example.com"),
            SecretStr("t0ken"),
            {"X-Shop": SecretStr("s3cret")},
            allowed=frozenset({"add", "delete", "weather.now"}),
            approval=Approval("never", always=frozenset({"delete"})),
        )
        assert "t0ken" not in repr(server)
        async with opened(server) as mcp:
            tools = {tool.spec.name: tool for tool in mcp.tools()}
            assert set(tools) == {"add", "delete", "weather_now"}
            assert not tools["delete"].policy.confirm  # the client is asked, by its own protocol
            assert [mcp.needs_approval(tools[name]) for name in ("add", "delete", "weather_now")] == [
                False,
                True,
                False,
            ]
            assert await Toolbox().run(tools["add"], '{"a": 1, "b": 2}', ME) == "3"
        async with opened(server, "add", "weather") as mcp:
            assert {tool.spec.name for tool in mcp.tools()} == {"shop_add", "shop_delete", "shop_weather_now"}
    assert seen[0]["authorization"] == "Bearer t0ken"
    assert seen[0]["x-shop"] == "s3cret"
    assert seen[0]["host"].startswith("mcp.example.com:")


def test_approval() -> None:
    assert Approval().needed("any")
    assert not Approval("never").needed("any")
    assert not Approval(never=frozenset({"read"})).needed("read")
    assert Approval(never=frozenset({"read"})).needed("write")


async def test_tls_is_asked_for_by_name_though_the_address_is_fixed() -> None:
    hello = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            hello.set_result(await reader.read(2048))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (
            await refused(ClientServer("a", f"https://mcp.example.com:{port}/")) == "the MCP server cannot be reached"
        )
        assert b"mcp.example.com" in await hello


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://mcp.example.org/", "server_url must begin with https://"),
        ("http://10.0.0.1/", "server_url must begin with https://"),
        ("https://10.0.0.1/", "server_url is not at a public address"),
        ("https://[::1]:8/", "server_url is not at a public address"),
        ("https://169.254.169.254/latest/meta-data", "server_url is not at a public address"),
        ("https://localhost/", "the MCP server cannot be reached"),  # which the resolver gives away
        ("https://mcp.example.org/", "the MCP server cannot be reached"),
        ("https://2130706433/", "the MCP server cannot be reached"),
        ("https://eve@mcp.example.com/", "server_url must begin with https:// and name a host, without a user"),
        ("file:///etc/passwd", "server_url must begin with https:// and name a host, without a user"),
        ("https://", "server_url must begin with https:// and name a host, without a user"),
        ("https://a:b/", "server_url is no web address"),
        ("", "server_url must begin with https:// and name a host, without a user"),
    ],
)
async def test_what_is_refused(url: str, told: str) -> None:
    assert await refused(ClientServer("a", url)) == told


async def test_nothing_is_reached_unless_it_is_switched_on() -> None:
    told = await refused(ClientServer("a", "https://mcp.example.com/"), ToolsSection())
    assert told == "MCP servers of clients are not allowed here"


@pytest.mark.parametrize(
    "server",
    [
        ClientServer("a", "http://127.0.0.1:9/", SecretStr("s3cret\r\nX: y")),
        ClientServer("a", "http://127.0.0.1:9/", headers={"X Y": SecretStr("s3cret")}),
        ClientServer("a", "http://127.0.0.1:9/", headers={"X": SecretStr("s3cret" * 9_999)}),
        ClientServer("a", "http://127.0.0.1:9/", headers={f"X{n}": SecretStr("s3cret") for n in range(99)}),
    ],
)
async def test_headers_that_cannot_be_sent(server: ClientServer) -> None:
    assert "header" in (told := await refused(server))
    assert "s3cret" not in told


async def test_a_server_that_hangs_has_its_deadline() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        settings = LISTED.model_copy(update={"client_mcp_seconds": 0.3})
        assert await refused(ClientServer("a", url), settings) in (
            "the MCP server does not answer",
            "the MCP server cannot be reached",
        )


@pytest.mark.parametrize("head", ["content-encoding: gzip\r\n", ""])
async def test_a_server_that_floods(head: str) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n".encode())
            for _ in range(4 * MOST_BYTES // 65_536):
                writer.write(b"[" * 65_536)
                await writer.drain()
                sent += 65_536
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await refused(ClientServer("a", url)) == "the MCP server cannot be reached"
    assert sent < 3 * MOST_BYTES


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_one_private_address_among_public_ones_is_too_many() -> None:
    async def both(host: str, port: int | None) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    allow = Allow(("*.example.com",), both)
    assert await allow.address("http", "mcp.example.com", 80) == "8.8.8.8"
    with pytest.raises(AddressRefused):
        await allow.address("https", "example.com", 443)
    with pytest.raises(AddressRefused):
        await Allow((), both).address("http", "example.com", 80)
