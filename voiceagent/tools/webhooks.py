"""Webhooks: a tool whose call is an HTTP request to a server of the operator's."""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
from pydantic import JsonValue

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller, ToolSpec
from voiceagent.tools.base import Tool, ToolError, ToolPolicy
from voiceagent.tools.schema import offerable
from voiceagent.tools.settings import WebhookSection, from_environment, headers_of
from voiceagent.tools.threads import off_loop

log = logging.getLogger(__name__)

MOST_BYTES = 32 * 1024
"""The most of an answer that is read."""
CUT = "\n(the rest is cut)"
ERROR_CHARS = 500
"""The most of a refusal's words that the model is shown."""
RETRY_SECONDS = (0.1, 0.3, 0.6)
"""The waits before a connection is tried again."""
KEEP_SECONDS = 1.0
"""How long a connection is kept: shorter than servers do, so that a request meets no closing one and is lost."""
READ_SECONDS = 10.0
"""How long reading files may take at the start."""
_LOOPBACK = ("localhost",)


class Webhook:
    """A ToolSource of one tool, and the tool."""

    def __init__(self, section: WebhookSection) -> None:
        self.label = httpx.URL(section.url).host
        self.spec = ToolSpec(section.name, section.description)
        self.policy = section.policy.over(ToolPolicy())
        self._section = section
        self._secret = b""
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        section = self._section
        where = f"[tools] webhook {section.name}"
        headers = httpx.Headers({"Accept": "application/json, text/plain;q=0.9, */*;q=0.1"})
        headers.update(headers_of(where, section.headers, section.headers_env))
        headers.update({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        if section.secret is not None:
            self._secret = section.secret.get_secret_value().encode()
        elif section.secret_env:
            self._secret = from_environment(f"{where} secret_env", section.secret_env).encode()
        parameters, trusted = await off_loop(lambda: _read(section, where), "tools", READ_SECONDS)
        spec = offerable(section.name, section.description, parameters, where)
        if spec is None:
            raise ConfigError(f"{where} parameters: must be the JSON schema of an object")
        self.spec = spec
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=section.connect_seconds),
            limits=httpx.Limits(keepalive_expiry=KEEP_SECONDS),
            verify=trusted,
            trust_env=not _is_loopback(self.label),  # a proxy cannot reach this very machine
        )

    def tools(self) -> tuple[Tool, ...]:
        return (self,)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def call(self, arguments: Mapping[str, JsonValue], caller: Caller) -> str:
        call_id = f"call_{secrets.token_hex(12)}"
        body = json.dumps(
            {
                "name": self.spec.name,
                "arguments": dict(arguments),
                "session": caller.session,
                "user": caller.user,
                "tenant": caller.tenant,
                "call_id": call_id,
            },
            ensure_ascii=False,
        ).encode("utf-8", "replace")
        try:
            return await self._answer(body, {"Idempotency-Key": call_id, **self._signed(body)})
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            # The words are left out: they may hold a header's value.
            log.warning("webhook %s: %s", self.spec.name, type(error).__name__)
            raise ToolError("the service cannot be reached") from None

    async def _answer(self, body: bytes, headers: Mapping[str, str]) -> str:
        response = await self._sent(body, headers)
        try:
            content, whole = await _start(response)
        finally:
            await response.aclose()
        text = content.decode("utf-8", "replace" if whole else "ignore")
        if response.is_success:
            return _plain(text) if whole else text + CUT
        log.warning("webhook %s: HTTP %d", self.spec.name, response.status_code)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        words = (
            text.strip()[:ERROR_CHARS]
            if response.is_client_error and kind in ("text/plain", "application/json")
            else ""
        )
        raise ToolError(f"the service refused it (HTTP {response.status_code}){': ' if words else ''}{words}")

    async def _sent(self, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """The response, its body unread. Only a connection that cannot be made is tried again: what was sent may have
        been carried out."""
        for seconds in (*RETRY_SECONDS, None):
            if self._client is None:
                raise ToolError("the service is closed")
            section = self._section
            request = self._client.build_request(section.method, section.url, content=body, headers=dict(headers))
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if seconds is None:
                    raise
                await asyncio.sleep(seconds)
        raise AssertionError

    def _signed(self, body: bytes) -> dict[str, str]:
        if not self._secret:
            return {}
        now = str(int(time.time()))
        return {"X-Voiceagent-Timestamp": now, "X-Voiceagent-Signature": signature(self._secret, now, body)}


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256 over the time, a dot, and the body as it is sent."""
    return hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


async def _start(response: httpx.Response) -> tuple[bytes, bool]:
    """As much of the body as is read, and whether that is all."""
    content = b""
    pieces = response.aiter_raw()
    async for piece in pieces:
        content += piece
        if len(content) > MOST_BYTES:
            break
    else:
        return content, True
    await response.aclose()
    with suppress(httpx.HTTPError, httpx.StreamError):  # ends the generators that httpx would leave to be collected
        async for _ in pieces:
            pass
    return content[:MOST_BYTES], False


def _plain(text: str) -> str:
    """A JSON text that is a string is that string."""
    if text[:1] == '"':
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if isinstance(value, str) else text
    return text


def _read(section: WebhookSection, where: str) -> tuple[dict[str, JsonValue], ssl.SSLContext | bool]:
    """The schema, and whom to trust. Raises ConfigError."""
    return _schema(section, where), httpx.create_ssl_context() if section.url.startswith("https") else False


def _schema(section: WebhookSection, where: str) -> dict[str, JsonValue]:
    """Raises ConfigError."""
    schema: object = section.parameters
    if isinstance(schema, Path):
        try:
            schema = json.loads(schema.expanduser().read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            raise ConfigError(f"{where} parameters: {section.parameters} cannot be read as JSON") from None
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise ConfigError(f"{where} parameters: must be the JSON schema of an object")
    return schema


def _is_loopback(host: str) -> bool:
    try:
        return host in _LOOPBACK or ip_address(host).is_loopback
    except ValueError:
        return False
