"""OpenAI Realtime (GA) over WebSocket: JSON text both ways, audio as base64 inside."""

from collections.abc import Callable

import msgspec

from voiceagent.errors import Refused
from voiceagent.protocols import realtime_audio
from voiceagent.protocols import realtime_events as wire
from voiceagent.protocols import realtime_requests as requests
from voiceagent.protocols.base import Action, Ask, EndReason, Frame, Send
from voiceagent.protocols.realtime_items import GivenItem, item_from, wire_item
from voiceagent.protocols.realtime_more import more
from voiceagent.protocols.realtime_replies import Reply
from voiceagent.protocols.realtime_session import Extension
from voiceagent.protocols.realtime_update import (
    initial_session,
    one_modality,
    options,
    shown,
    updated,
)
from voiceagent.session import commands, events
from voiceagent.session.items import Item
from voiceagent.session.options import SessionOptions

MAX_MS = 2**31 - 1
"""A truncation's position is clamped to this; the session clamps it to the item's real length."""

REFUSALS = {
    # LiveKit knows this one by how its message begins.
    "response_cancel_not_active": "Cancellation failed: no active response found.",
    # agents-js waits for ever unless "response.create" is in the message.
    "conversation_already_has_active_response": "response.create failed: the conversation has an active response.",
}
"""Messages in which a known client looks for certain words; all other refusals keep their own."""

ENDINGS: dict[EndReason, tuple[wire.ErrorBody | None, int]] = {
    "finished": (None, 1000),
    "draining": (None, 1001),
    "idle": (wire.ErrorBody("invalid_request_error", "session_idle", "The session ended because nobody spoke."), 1001),
    "expired": (
        wire.ErrorBody("invalid_request_error", "session_expired", "The session reached its maximum duration."),
        1001,
    ),
    "too_slow": (None, 1008),
    "ended": (None, 1000),
    "internal_error": (wire.ErrorBody("server_error", "internal_error", "The server had an error."), 1011),
}
"""Last words and close code (RFC 6455). A client that does not read would not read an error either."""

_ENCODER = msgspec.json.Encoder()


