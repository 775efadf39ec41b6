"""HTTP to MCP servers: bounded answers, and for servers that clients name, only addresses that they may reach."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx2
from mcp.client.streamable_http import streamable_http_client

from voiceagent.tools.base import ToolError
from voiceagent.tools.mcp.connection import Streams
from voiceagent.tools.threads import off_loop

log = logging.getLogger(__name__)

MOST_BYTES = 8 * 1024 * 1024
"""Of one answer."""
WRITE_SECONDS = 30.0
LIMITS = httpx2.Limits(max_connections=100, keepalive_expiry=1.0)
"""Connections are kept shorter than servers do: a request that meets a closing one ends them all."""
TRUST_SECONDS = 10.0
"""How long reading the certificates of the authorities may take."""
_NAT64 = IPv6Network("64:ff9b::/96")

Resolve = Callable[[str, int | None], Awaitable[list[str]]]
"""The addresses of a host."""


class AddressRefused(httpx2.TransportError):
    """The host may not be reached."""


@asynccontextmanager
async def streams(
    label: str,
    url: str,
    headers: Mapping[str, str],
    connect_seconds: float,
    allow: "Allow | None",
    on_lost: Callable[[], None],
) -> AsyncIterator[Streams]:
    """The transport to this server. With `allow` it goes only where that says, and never through a proxy."""
    host = httpx2.URL(url).host
    verify: ssl.SSLContext | bool = False
    if url.startswith("https"):
        verify = await off_loop(ssl.create_default_context, "tools", TRUST_SECONDS)

    async def watch(response: httpx2.Response) -> None:
        if response.status_code == 404 and "mcp-session-id" in response.request.headers:
            on_lost()
        elif response.status_code >= 400 and response.status_code not in (404, 405):
            log.warning("MCP server %s: HTTP %d", label, response.status_code)

    client = httpx2.AsyncClient(
        headers={**headers, "Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(None, connect=connect_seconds, write=WRITE_SECONDS),
        event_hooks={"response": [watch]},
        transport=Bounded(verify, allow) if allow is not None or _is_loopback(host) else None,
        verify=verify,
        limits=LIMITS,
        trust_env=allow is None and not _is_loopback(host),  # a proxy cannot reach this very machine
    )
    async with client, streamable_http_client(url, http_client=client) as (read, write):
        yield read, write


class Bounded(httpx2.AsyncBaseTransport):
    """Bounds what an answer may hold; with `allow` looks at every address that is connected to."""

    def __init__(self, verify: ssl.SSLContext | bool, allow: "Allow | None" = None) -> None:
        self._inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False, limits=LIMITS)
        self._allow = allow

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._allow is not None:
            url = request.url
            address = await self._allow.address(
                url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
            )
            # Connected to by its address, as the name could mean another the next time it is looked up.
            request = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
        response = await self._inner.handle_async_request(request)
        if "content-encoding" in response.headers:
            await response.aclose()
            raise httpx2.RemoteProtocolError("the answer is compressed though that was not asked for")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Counted(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        async for piece in self._stream:
            count += len(piece)
            if count > MOST_BYTES:
                raise httpx2.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


class Allow:
    """Where clients' servers may be: the listed hosts anywhere, all others at public addresses only, by https."""

    def __init__(self, hosts: tuple[str, ...], resolve: Resolve | None = None) -> None:
        self._hosts = tuple(host.lower().rstrip(".") for host in hosts)
        self._resolve = resolve or addresses

    def check(self, url: str) -> None:
        """Raises ToolError for an address that can never be allowed."""
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            raise ToolError("server_url is no web address") from None
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
            raise ToolError("server_url must begin with https:// and name a host, without a user")
        if parsed.scheme == "http" and not self.listed(parsed.host):
            raise ToolError("server_url must begin with https://")
        if _literal(parsed.host) is not None and not self.listed(parsed.host) and not is_public(parsed.host):
            raise ToolError("server_url is not at a public address")

    def listed(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        return any(fnmatchcase(host, pattern) for pattern in self._hosts)

    async def address(self, scheme: str, host: str, port: int | None) -> str:
        """Where to connect. Raises Refused."""
        listed = self.listed(host)
        if scheme != "https" and not listed:
            raise AddressRefused("not by https")
        try:
            found = await self._resolve(host, port)
        except OSError:
            raise httpx2.ConnectError("the host is not known") from None
        if not found or not (listed or all(map(is_public, found))):
            raise AddressRefused("not at a public address")
        return found[0]


async def addresses(host: str, port: int | None) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[4][0]) for address in found]


def is_public(address: str) -> bool:
    """Whether it belongs to the open internet, also where it hides an IPv4 address."""
    ip = _literal(address)
    if isinstance(ip, IPv6Address):
        hidden = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if hidden is None and ip in _NAT64:
            hidden = IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = hidden or ip
    return ip is not None and ip.is_global and not ip.is_multicast and not ip.is_reserved


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return host == "localhost" or (address is not None and address.is_loopback)
