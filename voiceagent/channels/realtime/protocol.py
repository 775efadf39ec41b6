"""Wire protocol of OpenAI Realtime (GA) over WebSocket: JSON text both ways, audio as base64 inside."""

from collections.abc import Callable, Sequence

import msgspec

from voiceagent.channels.base import Action, EndReason, Execute, Frame, Send
from voiceagent.channels.realtime import audio as realtime_audio
from voiceagent.channels.realtime import client_events as requests
from voiceagent.channels.realtime import server_events as wire
from voiceagent.channels.realtime.event_translator import EventTranslator
from voiceagent.channels.realtime.extension_events import WarningEvent
from voiceagent.channels.realtime.items import (
    PICTURE,
    UNKNOWN,
    GivenItem,
    ItemReferences,
    approval_from,
    context_from,
    item_from,
    pictures,
)
from voiceagent.channels.realtime.options import options
from voiceagent.channels.realtime.session_object import SessionObject, SessionPatch, SessionType
from voiceagent.channels.realtime.tools import choice, functions, specs
from voiceagent.channels.realtime.updates import initial_session, one_modality, shown, updated
from voiceagent.errors import Refused
from voiceagent.session import commands, events
from voiceagent.session.options import SessionOptions

REFUSALS = {
    # LiveKit knows this one by how its message begins.
    "response_cancel_not_active": "Cancellation failed: no active response found.",
    # agents-js waits for ever unless "response.create" is in the message.
    "conversation_already_has_active_response": "response.create failed: the conversation has an active response.",
}
"""Messages in which a known client looks for certain words; all other refusals keep their own."""

ENDINGS: dict[EndReason, tuple[wire.ErrorDetails | None, int]] = {
    "finished": (None, 1000),
    "draining": (None, 1001),
    "idle": (
        wire.ErrorDetails("invalid_request_error", "session_idle", "The session ended because nobody spoke."),
        1001,
    ),
    "expired": (
        wire.ErrorDetails("invalid_request_error", "session_expired", "The session reached its maximum duration."),
        1001,
    ),
    "too_slow": (None, 1008),
    "ended": (None, 1000),
    "internal_error": (wire.ErrorDetails("server_error", "internal_error", "The server had an error."), 1011),
}
"""Last words and close code (RFC 6455). A client that does not read would not read an error either."""

NO_PICTURES = "Pictures are not looked at; the rest of the item was taken."

_ENCODER = msgspec.json.Encoder()


