"""FreeSWITCH: mod_audio_stream at `/freeswitch`, the event socket for call control."""

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import SecretStr
from starlette.websockets import WebSocket

from voiceagent.audio.pcm import Pcm, from_bytes, to_bytes
from voiceagent.channels.base import CallController, ControlError, Frame, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, CallOptions, parameters_of, text_of
from voiceagent.channels.telephone.control import ControlContext, CurrentCall, Operation, console, dialable, plain
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    StreamStarted,
    decode_object,
    whole_number,
)
from voiceagent.channels.telephone.settings import PlainName, Port, VendorSection
from voiceagent.channels.telephone.vendor import Vendor
from voiceagent.channels.telephone.wire import Read, VendorCall


class FreeSwitchSection(VendorSection):
    """FreeSWITCH."""

    rate: Literal[8000, 16_000, 24_000, 32_000, 48_000] = 8000
    """The sample rate that `uuid_audio_stream` was given, in Hz."""
    esl_host: str = "127.0.0.1"
    """Host of the event socket."""
    esl_port: Port = 8021
    """Port of the event socket."""
    esl_password: SecretStr | None = None
    """Opens the event socket; without it calls are not controlled."""
    context: PlainName = "default"
    """Calls are transferred to an extension of this dialplan context."""


# -- the protocol -----------------------------------------------------------------------------------------------------

RATES = frozenset((8000, 16_000, 24_000, 32_000, 48_000))
MESSAGE_MS = 100
"""The community's build writes a file for each message: few and not too short."""


class FreeSwitchProtocol:
    """mod_audio_stream: linear audio comes in binary messages, ours leaves as JSON.

    The module tells neither its rate nor who calls: the URL does in its `query` (`rate=16000&channels=2&uuid=…`), or
    the metadata, a JSON object that may come before the audio. Of two channels the first is the caller's. The
    module knows no marks, and nothing clears its queue: it is kept short."""

    name = "freeswitch"
    has_marks = False
    message_ms = MESSAGE_MS
    grain_ms = 20
    lead_ms = 100
    leave_seconds = 0.0
    moves_calls = False
    reachable = True

    def __init__(self, query: Mapping[str, str], rate: int = 8000) -> None:
        self._told = dict(query)
        self._rate = rate
        self._channels = 1
        self._begun = False

    def read(self, frame: Frame) -> Read:
        if isinstance(frame, str):
            return self._read_text(frame)
        if len(frame) % 2:
            raise MalformedMessage(1007, "half a sample of audio")
        start: list[Incoming] = [] if self._begun else self._begin()
        return [*start, AudioReceived(frame if self._channels == 1 else to_bytes(from_bytes(frame)[::2]))]

    def _read_text(self, frame: str) -> Read:
        """Metadata, then whatever the operator has it send: we know of keys."""
        if not self._begun:
            try:
                fields = decode_object(frame)
            except MalformedMessage:
                self._told.setdefault("metadata", text_of(frame) or "")
            else:
                self._told |= parameters_of(fields)
            return self._begin()
        message = decode_object(frame)
        if message.get("event") != "dtmf":
            return []
        return [DigitPressed((text_of(message.get("digit")) or "").upper())]

    def _begin(self) -> list[Incoming]:
        fields = self._told
        self._rate = _one_of(fields.get("rate", ""), RATES, self._rate)
        self._channels = _one_of(fields.get("channels", ""), frozenset((1, 2)), 1)
        self._begun = True
        call = Call("freeswitch", fields.get("uuid", ""), "", fields.get("from", ""), fields.get("to", ""), fields)
        return [StreamStarted(call, "", LineFormat("l16", self._rate))]

    def audio(self, pcm: Pcm) -> Sequence[Frame]:
        data = base64.b64encode(to_bytes(pcm)).decode()
        return [
            f'{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":{self._rate},"audioData":"{data}"}}}}'
        ]

    def mark(self, name: str) -> Frame:
        raise NotImplementedError

    def clear(self) -> Frame | None:
        return None

    def digits(self, digits: str) -> Frame | None:
        return None

    def leave(self, operation: HangUp | Transfer | None) -> Sequence[Frame]:
        return []

    def refuse(self, bad: MalformedMessage) -> Sequence[Frame]:
        return []


def _one_of(fields: str, allowed: frozenset[int], default: int) -> int:
    """Raises MalformedMessage for a number that is none of these."""
    if not fields:
        return default
    found = whole_number(fields)
    if found not in allowed or found is None:
        raise MalformedMessage(1003, "this rate or number of channels is not supported")
    return found


# -- call control -----------------------------------------------------------------------------------------------------


class FreeSwitchControl:
    """FreeSWITCH's event socket. The call is named by its `uuid`."""

    def __init__(
        self, host: str, port: int, password: SecretStr, context: str, seconds: float, call: CurrentCall
    ) -> None:
        self._where = (host, port, seconds)
        self._password = password
        self._context = context
        self._call = call

    async def carry_out(self, operation: Operation) -> None:
        call = self._call()
        uuid = plain(call.id if call else "", "uuid")
        if any(char.isspace() for char in uuid):
            raise ControlError("the call has no usable uuid")
        async with console("freeswitch", *self._where) as esl:
            await esl.message()  # auth/request
            await esl.send(f"auth {self._password.get_secret_value()}")
            if not (await esl.message()).get("reply-text", "").startswith("+OK"):
                raise ControlError("freeswitch refused the password")
            await esl.send(f"api {self._command(uuid, operation)}")
            answer = await esl.message()
        if not answer.get("body", "").startswith("+OK"):
            raise ControlError("freeswitch refused it")

    def _command(self, uuid: str, operation: Operation) -> str:
        match operation:
            case HangUp():
                return f"uuid_kill {uuid}"
            case Transfer(destination) if destination.startswith("sip"):
                address = dialable(destination.partition(":")[2])
                return f"uuid_transfer {uuid} 'bridge:sofia/external/{address}' inline"
            case Transfer(destination):
                return f"uuid_transfer {uuid} {dialable(destination)} XML {self._context}"
            case SendDigits(digits):
                return f"uuid_send_dtmf {uuid} {digits}"


def _control(section: FreeSwitchSection, context: ControlContext) -> CallController | None:
    if section.esl_password is None:
        return None
    return FreeSwitchControl(
        section.esl_host, section.esl_port, section.esl_password, section.context, context.seconds, context.call
    )


def _connect(section: FreeSwitchSection, websocket: WebSocket, options: CallOptions) -> VendorCall:
    query = parameters_of({name: value for name, value in websocket.query_params.items() if name != "key"})
    return VendorCall(FreeSwitchProtocol(query, section.rate), options)


VENDOR = Vendor("freeswitch", FreeSwitchSection, connect=_connect, control=_control, controls_digits=True)
