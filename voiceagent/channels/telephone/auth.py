"""Who calls: the vendors' signatures and tokens."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import SecretStr
from starlette.requests import HTTPConnection

from voiceagent import extras

if TYPE_CHECKING:
    import jwt
    from jwt.types import Options
else:
    jwt = extras.optional("jwt", "[telephone.vonage] signature_secret")

# Who calls: Vonage's signed tokens, and Genesys' HTTP message signatures.

TOKEN_SECONDS = 300
"""How old a token of Vonage's may be."""
SIGNATURE_SECONDS = 30
"""How far our clock and Genesys' may differ, beside the 10 s for which a signature is good."""
COVERED = frozenset(
    (
        "@request-target",
        "@authority",
        "audiohook-organization-id",
        "audiohook-session-id",
        "audiohook-correlation-id",
        "x-api-key",
    )
)
"""What a signature of Genesys' must cover."""
NONCE_CHARS = 22
CHECKED: "Options" = {"require": ["iat"], "verify_iat": False, "verify_aud": False, "verify_iss": False}
"""Of a token. We look at the time ourselves: clocks differ."""

_NAMES = r'"[^"\\]{1,100}"(?: "[^"\\]{1,100}"){0,20}'
_PARAMETERS = r'(?:;[a-z]+=(?:"[^"\\]{0,300}"|\d{1,15})){1,8}'
_INPUT = re.compile(rf"([a-z*][a-z0-9_*.-]*)=(\(({_NAMES})\)({_PARAMETERS}))")
_SIGNATURE = re.compile(r"([a-z*][a-z0-9_*.-]*)=:([A-Za-z0-9+/=]{1,200}):")


def vonage_signed(authorization: str, body: bytes, secret: SecretStr | None) -> bool | None:
    """A bearer token, signed by the account's secret and fresh; where it tells the body's digest, of this body. None
    where no secret is configured."""
    if secret is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return False
    try:
        claims = jwt.decode(token.strip(), secret.get_secret_value(), algorithms=["HS256"], options=CHECKED)
    except (jwt.PyJWTError, ValueError):
        return False
    issued, digest = claims["iat"], claims.get("payload_hash")
    if not isinstance(issued, int | float) or abs(time.time() - issued) > TOKEN_SECONDS:
        return False
    return digest is None or not body or same(str(digest).lower(), hashlib.sha256(body).hexdigest())


def genesys_signed(
    headers: Mapping[str, str], urls: Sequence[str], api_key: SecretStr | None, client_secret: SecretStr | None
) -> bool | None:
    """By the API key and by the signature (RFC 9421, HMAC-SHA256), as far as these are configured. `urls` are those
    that Genesys may have asked for."""
    if api_key is None and client_secret is None:
        return None
    if api_key is not None and not same(api_key.get_secret_value(), headers.get("x-api-key", "")):
        return False
    if client_secret is None:
        return True
    key = base64.b64decode(client_secret.get_secret_value())
    told, given = _INPUT.fullmatch(headers.get("signature-input", "")), headers.get("signature", "")
    signature = _SIGNATURE.fullmatch(given)
    if told is None or signature is None or told[1] != signature[1]:
        return False
    names = re.findall(r'"([^"]*)"', told[3])
    if not set(names) >= COVERED or len(set(names)) != len(names) or not _fresh(told[4], headers):
        return False
    made = (genesys_signature(key, headers, url, names, told[2]) for url in urls)
    return any(one is not None and same(one, signature[2]) for one in made)


def genesys_signature(
    key: bytes, headers: Mapping[str, str], url: str, names: Sequence[str], parameters: str
) -> str | None:
    """Base64 of the signature of these components; None where one is not there. `parameters` is the list of them with
    what follows it."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    derived = {"@request-target": target, "@authority": parts.netloc}
    lines = []
    for name in names:
        value = derived.get(name) if name.startswith("@") else headers.get(name)
        if value is None:
            return None
        lines.append(f'"{name}": {value.strip()}')
    text = "\n".join([*lines, f'"@signature-params": {parameters}'])
    return base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()


def _fresh(parameters: str, headers: Mapping[str, str]) -> bool:
    """Whether it was made now, once, with the key that the request names, and by the algorithm we know."""
    told: dict[str, str] = {
        name: value.strip('"') for name, value in re.findall(r";([a-z]+)=(\"[^\"]*\"|\d+)", parameters)
    }
    now = time.time()
    created, expires = told.get("created", ""), told.get("expires", "")
    if not created.isdecimal() or not -SIGNATURE_SECONDS <= now - int(created) <= SIGNATURE_SECONDS + 10:
        return False
    if expires and (not expires.isdecimal() or int(expires) < now - SIGNATURE_SECONDS):
        return False
    if told.get("alg", "hmac-sha256") != "hmac-sha256" or len(told.get("nonce", "")) < NONCE_CHARS:
        return False
    return told.get("keyid", "") == headers.get("x-api-key", "")


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
