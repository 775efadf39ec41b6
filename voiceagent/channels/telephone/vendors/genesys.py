"""Genesys Cloud: the Audio Connector's AudioHook at `/genesys`, signed by HTTP message signatures. Its call control is
the stream itself."""

import base64
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from pydantic import AfterValidator, SecretStr
from starlette.websockets import WebSocket

from voiceagent.audio.pcm import Pcm
from voiceagent.channels.base import Frame, HangUp, Transfer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.auth import VendorRequest, same
from voiceagent.channels.telephone.call import Call, CallOptions, parameters_of, text_of
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    MalformedMessage,
    StreamStarted,
    StreamStopped,
)
from voiceagent.channels.telephone.settings import VendorSection, base64_value
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.channels.telephone.wire import Read, VendorCall


class GenesysSection(VendorSection):
    """Genesys AudioHook."""

    api_key: SecretStr | None = None
    """The API key of the integration's credentials."""
    client_secret: Annotated[SecretStr, AfterValidator(base64_value)] | None = None
    """The client secret of the integration's credentials, base64."""


# -- the protocol -----------------------------------------------------------------------------------------------------

VERSION = "2"
FORMATS = {"PCMU": LineFormat("ulaw"), "L16": LineFormat("l16")}
MESSAGE_MS = 100
"""Genesys limits how many messages it takes in a second."""
LEAVE_SECONDS = 5.0
"""How long Genesys may take to close what it was told to."""
MAX_DISCARD = timedelta(hours=12)
MAX_MISSING = 100
"""Numbers that may be missing between two messages."""
NOTHING: dict[str, object] = {}


class _GenesysMessage(Struct):
    version: int | str
    id: str
    type: str
    seq: int
    serverseq: int | None = 0
    parameters: dict[str, object] | None = None


_MESSAGE = msgspec.json.Decoder(_GenesysMessage)
_ENCODER = msgspec.json.Encoder()
_DURATION = re.compile(r"PT(\d{1,9}(?:\.\d{1,9})?)S")


class GenesysProtocol:
    """AudioHook as the Audio Connector speaks it: audio in binary messages, numbered ones in JSON to control.

    Genesys plays what it is sent by itself and knows no marks. Who leaves tells by `outputVariables` what is to
    become of the caller: the Architect flow goes on with these."""

    name = "genesys"
    has_marks = False
    message_ms = MESSAGE_MS
    grain_ms = 20
    lead_ms = 100
    leave_seconds = LEAVE_SECONDS
    moves_calls = True
    reachable = True

    def __init__(self, organization: str = "") -> None:
        """`organization` is that of the handshake's header, which the call must belong to."""
        self._organization = organization
        self._id = ""
        self._seq = self._client_seq = 0
        self._format: LineFormat | None = None
        self._heard = 0
        """Bytes of audio that came."""
        self._discarded = 0.0
        """Milliseconds of audio that Genesys says it did not send."""

    # -- from Genesys -----------------------------------------------------------------------------------------------

    def read(self, frame: Frame) -> Read:
        if isinstance(frame, bytes):
            return self._hear(frame)
        try:
            message = _MESSAGE.decode(frame)
        except (ValueError, RecursionError):
            raise MalformedMessage(1007, "the message is not valid") from None
        self._count(message)
        match message.type:
            case "open":
                return self._open(message)
            case "ping":
                return [self._say("pong")]
            case "close":
                return [self._say("closed"), StreamStopped()]
            case "update":
                return [self._say("updated")]
            case "dtmf":
                return [DigitPressed((text_of((message.parameters or {}).get("digit")) or "").upper())]
            case "discarded" | "resumed":
                self._discarded += _milliseconds((message.parameters or {}).get("discarded"))
                return []
            case _:
                return []

    def _count(self, message: _GenesysMessage) -> None:
        """Numbers rise by one; where some are missing, what comes is still good. A message that came before is none."""
        if str(message.version) != VERSION:
            raise MalformedMessage(1002, "this version of the protocol is not spoken")
        if self._id and message.id != self._id:
            raise MalformedMessage(1002, "the message is of another session")
        before, self._client_seq = self._client_seq, max(self._client_seq, min(message.seq, 2**53))
        if not before < message.seq <= before + MAX_MISSING + 1 or not 0 <= (message.serverseq or 0) <= self._seq:
            raise MalformedMessage(1002, "the message is out of turn")

    def _hear(self, audio: bytes) -> Read:
        if self._format is None:
            return [AudioReceived(audio)]
        at_ms = int(self._heard_ms + self._discarded)
        self._heard += len(audio)
        return [AudioReceived(audio, at_ms)]

    @property
    def _heard_ms(self) -> float:
        assert self._format is not None
        return 1000 * self._heard / self._format.rate / self._format.sample_bytes

    def _open(self, message: _GenesysMessage) -> Read:
        if self._format is not None:
            raise MalformedMessage(1002, "the call has begun already")
        told, self._id = message.parameters or {}, message.id
        if self._organization and told.get("organizationId") != self._organization:
            raise MalformedMessage(1008, "the organization is not that of the handshake")
        media, line = _chosen(told.get("media"))
        self._format = line
        someone = told.get("participant")
        participant = someone if isinstance(someone, dict) else NOTHING
        call = Call(
            "genesys",
            text_of(told.get("conversationId")) or "",
            text_of(told.get("organizationId")) or "",
            _number(participant.get("ani")),
            _number(participant.get("dnis")),
            {**parameters_of(told.get("customConfig")), **parameters_of(told.get("inputVariables"))},
        )
        return [self._say("opened", {"startPaused": False, "media": [media]}), StreamStarted(call, message.id, line)]

    # -- to Genesys -------------------------------------------------------------------------------------------------

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        assert self._format is not None
        return [self._format.encode(pcm)]

    def mark(self, name: str) -> Frame:
        raise NotImplementedError

    def clear(self) -> Frame | None:
        return self._say("event", {"entities": [{"type": "barge_in", "data": {}}]})

    def digits(self, digits: str) -> Frame | None:
        return None

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        """`voiceagent_action` is `end` or `transfer`, and then `voiceagent_destination` says to whom."""
        variables = {"voiceagent_action": "end"}
        if isinstance(operation, Transfer):
            variables = {"voiceagent_action": "transfer", "voiceagent_destination": operation.destination}
        return [self._say("disconnect", {"reason": "completed", "outputVariables": variables})]

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        if not self._id:
            return []
        reason = "unauthorized" if bad.code == 1008 else "error"
        return [self._say("disconnect", {"reason": reason, "info": bad.reason})]

    def _say(self, kind: str, parameters: dict[str, object] = NOTHING) -> Frame:
        self._seq += 1
        return _ENCODER.encode(
            {
                "version": VERSION,
                "id": self._id,
                "type": kind,
                "seq": self._seq,
                "clientseq": self._client_seq,
                "parameters": parameters,
            }
        ).decode()


