"""Pages that answer a vendor's webhook: what is to become of a call, in the markup that Twilio, SignalWire, Telnyx and
Plivo share."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape, quoteattr

from starlette.requests import Request
from starlette.responses import Response

from voiceagent.channels.channel import Denied
from voiceagent.channels.telephone.auth import FormFields
from voiceagent.channels.telephone.call import parameters_of
from voiceagent.channels.telephone.settings import VendorSection

S = TypeVar("S", bound=VendorSection)

XML_HEADER = '<?xml version="1.0" encoding="UTF-8"?>'
MAX_BODY = 64 * 1024
"""Bytes of a webhook: a form of a few dozen fields."""
MAX_FIELDS = 200


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A call that is to be answered with our stream at `stream_url`. `fields` is what the webhook says of the call, in
    its query, its form or its JSON object; `parameters` are the configured ones, to be passed on to the stream; the
    number `dial_after` is to be dialled when the stream ends ("": the call ends)."""

    stream_url: str
    fields: Mapping[str, str]
    parameters: Mapping[str, str]
    dial_after: str

    def stream_parameters(self) -> dict[str, str]:
        """The caller's and the called number as the vendor names them, and the configured parameters."""
        numbers = {name.lower(): value for name, value in self.fields.items() if name in ("From", "To", "from", "to")}
        return {**numbers, **self.parameters}


@dataclass(frozen=True, slots=True)
class Pages(Generic[S]):
    """A vendor's pages: `answer` for an incoming call, at `/<vendor>/voice`; `dial` for one that is to be given to a
    number, at `/<vendor>/transfer`, for vendors whose interface fetches that from us."""

    answer: Callable[[S, IncomingCall], Response]
    dial: Callable[[str], Response] | None = None


async def body_of(request: Request) -> bytes:
    """The request's body. Raises Denied when it is larger than any webhook's."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise Denied(413, "too_large", "the request is too large")
    return body


def form_of(request: Request, body: bytes) -> FormFields:
    """The fields of a form; none where the body is no form. Raises Denied when it cannot be read."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return ()
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Denied(400, "invalid_form", "the form cannot be read") from None


def fields_of(request: Request, body: bytes, form: FormFields) -> dict[str, str]:
    """What a webhook says, wherever it says it. Raises Denied for JSON that cannot be read."""
    fields: object = {}
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            raise Denied(400, "invalid_json", "the body cannot be read") from None
    return {**parameters_of(dict(request.query_params)), **parameters_of(dict(form)), **parameters_of(fields)}


# -- markup -----------------------------------------------------------------------------------------------------------


def xml_response(*verbs: str) -> Response:
    return Response(f"{XML_HEADER}<Response>{''.join(verbs)}</Response>", media_type="text/xml")


def dial_verb(destination: str, sip: str = "Sip") -> str:
    """Dial a number or a `sip:` address, which is called `sip`; nothing for ""."""
    if not destination:
        return ""
    kind = sip if destination.startswith("sip") else "Number"
    return f"<Dial><{kind}>{escape(destination)}</{kind}></Dial>"


def connect_verb(url: str, parameters: Mapping[str, str], attributes: str = "") -> str:
    """Connect the call to the stream, both ways."""
    inner = "".join(
        f"<Parameter name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in parameters.items()
    )
    return f"<Connect><Stream url={quoteattr(url)}{attributes}>{inner}</Stream></Connect>"


def dial_page(destination: str) -> Response:
    """The page that gives the call to somebody else."""
    return xml_response(dial_verb(destination))
