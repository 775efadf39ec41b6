"""Boot request of a xiaozhi device: its headers, and a body whose shape depends on the board."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from voiceagent.channels.channel import Denied
from voiceagent.channels.xiaozhi.settings import MAX_DEVICE_ID, device_id, dotted

MAX_TEXT = 64
"""Characters that are kept of a name."""


@dataclass(frozen=True, slots=True)
class Boot:
    """`device_id` is "" for a client that does not say who it is, `version` "" for one that could not be compared."""

    device_id: str
    client_id: str
    serial: str
    board: str
    version: str
    chip: str
    language: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What a device with a serial number shows to have that number's key."""

    algorithm: str | None
    challenge: str
    hmac: str

    def right(self, key: str, challenge: str) -> bool:
        """`key` is hex; some clients sign with its letters as they are."""
        if not challenge or self.challenge != challenge or self.algorithm not in (None, "hmac-sha256"):
            return False
        matches = [hmac.compare_digest(hmac.new(key.encode(), challenge.encode(), "sha256").hexdigest(), self.hmac)]
        try:
            burnt = bytes.fromhex(key)
        except ValueError:
            return matches[0]
        matches.append(hmac.compare_digest(hmac.new(burnt, challenge.encode(), "sha256").hexdigest(), self.hmac))
        return any(matches)


def ids(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    """Device and client, by header, or by query as browsers can. Raises Denied 400 for what is no id."""
    device, client = ((headers.get(name) or query.get(name) or "").strip() for name in ("device-id", "client-id"))
    if len(client) > MAX_DEVICE_ID or not client.isprintable():
        raise Denied(400, "invalid_client_id", "the Client-Id is not one")
    return (_device(device) if device else ""), client


def read_boot(headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> Boot:
    """Of a body that cannot be read the headers are enough. Raises Denied 400 for an id that is none."""
    told = decoded(body)
    device, client = ids(headers, query)
    application, board = _table(told, "application"), _table(told, "board")
    agent_name, _, agent_version = headers.get("user-agent", "").rpartition("/")
    mac = _text(told, "mac_address")
    version = _text(application, "version") or agent_version.strip()
    return Boot(
        device_id=device or (_device(mac) if mac else ""),
        client_id=client or _text(told, "uuid"),
        serial=_shown(headers.get("serial-number", "")),
        board=_text(board, "name") or _text(board, "type") or _shown(agent_name),
        version=version if dotted(version) else "",
        chip=_text(told, "chip_model_name"),
        language=headers.get("accept-language", "") or _text(told, "language"),
    )


def read_proof(body: bytes) -> Proof:
    """py-xiaozhi puts it into a `Payload`; xiaozhi-sdk names no algorithm."""
    told = decoded(body)
    told = _table(told, "Payload") or told
    algorithm = told.get("algorithm")
    signature = _text(told, "hmac").lower()
    return Proof(
        algorithm=algorithm if algorithm is None else str(algorithm),
        challenge=_text(told, "challenge"),
        hmac=signature if signature.isascii() else "",
    )


def decoded(body: bytes) -> Mapping[object, object]:
    """Empty for what is no JSON object."""
    try:
        told = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _device(value: str) -> str:
    try:
        return device_id(value)
    except ValueError:
        raise Denied(400, "invalid_device_id", "the Device-Id is not one") from None


def _table(told: Mapping[object, object], name: str) -> Mapping[object, object]:
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def _text(told: Mapping[object, object], name: str) -> str:
    value = told.get(name)
    return _shown(value) if isinstance(value, str) else ""


def _shown(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(char for char in text[:MAX_TEXT] if char.isprintable()).strip()
