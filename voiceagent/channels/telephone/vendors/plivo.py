"""Plivo: media streams at `/plivo`, signatures of version 3, the Call API."""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from xml.sax.saxutils import escape, quoteattr

from pydantic import SecretStr
from starlette.responses import Response

from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.auth import MAX_KEYS, FormFields, VendorRequest, same
from voiceagent.channels.telephone.call import parameters_of
from voiceagent.channels.telephone.control import (
    ControlContext,
    CurrentCall,
    DialPage,
    Operation,
    Rest,
    id_of,
    page_for,
)
from voiceagent.channels.telephone.media_stream.messages import MalformedMessage, StreamStarted, decode_object
from voiceagent.channels.telephone.media_stream.protocol import MediaStreamProtocol, Message, StreamDialect
from voiceagent.channels.telephone.pages import IncomingCall, Pages, dial_verb, xml_response
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.section import WebAddress

CONTENT_TYPES = {"l16": "audio/x-l16", "ulaw": "audio/x-mulaw", "alaw": "audio/x-alaw"}
EXTRA_HEADER_BYTES = 512
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")


class PlivoSection(VendorSection):
    """Plivo."""

    auth_id: str = ""
    """The account."""
    auth_token: SecretStr | None = None
    """Checks the signatures of requests and opens the REST interface."""
    api_base: WebAddress = "https://api.plivo.com"
    """Address of the REST interface."""


@dataclass(frozen=True)
class PlivoDialect(StreamDialect):
    """Every message of audio names its own format."""

    vendor: str = "plivo"
    id: str = "streamId"
    played: str = "playedStream"

    def started(self, start: StreamStarted) -> StreamStarted:
        fields = start.fields
        headers = fields.get("extra_headers") or fields.get("extraHeaders")
        return replace(start, call=replace(start.call, parameters={**start.call.parameters, **_headers(headers)}))

    def media(self, stream: str, audio: bytes, line: LineFormat) -> Message:
        media = {"contentType": CONTENT_TYPES[line.codec], "sampleRate": line.rate, "payload": audio}
        return {"event": "playAudio", "media": media}

    def mark(self, stream: str, name: str) -> Message:
        return {"event": "checkpoint", self.id: stream, "name": name}

    def clear(self, stream: str) -> Message:
        return {"event": "clearAudio", self.id: stream}

    def digits(self, stream: str, digits: str) -> Message | None:
        return {"event": "sendDTMF", self.id: stream, "dtmf": digits}


DIALECT = PlivoDialect()


def _headers(told: object) -> dict[str, str]:
    """`extraHeaders`: `a=1;b=2`, with commas, or JSON."""
    if not isinstance(told, str):
        return parameters_of(told)
    if told.lstrip().startswith("{"):
        try:
            return parameters_of(decode_object(told))
        except MalformedMessage:
            return {}
    pairs = (pair.partition("=") for pair in told.replace(";", ",").split(","))
    return parameters_of({name.strip(): value.strip() for name, _, value in pairs if name.strip()})


# -- signatures -------------------------------------------------------------------------------------------------------


def plivo_signature(key: str, method: str, url: str, params: FormFields, nonce: str) -> str:
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
    headers: Mapping[str, str], method: str, urls: Sequence[str], params: FormFields, auth_token: SecretStr | None
) -> bool | None:
    """None where no key is configured. Several signatures may be given, with commas between."""
    if auth_token is None:
        return None
    nonce = headers.get("x-plivo-signature-v3-nonce", "")
    given = headers.get("x-plivo-signature-v3", "") + "," + headers.get("x-plivo-signature-ma-v3", "")
    signatures = [signature.strip() for signature in given.split(",") if signature.strip()][:MAX_KEYS]
    made = [plivo_signature(auth_token.get_secret_value(), method, url, params, nonce) for url in urls]
    return bool(nonce) and any(same(one, other) for one in made for other in signatures)


def _verify(section: PlivoSection, request: VendorRequest) -> bool | None:
    return plivo_signed(request.headers, request.method, request.urls, request.form, section.auth_token)


# -- call control -----------------------------------------------------------------------------------------------------


class PlivoControl:
    """The Call API."""

    def __init__(self, rest: Rest, auth_id: str, auth_token: SecretStr, call: CurrentCall, dial: DialPage) -> None:
        self._rest, self._login, self._call, self._dial = rest, (auth_id, auth_token), call, dial

    async def carry_out(self, operation: Operation) -> None:
        path = f"/v1/Account/{self._login[0]}/Call/{id_of(self._call)}/"
        match operation:
            case HangUp():
                await self._rest.request("DELETE", path, basic=self._login)
            case Transfer(destination):
                page = page_for(self._dial, destination)
                body = {"legs": "aleg", "aleg_url": page, "aleg_method": "POST"}
                await self._rest.request("POST", path, basic=self._login, json={**body})
            case SendDigits():
                raise ControlError("digits go over the stream")


def _control(section: PlivoSection, context: ControlContext) -> CallController | None:
    if not section.auth_id or section.auth_token is None:
        return None
    rest = Rest("plivo", section.api_base, context.seconds)
    return PlivoControl(rest, section.auth_id, section.auth_token, context.call, context.dial_page)


# -- pages ------------------------------------------------------------------------------------------------------------


def _answer(section: PlivoSection, call: IncomingCall) -> Response:
    """Of parameters Plivo takes letters and digits only, EXTRA_HEADER_BYTES of them."""
    pairs: list[str] = []
    for name, value in call.stream_parameters().items():
        pair = f"{_NOT_ALPHANUMERIC.sub('', name)}={_NOT_ALPHANUMERIC.sub('', value)}"
        if len(",".join([*pairs, pair])) <= EXTRA_HEADER_BYTES:
            pairs.append(pair)
    headers = f" extraHeaders={quoteattr(','.join(pairs))}" if pairs else ""
    return xml_response(
        '<Stream bidirectional="true" keepCallAlive="true" contentType="audio/x-mulaw;rate=8000"'
        f"{headers}>{escape(call.stream_url)}</Stream>",
        dial_verb(call.dial_after, "User"),
    )


VENDOR = Vendor(
    "plivo",
    PlivoSection,
    connect=lambda section, websocket, options: MediaStreamProtocol(DIALECT, options),
    verify=_verify,
    control=_control,
    pages=Pages(answer=_answer, dial=lambda destination: xml_response(dial_verb(destination, "User"))),
)
