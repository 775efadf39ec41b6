"""What all language models behind HTTP share: their options, the connections, reading a body safely."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, ClassVar, Self

import httpx
from pydantic import AfterValidator, ConfigDict, Field, JsonValue, SecretStr, model_validator

from voiceagent import extras
from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.connections import Clients
from voiceagent.llm.encoding import DecodedPieces
from voiceagent.section import HeaderName, HeaderSecret, KeySecret, Seconds, Section, WebAddress, key_value

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 2.0
REFUSAL_BYTES = 65_536
MOST_REDIRECTS = 3
REDIRECTS = (301, 302, 307, 308)
Pieces = AsyncIterator[bytes]


def _proxy_address(proxy: SecretStr) -> SecretStr:
    try:
        url = httpx.URL(proxy.get_secret_value())
    except httpx.InvalidURL:
        raise ValueError("not a web address") from None
    if url.scheme not in ("http", "https", "socks5", "socks5h") or not url.host:
        raise ValueError("must begin with http://, https:// or socks5:// and name a host")
    return proxy


class HttpOptions(Section):
    """What all engines that speak with a model by HTTP may be told."""

    model_config = ConfigDict(validate_default=True)

    home: ClassVar[str] = ""
    """The vendor's own address, which wants a key."""
    key_variable: ClassVar[str] = ""
    """The environment's usual name for the vendor's key."""

    base_url: WebAddress
    """The server's address; may hold an IPv6 literal (`http://[::1]:8080`)."""
    api_key: KeySecret | None = None
    """The key itself."""
    api_key_env: str | None = Field(default=None, min_length=1)
    """The variable that holds the key, read when the engine is opened."""
    api_key_file: Path | None = None
    """The file that holds the key, read when the engine is opened."""
    model: str = Field(min_length=1)
    """The model to ask for."""
    temperature: float | None = Field(default=None, ge=0)
    """The server's own without one."""
    max_tokens: int | None = Field(default=None, ge=1)
    """The longest answer; the server's own without one."""
    extra_headers: dict[HeaderName, HeaderSecret] = Field(default_factory=dict)
    """Sent with each request; taken for secrets."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    """Added to the request, or over it."""
    connect_timeout: Seconds = 5.0
    """Seconds for the connection, and again for TLS."""
    first_token_seconds: Seconds = 60.0
    """The engine's own backstop; a session's deadlines are usually shorter."""
    next_token_seconds: Seconds = 30.0
    """Likewise, for each further token."""
    keepalive_seconds: float = Field(default=60.0, ge=0)
    """How long an idle connection is kept, which saves the next turn the TLS handshake."""
    http2: bool = False
    """Speak HTTP/2; needs the extra `http2`."""
    proxy: Annotated[SecretStr, AfterValidator(_proxy_address)] | None = None
    """An http://, https:// or socks5:// address, which may hold a password; the environment's without one."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the usual ones."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Self:
        given = self.model_fields_set & {"api_key", "api_key_env", "api_key_file"}
        if len([name for name in given if getattr(self, name) is not None]) > 1:
            raise ValueError("give only one of api_key, api_key_env and api_key_file")
        return self

    def key(self) -> str:
        """The key, '' when there is none. Raises ConfigError when it is not where it should be, or missing where the
        vendor itself is to be asked."""
        key = self.api_key or SecretStr("")
        where = "api_key"
        if self.api_key_env is not None:
            where = "api_key_env"
            if not (found := os.environ.get(self.api_key_env)):
                raise ConfigError(f"[llm] api_key_env: the environment has no {self.api_key_env}")
            key = SecretStr(found)
        elif self.api_key_file is not None:
            where = "api_key_file"
            key = _from_file(self.api_key_file)
        try:
            key = key_value(key)
        except ValueError as error:
            raise ConfigError(f"[llm] {where}: {error}") from None
        if not key and httpx.URL(self.base_url).host == httpx.URL(self.home).host:
            raise ConfigError(
                f"[llm] api_key is missing: set it or {self.key_variable}, or choose another [llm] engine"
            )
        return key.get_secret_value()


