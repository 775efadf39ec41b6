"""Any language model behind an OpenAI-compatible `/chat/completions`: OpenAI's, vLLM's, llama.cpp's, Ollama's."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import ip_address
from types import MappingProxyType

import httpx
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator

from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.base import LlmEvent, LlmRequest, TextDelta
from voiceagent.llm.chat import Answer, Dialect, body, status_error
from voiceagent.models.store import ModelStore
from voiceagent.section import Seconds, WebAddress

logger = logging.getLogger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
ENDING_SECONDS = 1.0
"""How long to wait for the usage once the answer is whole."""
DRAIN_SECONDS = 0.1
"""How long to wait for the end of the response after the stream's own end mark."""
WARM_UP_SECONDS = 2.0
REFUSAL_BYTES = 65_536
MOST_CONNECTIONS = 1_000


class OpenAILlmOptions(BaseModel):
    """`first_token_seconds` and `next_token_seconds` are the engine's own backstop; the session's deadlines are usually
    shorter. `extra_headers` are taken for secrets. `extra_body` adds to the request or overrides it. An idle
    connection is kept for `keepalive_seconds`, which saves the next turn the TLS handshake."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    base_url: WebAddress = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
    api_key: SecretStr | None = Field(default_factory=lambda: _secret(os.environ.get("OPENAI_API_KEY")))
    model: str = Field(default_factory=lambda: os.environ.get("OPENAI_MODEL") or "gpt-4o-mini", min_length=1)
    temperature: float | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    extra_headers: dict[str, SecretStr] = Field(default_factory=dict)
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    connect_timeout: Seconds = 5.0
    first_token_seconds: Seconds = 60.0
    next_token_seconds: Seconds = 30.0
    keepalive_seconds: float = Field(default=60.0, ge=0)

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else _secret(_header_value(value))

    @field_validator("extra_headers")
    @classmethod
    def _fit_headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if not all(name.isascii() and name.isprintable() and name for name in value):
            raise ValueError("has a name that cannot be sent in an HTTP header")
        return {name: SecretStr(_header_value(secret)) for name, secret in value.items()}


class OpenAILlm:
    """Streams answers over HTTP. Its connections belong to the event loop it was opened on.

    A server that refuses `stream_options` or `max_tokens` is asked again without, or with `max_completion_tokens`, and
    that is remembered. A request whose kept connection turns out to be closed is sent once more on a new one.
    """

    Options = OpenAILlmOptions

    def __init__(self, options: OpenAILlmOptions, models: ModelStore) -> None:
        self._options = options
        self._url = httpx.URL(options.base_url)
        self._dialect = Dialect()
        self._client: httpx.AsyncClient | None = None

    @property
    def talk_tokens(self) -> None:
        """The endpoint's own business; `[memory] tokens` is the limit."""
        return None

    async def open(self) -> None:
        """Make the client and warm up the connection. An endpoint that is down now only costs a line in the log."""
        options = self._options
        if options.api_key is None and self._url.host == httpx.URL(OPENAI_URL).host:
            raise ConfigError("[llm] api_key is missing: set it or OPENAI_API_KEY, or choose another [llm] engine")
        headers = httpx.Headers({"Accept-Encoding": "identity"})  # compression would hold tokens back
        if options.api_key is not None:
            headers["Authorization"] = f"Bearer {options.api_key.get_secret_value()}"
        headers.update({name: secret.get_secret_value() for name, secret in options.extra_headers.items()})
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=options.connect_timeout, pool=options.connect_timeout),
            limits=httpx.Limits(
                max_connections=MOST_CONNECTIONS,
                max_keepalive_connections=None if options.keepalive_seconds else 0,
                keepalive_expiry=options.keepalive_seconds,
            ),
            verify=self._url.scheme == "https",  # loading the certificates takes long and is of no use for http
            trust_env=not _is_loopback(self._url.host),  # a proxy cannot reach this very machine
        )
        await self._warm_up(self._client)

    async def reply(
        self, request: LlmRequest, extra_body: Mapping[str, JsonValue] = MappingProxyType({})
    ) -> AsyncGenerator[LlmEvent, None]:
        """Stream one answer; `<think>` blocks and reasoning deltas are left out. `extra_body` is for this request what
        the option of that name is for all. Closing the generator ends the HTTP stream at once. Raises EngineError."""
        answer = Answer()
        deadline = time.monotonic() + self._options.first_token_seconds
        with _as_engine_errors():
            async with asyncio.timeout(self._options.first_token_seconds):
                response = await self._send(request, extra_body)
        async with _body(response) as pieces:
            while (piece := await _next_piece(pieces, answer, deadline)) is not None:
                text, progress = answer.feed(piece)
                if text:
                    yield TextDelta(text)
                if progress and answer.spoke:
                    deadline = time.monotonic() + self._options.next_token_seconds
            if rest := answer.finish():
                yield TextDelta(rest)
            yield answer.completed()

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _warm_up(self, client: httpx.AsyncClient) -> None:
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                response = await client.head(f"{self._options.base_url}/models")
        except (httpx.TransportError, TimeoutError) as error:
            logger.warning("language model at %s cannot be reached yet (%s)", self._url.host, type(error).__name__)
            return
        if response.status_code in (401, 403):
            logger.warning("language model at %s refuses the key (HTTP %d)", self._url.host, response.status_code)

    async def _send(self, request: LlmRequest, extra_body: Mapping[str, JsonValue]) -> httpx.Response:
        """The response of an accepted request, its body unread."""
        options, dialect = self._options, self._dialect
        fields: dict[str, JsonValue] = {"model": options.model}
        if options.temperature is not None:
            fields["temperature"] = options.temperature
        fields |= {**options.extra_body, **extra_body}
        max_tokens = options.max_tokens if request.max_tokens is None else request.max_tokens
        while True:
            response = await self._post(body(request.messages, fields, max_tokens, dialect))
            if response.status_code == httpx.codes.OK:
                self._dialect = dialect
                return response
            refusal = await _start_of_body(response)
            mended = dialect.mended(refusal) if response.status_code in (400, 422) else None
            if mended is None:
                raise status_error(response.status_code, refusal)
            dialect = mended

    async def _post(self, content: bytes) -> httpx.Response:
        if self._client is None:
            raise EngineError("llm", "unavailable", "the language model is not open")
        request = self._client.build_request(
            "POST",
            f"{self._options.base_url}/chat/completions",
            content=content,
            headers={"Content-Type": "application/json", "Accept": "text/event-stream"},
        )
        try:
            return await self._client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):  # it was closed while idle
            return await self._client.send(request, stream=True)


