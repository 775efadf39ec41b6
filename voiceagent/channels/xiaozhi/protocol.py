"""xiaozhi-esp32 firmware over WebSocket: JSON in text messages, one packet of audio in a binary one.

What each of its versions does with a message was found by running it; `docs/guides/speaker/xiaozhi.md` tells it.
"""

from collections.abc import Sequence
from dataclasses import replace

from voiceagent.channels.base import Action, CloseSocket, EndReason, Execute, Frame, Send, SetTimer
from voiceagent.channels.xiaozhi.conversation import DeviceConversation
from voiceagent.channels.xiaozhi.device_tools import DeviceTools, ToolCache, Vision
from voiceagent.channels.xiaozhi.hello import agree, answer
from voiceagent.channels.xiaozhi.loudspeaker import RATE
from voiceagent.channels.xiaozhi.messages import Received, Version, message, parse
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.channels.xiaozhi.tool_messages import bare_error
from voiceagent.errors import Refused
from voiceagent.session.commands import Configure
from voiceagent.session.events import Event
from voiceagent.session.options import SessionOptions

HELLO_SECONDS = 10.0
"""How long a client may take to say hello; the firmware waits so long for ours."""
LEAD_FRAME_MS = 60
"""What a packet of lead stands for, whatever a client's packets are."""
MAX_MALFORMED = 50
"""Messages in a row that cannot be understood before the connection is ended: three seconds of audio."""

CLOSE_CODES: dict[EndReason, int] = {
    "finished": 1000,
    "ended": 1000,
    "idle": 1000,
    "expired": 1000,
    "draining": 1001,
    "too_slow": 1008,
    "internal_error": 1011,
}


class XiaozhiProtocol:
    """One connection of a device, which is one conversation. `version` is its Protocol-Version header, None without
    one. `chip` is what OTA was told ("" when unknown), `cache` is shared by all devices of the process.

    A message that cannot be understood has no effect, as with the firmware, unless it is the hello."""

    name = "xiaozhi"

    def __init__(
        self,
        *,
        session_id: str,
        version: Version | None,
        defaults: SessionOptions,
        section: XiaozhiSection,
        chip: str = "",
        tenant: str = "",
        cache: ToolCache | None = None,
        vision: Vision | None = None,
    ) -> None:
        self._session_id = session_id
        self._version = version
        self._defaults = defaults
        self._section = section
        self._chip = chip
        self._tools = DeviceTools(tenant, cache or ToolCache(), vision or Vision(), section.tool_seconds)
        self._talk: DeviceConversation | None = None
        """None until the device has said hello."""
        self._malformed = 0

    def start(self) -> list[Action]:
        return [SetTimer("hello", HELLO_SECONDS)]

    def receive(self, frame: Frame) -> list[Action]:
        try:
            if self._talk is None:
                return self._before_hello(frame)
            actions = self._told(self._talk, frame) if isinstance(frame, str) else self._talk.microphone.hear(frame)
        except Refused as refused:
            self._malformed += 1
            return [CloseSocket(1008, refused.message)] if self._malformed > MAX_MALFORMED else []
        self._malformed = 0
        return actions

    def _before_hello(self, frame: Frame) -> list[Action]:
        if not isinstance(frame, str):
            return []
        try:
            received = parse(frame)
            return self._greet(received) if received.type == "hello" else []
        except Refused as refused:
            return [CloseSocket(1002, refused.message)]

    def _told(self, talk: DeviceConversation, text: str) -> list[Action]:
        try:
            received = parse(text)
        except Refused:
            wrong = bare_error(text)
            if wrong is None:
                raise
            return talk.take(self._tools.answered(wrong))
        match received.type:
            case "listen":
                return talk.listen(received)
            case "abort":
                return talk.abort(received.reason)
            case "mcp":
                return talk.take(self._tools.receive(received.payload))
            case _:  # a second hello: its answer would break the device's next session. `iot` of firmware before 1.8
                return []

    def _greet(self, hello: Received) -> list[Action]:
        terms = agree(hello, self._version, pcm_down=self._section.pcm_down)
        lead_ms = self._section.lead_of(self._chip) * LEAD_FRAME_MS
        options = replace(self._defaults, output_rate=RATE, frame_ms=terms.frame_ms, lead_ms=lead_ms)
        self._talk = DeviceConversation(self._session_id, terms, options, self._section, self._tools)
        return [
            SetTimer("hello", None),
            Execute(Configure(options)),
            Send(message(self._session_id, "hello", answer(terms))),
            *self._talk.begin(),
        ]

    def encode(self, event: Event) -> Sequence[Frame | Action]:
        return [] if self._talk is None else self._talk.encode(event)

    def on_timer(self, name: str) -> list[Action]:
        if self._talk is None:
            return [CloseSocket(1002, "no hello")]
        return self._talk.on_timer(name)

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        return []

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        """The firmware knows no errors: what is refused has no effect."""
        return []

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        frames = [] if self._talk is None or reason == "too_slow" else self._talk.end(failed=reason == "internal_error")
        return frames, CLOSE_CODES[reason]