class HttpClient:
    """The connections to one endpoint. They belong to the event loop they were opened on."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._host = httpx.URL(options.base_url).host
        self._clients: Clients | None = None

    @property
    def host(self) -> str:
        """For logs."""
        return self._host

    async def open(self, headers: dict[str, str], probe: str) -> None:
        """Make the client and warm up a connection. An endpoint that is down now only costs a line in the log.
        Raises ConfigError."""
        options = self._options
        proxy = options.proxy.get_secret_value() if options.proxy is not None else None
        _need("h2", options.http2, "http2 = true")
        _need("socksio", proxy is not None and proxy.startswith("socks5"), "a socks5 proxy")
        all_headers = httpx.Headers({"Accept-Encoding": "identity", **headers})  # compression would hold tokens back
        all_headers.update({name: secret.get_secret_value() for name, secret in options.extra_headers.items()})
        make = partial(
            httpx.AsyncClient,
            headers=all_headers,
            timeout=httpx.Timeout(None, connect=options.connect_timeout, pool=options.connect_timeout),
            limits=httpx.Limits(
                max_keepalive_connections=None if options.keepalive_seconds else 0,
                keepalive_expiry=options.keepalive_seconds,
            ),
            http2=options.http2,
            proxy=proxy,
            verify=_verify(options),
            trust_env=proxy is None and not _is_loopback(self._host),  # a proxy cannot reach this very machine
        )
        self._clients = Clients(make, options.keepalive_seconds)
        await self._warm_up(self._clients, probe)

    async def close(self) -> None:
        """Answers still being streamed are broken off."""
        clients, self._clients = self._clients, None
        if clients is not None:
            await clients.close()

    @asynccontextmanager
    async def post(self, url: str, content: bytes) -> AsyncIterator[tuple[httpx.Response, Pieces]]:
        """The response and the pieces of its body; in the end hangs up on what is left of it. Raises EngineError."""
        if (clients := self._clients) is None:
            raise EngineError("llm", "unavailable", "the language model is not open")
        client, sound = clients.take(), False
        try:
            with as_engine_errors():
                response = await _sent(client, url, content)
            pieces = response.aiter_raw()
            try:
                yield response, DecodedPieces(pieces, response.headers.get("content-encoding", ""))
            finally:
                sound = response.is_closed
                await response.aclose()
                await _unwound(pieces)
        finally:
            await clients.give_back(client, sound=sound)

    async def _warm_up(self, clients: Clients, probe: str) -> None:
        client, sound = clients.take(), False
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                response = await client.head(probe)
            sound = True
            if response.status_code in (401, 403):
                logger.warning("language model at %s refuses the key (HTTP %d)", self._host, response.status_code)
        except (httpx.TransportError, TimeoutError) as error:
            logger.warning("language model at %s cannot be reached yet (%s)", self._host, type(error).__name__)
        finally:
            await clients.give_back(client, sound=sound)


async def start_of(pieces: Pieces) -> bytes:
    """As much of an error's body as is worth reading. Raises EngineError."""
    content = b""
    with as_engine_errors():
        async for piece in pieces:
            content += piece
            if len(content) >= REFUSAL_BYTES:
                break
    return content


async def _sent(client: httpx.AsyncClient, url: str, content: bytes) -> httpx.Response:
    """The response, its body unread. The server may point to another path of its own, or to https; nowhere else, as the
    key would go along."""
    address = httpx.URL(url)
    for _ in range(MOST_REDIRECTS):
        response = await _sent_once(client, address, content)
        there = _redirected(response, address) if response.status_code in REDIRECTS else None
        if there is None:
            return response
        await response.aclose()
        address = there
    return await _sent_once(client, address, content)


async def _sent_once(client: httpx.AsyncClient, address: httpx.URL, content: bytes) -> httpx.Response:
    """A request whose kept connection turns out to be closed is sent once more."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    request = client.build_request("POST", address, content=content, headers=headers)
    try:
        return await client.send(request, stream=True)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        return await client.send(request, stream=True)


def _redirected(response: httpx.Response, address: httpx.URL) -> httpx.URL | None:
    """Where the server wants the request, if that is the same server."""
    try:
        there = address.join(response.headers.get("location", ""))
    except httpx.InvalidURL:
        return None
    if not response.headers.get("location") or there.host != address.host or there == address:
        return None
    same = (there.scheme, there.port) == (address.scheme, address.port)
    return there if same or (address.scheme, there.scheme) == ("http", "https") else None


async def _unwound(pieces: Pieces) -> None:
    """Ends the chain of generators through which httpx reads. Those of a half-read body it leaves to the garbage
    collector, which would finish them in tasks of its own; reading on from the closed response ends them here."""
    with suppress(httpx.HTTPError, httpx.StreamError, TimeoutError):
        async with asyncio.timeout(0):  # under HTTP/2 it would wait for more
            while await anext(pieces, None) is not None:
                pass


@contextmanager
def as_engine_errors() -> Iterator[None]:
    """Turns what httpx raises into EngineError. Its messages are left out: they may hold a header's value."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException):
        raise EngineError("llm", "timeout", "the language model did not answer in time") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        kind = type(error).__name__
        raise EngineError("llm", "unavailable", f"the connection to the language model failed ({kind})") from None


def key_from(variable: str) -> SecretStr | None:
    """A vendor's key from where the environment usually holds it."""
    return SecretStr(value) if (value := os.environ.get(variable)) else None


def _from_file(path: Path) -> SecretStr:
    try:
        found = path.expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"[llm] api_key_file: {path} cannot be read") from None
    if not found:
        raise ConfigError(f"[llm] api_key_file: {path} is empty")
    return SecretStr(found)


def _need(package: str, wanted: bool, option: str) -> None:
    if wanted:
        extras.need(package, f"[llm] {option}")


def _verify(options: HttpOptions) -> ssl.SSLContext:
    """Made once for all clients, as loading the certificates takes long; for http an empty one will do."""
    if options.ca_file is None:
        https = httpx.URL(options.base_url).scheme == "https"
        return httpx.create_ssl_context() if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=options.ca_file.expanduser())
    except OSError:  # ssl.SSLError is one
        raise ConfigError(f"[llm] ca_file: {options.ca_file} is no PEM file of certificates") from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