@asynccontextmanager
async def _body(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The pieces of a response's body; closes the response in the end.

    httpx reads through a chain of generators and leaves those of a half-read body to the garbage collector, which would
    finish them in tasks of its own; reading on from the closed response ends them here.
    """
    pieces = response.aiter_raw()
    try:
        yield pieces
    finally:
        await response.aclose()
        with suppress(httpx.HTTPError, httpx.StreamError):
            while await anext(pieces, None) is not None:
                pass


async def _next_piece(pieces: AsyncIterator[bytes], answer: Answer, deadline: float) -> bytes | None:
    """More of the body, or None at its end. Once the answer is whole, what goes wrong after it does not matter:
    the rest is only read for the usage, and to keep the connection."""
    left = deadline - time.monotonic()
    if answer.ending:
        left = DRAIN_SECONDS if answer.ended else ENDING_SECONDS
    try:
        with _as_engine_errors():
            async with asyncio.timeout(left):
                return await anext(pieces, None)
    except EngineError:
        if answer.ending:
            return None
        raise


async def _start_of_body(response: httpx.Response) -> bytes:
    """As much of an error's body as is worth reading; closes the response."""
    content = b""
    async with _body(response) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) >= REFUSAL_BYTES:
                break
    return content


@contextmanager
def _as_engine_errors() -> Iterator[None]:
    """Turns what httpx raises into EngineError. Its messages are left out: they may hold a header's value."""
    try:
        yield
    except (TimeoutError, httpx.TimeoutException):
        raise EngineError("llm", "timeout", "the language model did not answer in time") from None
    except (httpx.HTTPError, httpx.StreamError) as error:
        kind = type(error).__name__
        raise EngineError("llm", "unavailable", f"the connection to the language model failed ({kind})") from None


def _secret(value: str | None) -> SecretStr | None:
    return SecretStr(value) if value else None


def _header_value(secret: SecretStr) -> str:
    value = secret.get_secret_value().strip()
    if not (value.isascii() and (value.isprintable() or not value)):
        raise ValueError("has characters that cannot be sent in an HTTP header")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