class RealtimeProtocol:
    """One client's connection. `new_id("event")` makes an id with that prefix; `expires_at` is Unix time in seconds.

    What cannot be understood or carried out is answered with an error event; the session stays open."""

    def __init__(
        self,
        *,
        session_id: str,
        model: str,
        defaults: SessionOptions,
        expires_at: int,
        new_id: Callable[[str], str],
    ) -> None:
        self._new_id = new_id
        self._defaults = defaults
        self._conversation_id = new_id("conv")
        self._session = initial_session(session_id, model, defaults, expires_at)
        self._options = options(self._session, defaults)
        self._replies: dict[str, Reply] = {}
        self._has_spoken = False

    def start(self) -> list[Action]:
        actions: list[Action] = [Send(self._frame(wire.SessionCreated(session=shown(self._session))))]
        if self._options != self._defaults:  # this protocol's audio has its own rate, say
            actions.insert(0, Ask(commands.Configure(self._options)))
        return actions

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
        if isinstance(request, requests.SessionUpdate):
            return self._update(request)
        command = self._command(request)
        return [] if command is None else [Ask(command, request.event_id)]

    def _command(self, request: requests.AnyRequest) -> commands.Command | None:
        """What the session is to do; None for a request without effect. Raises Refused."""
        match request:
            case requests.InputAudioAppend():
                return self._append(request.audio)
            case requests.InputAudioCommit():
                return commands.CommitAudio()
            case requests.InputAudioClear():
                return commands.ClearAudio()
            case requests.ItemCreate():
                item = item_from(request.item, self._new_id, "item")
                return commands.CreateItem(item, request.previous_item_id)
            case requests.ItemRetrieve():
                return commands.RetrieveItem(request.item_id)
            case requests.ItemTruncate():
                return commands.TruncateItem(request.item_id, min(max(request.audio_end_ms, 0), MAX_MS))
            case requests.ItemDelete():
                return commands.DeleteItem(request.item_id)
            case requests.ResponseCreate():
                return self._create_reply(request.response or requests.ResponseParams())
            case requests.ResponseCancel():
                return commands.CancelReply(request.response_id)
            case _:  # output_audio_buffer.clear: over WebSocket the client itself holds what is played
                return None

    def _append(self, data: bytes) -> commands.AppendAudio | None:
        audio_format = self._session.audio.input.format
        pcm = realtime_audio.decode(data, audio_format)
        return commands.AppendAudio(pcm, realtime_audio.rate_of(audio_format)) if pcm.size else None

    def _update(self, request: requests.SessionUpdate) -> list[Action]:
        session = updated(self._session, request.session, self._defaults)
        if self._has_spoken and session.audio.output.voice != self._session.audio.output.voice:
            raise Refused(
                "cannot_update_voice", "The voice is fixed once it has been heard.", "session.audio.output.voice"
            )
        self._session = session
        self._options = options(session, self._defaults)
        return [
            Ask(commands.Configure(self._options), request.event_id),
            Send(self._frame(wire.SessionUpdated(session=shown(session)))),
        ]

    def _create_reply(self, asked: requests.ResponseParams) -> commands.CreateReply:
        if asked.conversation not in (None, "auto", "none"):
            raise Refused("invalid_value", "Supported values are 'auto' and 'none'.", "response.conversation")
        output = asked.audio.output if asked.audio else None
        if output and output.format not in (None, self._session.audio.output.format):
            raise Refused(
                "unsupported_parameter", "A response has the session's format.", "response.audio.output.format"
            )
        modalities, given = asked.output_modalities, asked.input
        return commands.CreateReply(
            instructions=asked.instructions,
            modality=one_modality(modalities, "response.output_modalities") if modalities else None,
            max_output_tokens=None if asked.max_output_tokens == "inf" else asked.max_output_tokens,
            input=None if given is None else self._items(given),
            store=asked.conversation != "none",
            metadata=asked.metadata or {},
        )

    def _items(self, given: list[GivenItem]) -> tuple[Item, ...]:
        return tuple(item_from(item, self._new_id, f"response.input[{index}]") for index, item in enumerate(given))

    def encode(self, event: events.Event) -> list[Frame]:
        told = self._tell(event)
        if self._wants_more:
            told = [*told, *more(event)]
        return [self._frame(one) for one in told]

    def _tell(self, event: events.Event) -> list[wire.ServerEvent]:
        match event:
            case events.ReplyAudio() | events.ReplyText() | events.ReplyItemAdded() | events.ReplyDone():
                return self._tell_of_reply(event)
            case events.ReplyStarted(reply_id=reply_id):
                reply = Reply(event, self._session.audio.output, self._conversation_id)
                self._replies[reply_id] = reply
                return reply.created()
            case events.SpeechStarted(item_id=item_id, at_ms=at_ms):
                return [wire.SpeechStarted(audio_start_ms=at_ms, item_id=item_id)]
            case events.SpeechStopped(item_id=item_id, at_ms=at_ms):
                return [wire.SpeechStopped(audio_end_ms=at_ms, item_id=item_id)]
            case events.AudioCommitted(item_id=item_id, previous_item_id=previous):
                return [wire.AudioCommitted(item_id=item_id, previous_item_id=previous)]
            case events.AudioCleared():
                return [wire.AudioCleared()]
            case events.ItemAdded(item=item, previous_item_id=previous):
                return [wire.ItemAdded(previous_item_id=previous, item=wire_item(item))]
            case events.ItemDone(item=item, previous_item_id=previous):
                return [wire.ItemDone(previous_item_id=previous, item=wire_item(item))]
            case events.ItemRetrieved(item=item):
                return [wire.ItemRetrieved(item=wire_item(item))]
            case events.ItemDeleted(item_id=item_id):
                return [wire.ItemDeleted(item_id=item_id)]
            case events.ItemTruncated(item_id=item_id, audio_end_ms=audio_end_ms):
                return [wire.ItemTruncated(item_id=item_id, audio_end_ms=audio_end_ms)]
            case events.TranscriptDone() | events.TranscriptFailed():
                return self._tell_of_transcript(event) if self._options.transcribe else []
            case _:
                return []

    def _tell_of_reply(
        self, event: events.ReplyAudio | events.ReplyText | events.ReplyItemAdded | events.ReplyDone
    ) -> list[wire.ServerEvent]:
        reply = self._replies.get(event.reply_id)
        if reply is None:  # it is over: not one sample more of it
            return []
        match event:
            case events.ReplyAudio():
                self._has_spoken = True
                return reply.audio(event)
            case events.ReplyText():
                return reply.text(event)
            case events.ReplyItemAdded():
                return reply.item_added(event)
            case events.ReplyDone(reply_id=reply_id):
                del self._replies[reply_id]
                return reply.done(event)

    def _tell_of_transcript(self, event: events.TranscriptDone | events.TranscriptFailed) -> list[wire.ServerEvent]:
        match event:
            case events.TranscriptDone(item_id=item_id, text=text, seconds=seconds):
                usage = wire.Duration("duration", seconds)
                completed = wire.TranscriptCompleted(item_id=item_id, transcript=text, usage=usage)
                return [wire.TranscriptDelta(item_id=item_id, delta=text), completed] if text else [completed]
            case events.TranscriptFailed(item_id=item_id, code=code, message=message):
                error = wire.TranscriptError("server_error", code, message)
                return [wire.TranscriptFailed(item_id=item_id, error=error)]

    @property
    def _wants_more(self) -> bool:
        extension = self._session.voiceagent
        return isinstance(extension, Extension) and extension.events

    def wake(self, name: str) -> list[Action]:
        return []

    def controlled(self, ref: str, failure: str | None) -> list[Action]:
        return []

    def refuse(self, refused: Refused, ref: str | None) -> list[Frame]:
        return [self._error(refused, ref)]

    def end(self, reason: EndReason) -> tuple[list[Frame], int]:
        error, code = ENDINGS[reason]
        return [] if error is None else [self._frame(wire.Error(error=error))], code

    def _error(self, refused: Refused, ref: str | None) -> str:
        message = REFUSALS.get(refused.code, refused.message)
        body = wire.ErrorBody("invalid_request_error", refused.code, message, refused.param, ref)
        return self._frame(wire.Error(error=body))

    def _frame(self, event: wire.ServerEvent) -> str:
        event.event_id = self._new_id("event")
        return _ENCODER.encode(event).decode()
