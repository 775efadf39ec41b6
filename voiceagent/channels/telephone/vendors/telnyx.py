"""Telnyx: media streams at `/telnyx`, TeXML pages, Call Control commands."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import SecretStr
from starlette.responses import Response
from starlette.websockets import WebSocket

from voiceagent.channels.base import CallController, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.auth import VendorRequest, secret_presented
from voiceagent.channels.telephone.call import CallOptions, parameters_of
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, Operation, Rest, id_of
from voiceagent.channels.telephone.media_stream.messages import (
    MalformedMessage,
    StreamStarted,
    decode_object,
    first_text,
    format_of,
)
from voiceagent.channels.telephone.media_stream.protocol import ULAW, MediaStreamProtocol, StreamDialect
from voiceagent.channels.telephone.pages import IncomingCall, Pages, connect_verb, dial_page, dial_verb, xml_response
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.section import WebAddress

CODEC_NAMES = ("stream_bidirectional_codec", "bidirectional_codec", "bidirectionalCodec")
RATE_NAMES = ("stream_bidirectional_sampling_rate", "bidirectional_sampling_rate", "bidirectionalSamplingRate")
"""What the codec and the rate of what we send are called in `start`, in `custom_parameters` and in TeXML."""


class TelnyxSection(VendorSection):
    """Telnyx."""

    api_key: SecretStr | None = None
    """Key of the REST interface."""
    stream_token: SecretStr | None = None
    """The `stream_auth_token` that Telnyx was told to send along."""
    api_base: WebAddress = "https://api.telnyx.com"
    """Address of the REST interface."""
    codec: Literal["PCMU", "PCMA", "L16"] = "PCMU"
    """The codec in which streams take audio: asked for by our own page, and by you where you start the stream yourself
    (`stream_bidirectional_codec`)."""
    rate: Literal[8000, 16_000, 24_000, 48_000] = 8000
    """Its sample rate in Hz (`stream_bidirectional_sampling_rate`); only L16 has others than 8000."""

    def send_format(self) -> LineFormat:
        """G.711 has but one rate."""
        return format_of({"encoding": self.codec, "sample_rate": self.rate if self.codec == "L16" else 8000}, ULAW)


@dataclass(frozen=True)
class TelnyxDialect(StreamDialect):
    """What comes is in the codec of the caller's line, or in that of `stream_codec`; what we send must be in the one
    that the stream was started with, which Telnyx does not tell us: `sends` unless it is named in `start` or among the
    custom parameters."""

    vendor: str = "telnyx"
    id: str = "stream_id"
    reorders: bool = True
    sends: LineFormat = ULAW

    def started(self, start: StreamStarted) -> StreamStarted:
        call = start.call
        parameters = {**call.parameters, **_client_state(start.fields.get("client_state"))}
        sends = _asked_for({**start.call.parameters, **start.fields}) or self.sends
        return replace(start, call=replace(call, parameters=parameters), send_format=sends)


def _asked_for(fields: Mapping[str, object]) -> LineFormat | None:
    """The format that a stream asks for by these; None where it names none, or one that we cannot do: then the
    configured one is the better guess."""
    codec, rate = first_text(fields, *CODEC_NAMES), first_text(fields, *RATE_NAMES)
    if not codec:
        return None
    try:
        return format_of({"encoding": codec, "sample_rate": rate if codec.upper() == "L16" else 8000}, ULAW)
    except MalformedMessage:
        return None


def _client_state(told: object) -> dict[str, str]:
    """Base64 of what the caller of the API pleased. A JSON object gives its names, anything else one."""
    if not isinstance(told, str) or not told:
        return {}
    try:
        text = base64.b64decode(told, validate=True).decode()
    except (binascii.Error, ValueError):
        text = told
    if text.startswith("{"):
        try:
            return parameters_of(decode_object(text))
        except MalformedMessage:
            pass
    return parameters_of({"client_state": text})


def _connect(section: TelnyxSection, websocket: WebSocket, options: CallOptions) -> MediaStreamProtocol:
    return MediaStreamProtocol(TelnyxDialect(sends=section.send_format()), options)


def _verify(section: TelnyxSection, request: VendorRequest) -> bool | None:
    return secret_presented(section.stream_token, [request.headers.get("x-telnyx-streaming-auth-token", "")])


class TelnyxControl:
    """Call Control commands."""

    def __init__(self, rest: Rest, api_key: SecretStr, call: CurrentCall) -> None:
        self._rest, self._key, self._call = rest, api_key, call

    async def carry_out(self, operation: Operation) -> None:
        match operation:
            case HangUp():
                await self._act("hangup", {})
            case Transfer(destination):
                await self._act("transfer", {"to": destination})
            case SendDigits(digits):
                await self._act("send_dtmf", {"digits": digits})

    async def _act(self, action: str, body: dict[str, str]) -> None:
        path = f"/v2/calls/{id_of(self._call)}/actions/{action}"
        await self._rest.request("POST", path, bearer=self._key, json={**body})


def _control(section: TelnyxSection, context: ControlContext) -> CallController | None:
    if section.api_key is None:
        return None
    return TelnyxControl(Rest("telnyx", section.api_base, context.seconds), section.api_key, context.call)


def _answer(section: TelnyxSection, call: IncomingCall) -> Response:
    rate = f' bidirectionalSamplingRate="{section.rate}"' if section.codec == "L16" else ""
    attributes = f' bidirectionalMode="rtp" bidirectionalCodec="{section.codec}"{rate}'
    return xml_response(connect_verb(call.stream_url, call.stream_parameters(), attributes), dial_verb(call.dial_after))


VENDOR = Vendor(
    "telnyx",
    TelnyxSection,
    connect=_connect,
    verify=_verify,
    control=_control,
    controls_digits=True,
    pages=Pages(answer=_answer, dial=dial_page),
)
