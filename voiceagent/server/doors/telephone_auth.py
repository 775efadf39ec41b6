"""Who calls: the vendors' signatures and tokens."""

import base64
import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import SecretStr
from starlette.requests import HTTPConnection

Params = Sequence[tuple[str, str]]
"""What a form held, in its order."""
Digest = Literal["sha1", "sha256"]

DEFAULT_PORTS = {"wss": 443, "https": 443, "ws": 80, "http": 80}
MOST_KEYS = 4
"""Keys that one request may present."""


def same(one: str, other: str) -> bool:
    """In a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def addresses(connection: HTTPConnection, public_url: str | None) -> list[str]:
    """The URLs that the vendor may have asked for: behind a proxy only the configured one is known; where the port is
    the scheme's own it may be written or not."""
    safe, plain = ("wss", "ws") if connection.scope["type"] == "websocket" else ("https", "http")
    if public_url is not None:
        base = urlsplit(public_url)
        schemes = [safe if base.scheme == "https" else plain]
        host, prefix = base.netloc, base.path
    else:
        schemes, host, prefix = [safe, plain], connection.headers.get("host", ""), ""
    found = []
    for scheme in schemes:
        port = f":{DEFAULT_PORTS[scheme]}"
        bare = host.removesuffix(port)
        hosts = [host] if ":" in bare.rpartition("]")[2] else [bare, bare + port]
        path = prefix + connection.url.path
        found += [urlunsplit((scheme, name, path, connection.url.query, "")) for name in hosts]
    return found


def presented(connection: HTTPConnection) -> list[str]:
    """Secrets of ours that the vendor sends along: in the path, in the query, as a token, as a password."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    given = [connection.path_params.get("key"), *(connection.query_params.getlist("key"))]
    if scheme.lower() == "bearer":
        given.append(value.strip())
    if scheme.lower() == "basic":
        with suppress(ValueError):
            given.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
    return [key for key in given if key][:MOST_KEYS]


def knows(secret: SecretStr | None, keys: Iterable[str]) -> bool | None:
    """Whether the secret is among them; None where none is configured."""
    return None if secret is None else any(same(secret.get_secret_value(), key) for key in keys)


# -- Twilio and SignalWire --------------------------------------------------------------------------------------------


def twilio_signature(key: str, url: str, params: Params, digest: Digest = "sha1") -> str:
    """Of a URL and the parameters of a form, each once, in the order of their names and values."""
    text = url + "".join(name + value for name, value in sorted(set(params)))
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), digest)).decode()


def twilio_signed(
    headers: Mapping[str, str],
    urls: Sequence[str],
    params: Params,
    auth_token: SecretStr | None,
    signing_key: SecretStr | None,
) -> bool | None:
    """None where no key is configured. The settings header names another algorithm and so another key."""
    if auth_token is None and signing_key is None:
        return None
    settings = dict(parse_qsl(headers.get("x-twilio-webhooks-signature-settings", "").replace(",", "&")))
    algorithm = settings.get("algorithm", "HMAC_SHA1").strip().upper()
    algorithms: dict[str, tuple[Digest, SecretStr | None]] = {
        "HMAC_SHA1": ("sha1", auth_token),
        "HMAC_SHA256": ("sha256", signing_key),
    }
    digest, key = algorithms.get(algorithm, ("sha1", None))
    signature = headers.get("x-twilio-signature")
    if key is None or not signature:
        return False
    return any(same(twilio_signature(key.get_secret_value(), url, params, digest), signature) for url in urls)


def signalwire_signed(
    headers: Mapping[str, str], urls: Sequence[str], params: Params, body: bytes, signing_key: SecretStr | None
) -> bool | None:
    """Twilio's way for forms, or the hexadecimal digest of URL and body; the header has had both names."""
    if signing_key is None:
        return None
    key = signing_key.get_secret_value()
    signature = headers.get("x-signalwire-signature") or headers.get("x-twilio-signature")
    if not signature:
        return False
    return any(
        same(twilio_signature(key, url, params), signature)
        or same(hmac.digest(key.encode(), url.encode() + body, "sha1").hex(), signature)
        for url in urls
    )


# -- Plivo ------------------------------------------------------------------------------------------------------------


def plivo_signature(key: str, method: str, url: str, params: Params, nonce: str) -> str:
    """Version 3: the URL with its query in order, a form's parameters in order, and the nonce."""
    parts = urlsplit(url)
    query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True)))
    text = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if query or (params and method == "POST"):
        text += "?" + query
    if params and method == "POST":
        text += ("." if query else "") + "".join(name + value for name, value in sorted(params))
    return base64.b64encode(hmac.digest(key.encode(), f"{text}.{nonce}".encode(), "sha256")).decode()


def plivo_signed(
    headers: Mapping[str, str], method: str, urls: Sequence[str], params: Params, auth_token: SecretStr | None
) -> bool | None:
    """None where no key is configured. Several signatures may be given, with commas between."""
    if auth_token is None:
        return None
    nonce = headers.get("x-plivo-signature-v3-nonce", "")
    given = headers.get("x-plivo-signature-v3", "") + "," + headers.get("x-plivo-signature-ma-v3", "")
    signatures = [signature.strip() for signature in given.split(",") if signature.strip()][:MOST_KEYS]
    made = [plivo_signature(auth_token.get_secret_value(), method, url, params, nonce) for url in urls]
    return bool(nonce) and any(same(one, other) for one in made for other in signatures)
