"""What the doors of all telephone systems do alike: who calls, and how the call is to be held."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request

from voiceagent.channels.channel import ChannelHost, Denied
from voiceagent.channels.telephone.auth import knows, presented
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.settings import TelephoneSection, VendorSection

MOST_BODY = 64 * 1024
"""Bytes of a webhook: a form of a few dozen fields."""
FORBIDDEN = Denied(403, "not_the_vendor", "the signature or the token is missing or wrong")


@dataclass(frozen=True, slots=True)
class IdentifiedCaller:
    """Whose call it is, and the secret that its stream's path must hold, if any."""

    tenant: str
    key: str = ""


def identify_caller(
    host: ChannelHost, vendor: str, section: VendorSection, connection: HTTPConnection, signed: bool | None
) -> IdentifiedCaller:
    """By the vendor's own signature or token (`signed`; None where no key for that is configured), or our secret for
    it; where none of these is configured, by an API key like everybody else. Raises Denied."""
    keys = presented(connection)
    checks = [knows(section.secret, keys), signed]
    if True in checks:
        return IdentifiedCaller(vendor, section.secret.get_secret_value() if section.secret else "")
    if False in checks:
        raise FORBIDDEN
    if not host.keys_required:
        return IdentifiedCaller(vendor)
    for key in keys:
        try:
            return IdentifiedCaller(host.check_key(f"Bearer {key}"), key)
        except Denied:
            continue
    raise FORBIDDEN


def call_options(
    host: ChannelHost, settings: TelephoneSection, *, controlled: bool, controls_digits: bool = False
) -> CallOptions:
    """How calls are held, by the settings; see `CallOptions`."""
    return CallOptions(
        session=host.defaults(),
        greeting=settings.greeting,
        lead_ms=settings.lead_ms,
        tools=settings.tools,
        destinations=settings.destinations,
        any_destination=settings.any_destination,
        controlled=controlled,
        controls_digits=controls_digits,
        closes_to=settings.destinations.get(settings.dial_after, ""),
        key_end=settings.key_end,
        key_seconds=settings.key_seconds,
        key_count=settings.key_count,
        key_words=settings.key_words,
    )


async def body_of(request: Request) -> bytes:
    """Raises Denied for more than any webhook has."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BODY:
            raise Denied(413, "too_large", "the request is too large")
    return body
