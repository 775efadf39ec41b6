"""The tokens by which xiaozhi devices come in: signed, so that any server that has the secret can check one by itself.

A token is `<mark>.<epoch>.<tenant>.<signature>`: a mark of the secret, how often the device's tokens were revoked
before, who pays for it, and HMAC-SHA256 over the device's id, its client id and all that. It has no end: a device asks
for a new one only when it boots.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

MAX_TOKEN = 512
_SIGNED_FOR = "xiaozhi device token 1"
NONE_REVOKED: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who shows a token. `client_id` is kept in the device's flash, and goes when that is erased."""

    device_id: str
    client_id: str


class WrongToken(Exception):
    """Signed with a secret of ours, or so it says, but not for this device; or revoked."""


class Tokens:
    """Signs with the first secret, knows those of all. `revoked` maps a device to its epoch: tokens of earlier ones no
    longer count; devices without an entry are in epoch 0."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = {_mark(secret): secret for secret in reversed(secrets)}
        self._current = _mark(secrets[0])
        self.revoked = NONE_REVOKED

    def issue(self, bearer: Bearer, tenant: str, epoch: int) -> str:
        return self._token(self._current, bearer, tenant, epoch)

    def tenant(self, bearer: Bearer, token: str) -> str | None:
        """Who pays for this bearer; None for a token that none of our secrets made. Raises WrongToken."""
        mark, _, rest = token.partition(".")
        if mark not in self._secrets or len(token) > MAX_TOKEN:
            return None
        try:
            told_epoch, told_tenant, _ = rest.split(".")
            epoch, tenant = int(told_epoch), _bytes(told_tenant).decode()
        except ValueError:
            raise WrongToken from None
        right = hmac.compare_digest(self._token(mark, bearer, tenant, epoch).encode(), token.encode())
        if not right or epoch < self.revoked.get(bearer.device_id, 0):
            raise WrongToken
        return tenant

    def _token(self, mark: str, bearer: Bearer, tenant: str, epoch: int) -> str:
        signed = json.dumps([_SIGNED_FOR, bearer.device_id, bearer.client_id, tenant, epoch])
        signature = hmac.digest(self._secrets[mark], signed.encode(), "sha256")
        return f"{mark}.{epoch}.{_text(tenant.encode())}.{_text(signature)}"


def _mark(secret: bytes) -> str:
    """Names a secret without telling it."""
    return "xz" + _text(hashlib.sha256(b"xiaozhi secret's mark\0" + secret).digest()[:6])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
