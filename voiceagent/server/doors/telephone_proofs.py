"""Who calls: Vonage's signed tokens, and Genesys' HTTP message signatures."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from voiceagent import extras
from voiceagent.server.doors.telephone_auth import same

if TYPE_CHECKING:
    import jwt
    from jwt.types import Options
else:
    jwt = extras.optional("jwt", "[telephone.vonage] signature_secret")

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
