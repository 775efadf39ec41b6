"""Client secrets: keys that a browser may hold, since they soon expire (`POST /v1/realtime/client_secrets`)."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from voiceagent.channels.channel import ChannelHost, Denied, error_response
from voiceagent.channels.realtime.client_events import decode_with
from voiceagent.channels.realtime.session_object import SessionPatch
from voiceagent.channels.realtime.updates import initial_session, shown, updated
from voiceagent.errors import Refused

PREFIX = "ek_"
DEFAULT_SECONDS = 600
MAX_BODY = 256 * 1024
"""Bytes of a request: tools with all their schemas fit."""
BODY_SECONDS = 10.0
"""How long a request's body may take."""
MOST = 1000
"""Secrets of one tenant that are in force at the same time."""
MOST_BYTES = 8 * 1024 * 1024
"""What their sessions may take, as they were sent."""


class ExpiresAfter(Struct, frozen=True):
    """The limits are OpenAI's."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = DEFAULT_SECONDS


class SecretRequest(Struct, frozen=True):
    expires_after: ExpiresAfter | None = None
    session: SessionPatch | None = None


_REQUEST = msgspec.json.Decoder(SecretRequest)


@dataclass(frozen=True, slots=True)
class Secret:
    """Who pays for the sessions it opens, and what they begin with. `until` is a moment on the clock of the store."""

    tenant: str
    session: SessionPatch | None
    until: float
    size: int


class ClientSecrets:
    """Those in force, in this process only. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tenants: dict[str, dict[bytes, Secret]] = {}

    def add(self, value: str, tenant: str, session: SessionPatch | None, *, seconds: float, size: int) -> None:
        """Raises Denied 429 when the tenant has too many."""
        now = self._clock()
        secrets = {key: secret for key, secret in self._tenants.get(tenant, {}).items() if secret.until > now}
        if len(secrets) >= MOST or sum(secret.size for secret in secrets.values()) + size > MOST_BYTES:
            wait = min(secret.until for secret in secrets.values()) - now
            raise Denied(429, "too_many_client_secrets", "this key has too many client secrets", int(wait) + 1)
        secrets[_digest(value)] = Secret(tenant, session, now + seconds, size)
        self._tenants[tenant] = secrets

    def find(self, value: str) -> Secret | None:
        """None for one that is unknown or has expired."""
        digest = _digest(value)
        found = [secrets[digest] for secrets in self._tenants.values() if digest in secrets]
        return found[0] if found and found[0].until > self._clock() else None


def _digest(value: str) -> bytes:
    """No secret is kept, and how long a comparison takes tells nothing."""
    return hashlib.sha256(value.encode()).digest()


class SecretsPage:
    def __init__(self, host: ChannelHost, secrets: ClientSecrets) -> None:
        self._host = host
        self._secrets = secrets

    async def answer(self, request: Request) -> Response:
        allowed: Mapping[str, str] = {}
        try:
            self._host.check_origin(request.headers.get("origin"))
            allowed = cross_origin(request)
            response = Response(status_code=204) if request.method == "OPTIONS" else await self._make(request)
        except Denied as denied:
            response = error_response(denied)
        except Refused as refused:
            error = {"type": "invalid_request_error", "code": refused.code, "message": refused.message}
            response = _json({"error": {**error, "param": refused.param}}, 400)
        response.headers.update(allowed)
        return response

    async def _make(self, request: Request) -> Response:
        """Raises Denied, Refused."""
        host = self._host
        tenant = host.check_key(request.headers.get("authorization"))
        body = await _body(request)
        asked = decode_with(_REQUEST, body or b"{}")
        after = asked.expires_after or ExpiresAfter()
        now = int(time.time())
        ends = now + int(host.session_seconds)
        session = initial_session(host.new_id("sess"), "voiceagent", host.defaults(), ends)
        if asked.session is not None:
            session = updated(session, asked.session, host.defaults())
        value = host.new_id("ek")
        self._secrets.add(value, tenant, asked.session, seconds=after.seconds, size=len(body))
        return _json({"value": value, "expires_at": now + after.seconds, "session": shown(session)}, 200)


def cross_origin(request: Request) -> Mapping[str, str]:
    """What lets a page from elsewhere ask and read the answer. Whether it may was checked before."""
    origin = request.headers.get("origin")
    if origin is None:
        return {}
    headers = {"access-control-allow-origin": origin, "vary": "Origin"}
    if request.method == "OPTIONS":
        wanted = request.headers.get("access-control-request-headers", "authorization, content-type")
        headers["access-control-allow-methods"] = "POST"
        headers["access-control-allow-headers"] = wanted
        headers["access-control-max-age"] = "600"
    return headers


async def _body(request: Request) -> bytes:
    """Raises Denied when it is too large, or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY:
                    raise Denied(413, "request_too_large", f"a request has at most {MAX_BODY} bytes")
    except (TimeoutError, ClientDisconnect):
        raise Denied(408, "request_timeout", "the request did not come in time") from None
    return bytes(body)


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