class RealtimeProtocol:
    """One client's connection. `new_id("event")` makes an id with that prefix; `expires_at` is Unix time in seconds;
    `given` is what a client secret says of the session.

    What cannot be understood or carried out is answered with an error event; the session stays open."""

    name = "realtime"

    def __init__(
        self,
        *,
        session_id: str,
        model: str,
        defaults: SessionOptions,
        expires_at: int,
        new_id: Callable[[str], str],
        kind: SessionType = "realtime",
        given: SessionPatch | None = None,
    ) -> None:
        """Raises Refused when `given` cannot be carried out."""
        self._new_id = new_id
        self._defaults = defaults
        first = initial_session(session_id, model, defaults, expires_at, kind)
        session = first if given is None else updated(first, given, defaults)
        self._teller = EventTranslator(session, new_id("conv"))
        self._references = ItemReferences()
        self._picture = PICTURE

    @property
    def _session(self) -> SessionObject:
        return self._teller.session

    def start(self) -> list[Action]:
        wanted = options(self._session, self._defaults)
        actions: list[Action] = [Send(self._frame(wire.SessionCreatedEvent(session=shown(self._session))))]
        if wanted != self._defaults:  # this protocol's audio has its own rate, say
            actions.insert(0, Execute(commands.Configure(wanted)))
        return actions

    # -- what the client asks for -----------------------------------------------------------------------------------

    def receive(self, frame: Frame) -> list[Action]:
        if not isinstance(frame, str):
            refused = Refused("invalid_message", "Messages are JSON in text frames; this one was binary.")
            return [Send(self._error(refused, None))]
        try:
            request = requests.decode(frame)
        except Refused as refused:
            return [Send(self._error(refused, requests.event_id_of(frame)))]
        try:
            return self._carry_out(request)
        except Refused as refused:
            return [Send(self._error(refused, request.event_id))]

    def _carry_out(self, request: requests.AnyRequest) -> list[Action]:
        match request:
            case requests.SessionUpdate():
                return self._update(request)
            case requests.ItemCreate(item=given) if self._approves(given):
                return [
                    Execute(
                        commands.CreateItem(approval_from(given, "item"), request.previous_item_id), request.event_id
                    )
                ]
            case requests.ItemCreate(item=given):
                item = item_from(given, self._new_id, "item", picture=self._picture)
                warnings = self._warn(pictures(given, "item"), request.event_id)
                return [*warnings, Execute(commands.CreateItem(item, request.previous_item_id), request.event_id)]
            case requests.ResponseCreate(response=asked):
                return self._create_reply(asked or requests.ResponseParams(), request.event_id)
            case requests.InputAudioAppend(audio=audio):
                command = self._append(audio)
            case _:
                command = request.command()
        return [] if command is None else [Execute(command, request.event_id)]

    def _approves(self, given: GivenItem) -> bool:
        """Whether it is about a call to a server, where clients may name any."""
        return given.type == "mcp_approval_response" and self._defaults.servers is not None

    def _append(self, data: bytes) -> commands.Command | None:
        audio_format = self._session.audio.input.format
        pcm = realtime_audio.decode(data, audio_format)
        return commands.AppendAudio(pcm, realtime_audio.rate_of(audio_format)) if pcm.size else None

    def _update(self, request: requests.SessionUpdate) -> list[Action]:
        session = updated(self._session, request.session, self._defaults)
        if self._teller.has_spoken and session.audio.output.voice != self._session.audio.output.voice:
            raise Refused(
                "cannot_update_voice", "The voice is fixed once it has been heard.", "session.audio.output.voice"
            )
        wanted = options(session, self._defaults)
        self._teller.session = session
        return [
            Execute(commands.Configure(wanted), request.event_id),
            Send(self._frame(wire.SessionUpdatedEvent(session=shown(session)))),
        ]

    def _create_reply(self, asked: requests.ResponseParams, ref: str | None) -> list[Action]:
        command = self._reply_command(asked)
        if asked.input is None:
            return [Execute(command, ref)]
        places = [(given, f"response.input[{index}]") for index, given in enumerate(asked.input)]
        context = [context_from(given, self._new_id, place, picture=self._picture) for given, place in places]
        unseen = [picture for given, place in places for picture in pictures(given, place)]
        return [*self._warn(unseen, ref), *self._references.ask(command, context, ref)]

    def _reply_command(self, asked: requests.ResponseParams) -> commands.CreateResponse:
        if asked.conversation not in (None, "auto", "none"):
            raise Refused("invalid_value", "Supported values are 'auto' and 'none'.", "response.conversation")
        output = asked.audio.output if asked.audio else None
        if output and output.format not in (None, self._session.audio.output.format):
            raise Refused(
                "unsupported_parameter", "A response has the session's format.", "response.audio.output.format"
            )
        modalities, tools, ours = asked.output_modalities, asked.tools, asked.voiceagent
        return commands.CreateResponse(
            instructions=asked.instructions,
            modality=one_modality(modalities, "response.output_modalities") if modalities else None,
            max_output_tokens=None if asked.max_output_tokens == "inf" else asked.max_output_tokens,
            store=asked.conversation != "none",
            metadata=asked.metadata or {},
            tools=None if tools is None else specs(functions(tools, "response.tools")),
            tool_choice=None if asked.tool_choice is None else choice(asked.tool_choice),
            protected=ours is not None and ours.protected,
            words=None if ours is None else ours.words,
        )

    def _warn(self, unseen: Sequence[str], ref: str | None) -> list[Action]:
        """Of pictures that nobody looks at. The model is told of the first one only: some clients send a video."""
        if not unseen:
            return []
        self._picture = ""
        warned = WarningEvent(code="unsupported_content", message=NO_PICTURES, param=unseen[0], client_event_id=ref)
        return [Send(self._frame(warned))]

    # -- what the session tells -------------------------------------------------------------------------------------

    def encode(self, event: events.Event) -> list[Frame | Action]:
        if isinstance(event, events.ItemRetrieved) and self._references.waiting:
            return [*self._references.found(event.item)]
        return [self._frame(told) for told in self._teller.tell(event)]

    def on_timer(self, name: str) -> list[Action]:
        return []

    def on_call_control(self, ref: str, failure: str | None) -> list[Action]:
        return []

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        if self._references.waiting:
            return [self._error(UNKNOWN, ref)] if self._references.missing() else []
        return [self._error(refused, ref)]

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        error, code = ENDINGS[reason]
        return [] if error is None else [self._frame(wire.ErrorEvent(error=error))], code

    def _error(self, refused: Refused, ref: str | None) -> str:
        message = REFUSALS.get(refused.code, refused.message)
        body = wire.ErrorDetails("invalid_request_error", refused.code, message, refused.param, ref)
        return self._frame(wire.ErrorEvent(error=body))

    def _frame(self, event: wire.ServerEvent) -> str:
        event.event_id = self._new_id("event")
        return _ENCODER.encode(event).decode()
