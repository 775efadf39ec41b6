"""jambonz: the stream of its `listen` verb at `/jambonz`, answers as JSON verbs, the REST API."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
from msgspec import Struct
from pydantic import JsonValue, SecretStr
from starlette.responses import JSONResponse, Response

from voiceagent.channels.base import CallController, ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, parameters_of
from voiceagent.channels.telephone.control import (
    ControlContext,
    CurrentCall,
    DialPage,
    Operation,
    Rest,
    id_of,
    page_for,
)
from voiceagent.channels.telephone.media_stream.messages import (
    RATES,
    DigitPressed,
    Incoming,
    MalformedMessage,
    MarkPlayed,
    StreamStarted,
    decode,
    decode_object,
    first_text,
    whole_number,
)
from voiceagent.channels.telephone.media_stream.protocol import LINEAR, MediaStreamProtocol, Message, StreamDialect
from voiceagent.channels.telephone.pages import IncomingCall, Pages
from voiceagent.channels.telephone.settings import VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.section import WebAddress

SUBPROTOCOLS = ("audio.jambonz.org", "audio.drachtio.org")
RATE = 8000
"""Hz that our own page asks for, both ways."""
SEND_RATE_NAMES = ("bidirectional_sample_rate", "bidirectionalSampleRate")
"""Metadata that name the `sampleRate` of a `listen` verb's `bidirectionalAudio`, where it is not that of the verb."""


class JambonzSection(VendorSection):
    """jambonz."""

    account_sid: str = ""
    """The account."""
    api_key: SecretStr | None = None
    """Key of the REST interface."""
    api_base: WebAddress | None = None
    """Address of the REST interface; there is none of its own without one."""


# -- the stream -------------------------------------------------------------------------------------------------------


class _JambonzMark(Struct):
    name: int | str
    event: str = "playout"


class _Message(Struct):
    event: object = None
    type: object = None
    dtmf: object = None
    data: object = None


_MESSAGE = msgspec.json.Decoder(_Message)


@dataclass(frozen=True)
class JambonzDialect(StreamDialect):
    """Audio is binary. The first text is the call itself, with the verb's metadata among its fields."""

    vendor: str = "jambonz"
    default: LineFormat = LINEAR
    binary: bool = True

    def read(self, frame: str, *, begun: bool) -> Incoming | None:
        if not begun:
            return _started(decode_object(frame))
        message = decode(_MESSAGE, frame)
        if message.event == "dtmf":
            return DigitPressed(str(message.dtmf).upper())
        if message.type == "mark":
            try:
                mark = msgspec.convert(message.data, _JambonzMark)
            except msgspec.ValidationError:
                raise MalformedMessage(1007, "the message is not valid") from None
            return MarkPlayed(str(mark.name)) if mark.event != "cleared" else None
        return None

    def mark(self, stream: str, name: str) -> Message:
        return {"type": "mark", "data": {"name": name}}

    def clear(self, stream: str) -> Message:
        return {"type": "killAudio"}


DIALECT = JambonzDialect()


def _started(told: Mapping[str, object]) -> StreamStarted:
    if first_text(told, "mixType") not in ("", "mono"):
        raise MalformedMessage(1003, "only mixType mono is supported")
    if not first_text(told, "callSid"):
        raise MalformedMessage(1007, "the first message does not name the call")
    line = LineFormat("l16", _rate(first_text(told, "sampleRate")))
    metadata = told.get("metadata")
    fields = {**told, **metadata} if isinstance(metadata, dict) else told
    call = Call(
        "jambonz",
        id=first_text(told, "callSid"),
        account=first_text(told, "accountSid"),
        caller=first_text(told, "from"),
        called=first_text(told, "to"),
        parameters=parameters_of(fields),
    )
    start = StreamStarted(call, call.id, line, fields=fields)
    sends = first_text(fields, *SEND_RATE_NAMES)
    return replace(start, send_format=LineFormat("l16", _rate(sends))) if sends else start


def _rate(told: str) -> int:
    """Raises MalformedMessage."""
    rate = whole_number(told) or RATE
    if rate not in RATES:
        raise MalformedMessage(1003, "this sample rate is not supported")
    return rate


# -- call control -----------------------------------------------------------------------------------------------------


class JambonzControl:
    """The REST API."""

    def __init__(self, rest: Rest, account: str, api_key: SecretStr, call: CurrentCall, dial: DialPage) -> None:
        self._rest, self._account, self._key, self._call, self._dial = rest, account, api_key, call, dial

    async def carry_out(self, operation: Operation) -> None:
        match operation:
            case HangUp():
                await self._update({"call_status": "completed"})
            case Transfer(destination):
                await self._update({"call_hook": page_for(self._dial, destination)})
            case SendDigits():
                raise ControlError("digits go as tones")

    async def _update(self, body: dict[str, str]) -> None:
        path = f"/v1/Accounts/{self._account}/Calls/{id_of(self._call)}"
        await self._rest.request("POST", path, bearer=self._key, json={**body})


def _control(section: JambonzSection, context: ControlContext) -> CallController | None:
    match section:
        case JambonzSection(account_sid=account, api_key=api_key, api_base=base) if account and api_key and base:
            rest = Rest("jambonz", base, context.seconds)
            return JambonzControl(rest, account, api_key, context.call, context.dial_page)
        case _:
            return None


# -- pages ------------------------------------------------------------------------------------------------------------


def _answer(section: JambonzSection, call: IncomingCall) -> Response:
    parameters: dict[str, JsonValue] = {**call.stream_parameters()}
    listen: dict[str, JsonValue] = {
        "verb": "listen",
        "url": call.stream_url,
        "actionHook": "",
        "mixType": "mono",
        "sampleRate": RATE,
        "passDtmf": True,
        "bidirectionalAudio": {"enabled": True, "streaming": True, "sampleRate": RATE},
        "metadata": parameters,
    }
    return JSONResponse([listen, *([_dial(call.dial_after)] if call.dial_after else [])])


def _dial(destination: str) -> dict[str, JsonValue]:
    sip = destination.startswith("sip")
    target: JsonValue = {"type": "sip", "sipUri": destination} if sip else {"type": "phone", "number": destination}
    return {"verb": "dial", "target": [target]}


VENDOR = Vendor(
    "jambonz",
    JambonzSection,
    connect=lambda section, websocket, options: MediaStreamProtocol(DIALECT, options),
    control=_control,
    subprotocols=SUBPROTOCOLS,
    pages=Pages(answer=_answer, dial=lambda destination: JSONResponse([_dial(destination)])),
)