def _chosen(offered: object) -> tuple[dict[str, object], LineFormat]:
    """The first of the media offered that has the caller alone. Raises MalformedMessage."""
    for media in offered if isinstance(offered, list) else []:
        if not isinstance(media, dict) or media.get("channels") != ["external"] or media.get("rate") != 8000:
            continue
        line = FORMATS.get(text_of(media.get("format")) or "")
        if media.get("type") == "audio" and line is not None:
            return {name: media[name] for name in ("type", "format", "channels", "rate")}, line
    raise MalformedMessage(1003, "no media with the caller alone is offered")


def _number(value: object) -> str:
    """`tel:+15551234` without its scheme."""
    return (text_of(value) or "").removeprefix("tel:")


def _milliseconds(value: object) -> float:
    """`PT1.5S` in milliseconds; 0 for what is no duration."""
    found = _DURATION.fullmatch(text_of(value) or "")
    seconds = float(found[1]) if found else 0.0
    return 1000 * min(seconds, MAX_DISCARD.total_seconds())


# -- signatures -------------------------------------------------------------------------------------------------------

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

_NAMES = r'"[^"\\]{1,100}"(?: "[^"\\]{1,100}"){0,20}'
_PARAMETERS = r'(?:;[a-z]+=(?:"[^"\\]{0,300}"|\d{1,15})){1,8}'
_INPUT = re.compile(rf"([a-z*][a-z0-9_*.-]*)=(\(({_NAMES})\)({_PARAMETERS}))")
_SIGNATURE = re.compile(r"([a-z*][a-z0-9_*.-]*)=:([A-Za-z0-9+/=]{1,200}):")


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


def _verify(section: GenesysSection, request: VendorRequest) -> bool | None:
    return genesys_signed(request.headers, request.urls, section.api_key, section.client_secret)


def _connect(section: GenesysSection, websocket: WebSocket, options: CallOptions) -> VendorCall:
    return VendorCall(GenesysProtocol(websocket.headers.get("audiohook-organization-id", "")), options)


VENDOR = Vendor("genesys", GenesysSection, connect=_connect, verify=_verify)
