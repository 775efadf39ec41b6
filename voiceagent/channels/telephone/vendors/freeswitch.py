"""FreeSWITCH's mod_audio_stream: `/freeswitch`."""

import base64
from collections.abc import Mapping, Sequence

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from voiceagent.audio.pcm import Pcm, from_bytes, to_bytes
from voiceagent.channels.base import Frame, HangUp, Transfer
from voiceagent.channels.channel import Channel, ChannelHost, Client
from voiceagent.channels.telephone.admission import call_options, identify_caller
from voiceagent.channels.telephone.audio import LineFormat
from voiceagent.channels.telephone.call import Call, parameters_of, text_of
from voiceagent.channels.telephone.media_stream.messages import (
    AudioReceived,
    DigitPressed,
    Incoming,
    MalformedMessage,
    StreamStarted,
)
from voiceagent.channels.telephone.settings import TelephoneSection
from voiceagent.channels.telephone.vendor_protocol import Read, VendorCall
from voiceagent.channels.telephone.vendors.systems import freeswitch_control

# FreeSWITCH's mod_audio_stream: linear audio comes in binary messages, ours leaves as JSON.

RATES = frozenset((8000, 16_000, 24_000, 32_000, 48_000))
MESSAGE_MS = 100
"""The community's build writes a file for each message: few and not too short."""

_OBJECT: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])


class FreeSwitchProtocol:
    """The module tells neither its rate nor who calls: the URL does in its `query` (`rate=16000&channels=2&uuid=…`), or
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
                told = _OBJECT.decode(frame)
            except (ValueError, RecursionError):
                self._told.setdefault("metadata", text_of(frame) or "")
            else:
                self._told |= parameters_of(told)
            return self._begin()
        try:
            message = _OBJECT.decode(frame)
        except (ValueError, RecursionError):
            raise MalformedMessage(1007, "the message is not valid") from None
        if message.get("event") != "dtmf":
            return []
        return [DigitPressed((text_of(message.get("digit")) or "").upper())]

    def _begin(self) -> list[Incoming]:
        told = self._told
        self._rate = _one_of(told.get("rate", ""), RATES, self._rate)
        self._channels = _one_of(told.get("channels", ""), frozenset((1, 2)), 1)
        self._begun = True
        call = Call("freeswitch", told.get("uuid", ""), "", told.get("from", ""), told.get("to", ""), told)
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


def _one_of(told: str, allowed: frozenset[int], default: int) -> int:
    """Raises Malformed for a number that is none of these."""
    if not told:
        return default
    found = next((number for number in allowed if str(number) == told), None)
    if found is None:
        raise MalformedMessage(1003, "this rate or number of channels is not supported")
    return found


def channel(host: ChannelHost, settings: TelephoneSection) -> Channel:
    section = settings.freeswitch

    def authenticate(websocket: WebSocket) -> Client:
        host.check_origin(websocket.headers.get("origin"))
        guest = identify_caller(host, "freeswitch", section, websocket, None)
        query = parameters_of({name: value for name, value in websocket.query_params.items() if name != "key"})
        control = freeswitch_control(section, settings.control_seconds, lambda: protocol.call)
        controlled = control is not None
        options = call_options(host, settings, controlled=controlled, controls_digits=controlled)
        protocol = VendorCall(FreeSwitchProtocol(query, section.rate), options)
        return Client(protocol, host.new_id("sess"), guest.tenant, control=control)

    async def stream(websocket: WebSocket) -> None:
        await host.accept(websocket, lambda: authenticate(websocket))

    return Channel(routes=[WebSocketRoute(path, stream) for path in ("/freeswitch", "/freeswitch/{key}")])
