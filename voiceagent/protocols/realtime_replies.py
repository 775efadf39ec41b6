"""One reply as OpenAI Realtime tells it, from response.created to response.done."""

from typing import Literal

from voiceagent.protocols import realtime_audio
from voiceagent.protocols.realtime_events import (
    CachedTokens,
    ContentPart,
    ContentPartAdded,
    ContentPartDone,
    InputTokens,
    ItemAdded,
    ItemDone,
    OutputAudio,
    OutputAudioDelta,
    OutputAudioDone,
    OutputFormat,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    OutputTokens,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    Response,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    StatusDetails,
    StatusError,
    Usage,
)
from voiceagent.protocols.realtime_items import AnyWireItem, wire_item
from voiceagent.protocols.realtime_session import AudioOutput
from voiceagent.protocols.realtime_update import voice_name
from voiceagent.session import events


class Reply:
    """A reply being sent, in the format and voice in force when it began: an update meanwhile is for the next one.

    Of a reply that is not stored in the conversation there are no conversation.item events."""

    def __init__(self, started: events.ReplyStarted, output: AudioOutput, conversation_id: str) -> None:
        self._started = started
        self._output = output
        self._conversation_id = conversation_id if started.stored else None
        self._spoken = started.modality == "audio"

    def created(self) -> list[ServerEvent]:
        return [ResponseCreated(response=self._response("in_progress", []))]

    def item_added(self, event: events.ReplyItemAdded) -> list[ServerEvent]:
        item = wire_item(event.item)
        told: list[ServerEvent] = [OutputItemAdded(response_id=event.reply_id, item=item)]
        if self._started.stored:
            told.append(ItemAdded(previous_item_id=event.previous_item_id, item=item))
        told.append(ContentPartAdded(response_id=event.reply_id, item_id=item.id, part=self._part("")))
        return told

    def text(self, event: events.ReplyText) -> list[ServerEvent]:
        if not event.text:
            return []
        delta = OutputTranscriptDelta if self._spoken else OutputTextDelta
        return [delta(response_id=event.reply_id, item_id=event.item_id, delta=event.text)]

    def audio(self, event: events.ReplyAudio) -> list[ServerEvent]:
        if not event.pcm.size:
            return []
        data = realtime_audio.encode(event.pcm, self._output.format)
        return [OutputAudioDelta(response_id=event.reply_id, item_id=event.item_id, delta=data)]

    def done(self, event: events.ReplyDone) -> list[ServerEvent]:
        told: list[ServerEvent] = []
        output: list[AnyWireItem] = []
        if event.item is not None:
            item = wire_item(event.item)
            output.append(item)
            told += self._part_done(event.reply_id, item.id, event.item.text)
            if self._started.stored:
                told.append(ItemDone(previous_item_id=event.previous_item_id, item=item))
            told.append(OutputItemDone(response_id=event.reply_id, item=item))
        response = self._response(event.status, output)
        response.status_details = _details(event)
        response.usage = _usage(event.usage)
        told.append(ResponseDone(response=response))
        return told

    def _part_done(self, response_id: str, item_id: str, text: str) -> list[ServerEvent]:
        part_done = ContentPartDone(response_id=response_id, item_id=item_id, part=self._part(text))
        if not self._spoken:
            return [OutputTextDone(response_id=response_id, item_id=item_id, text=text), part_done]
        return [
            OutputAudioDone(response_id=response_id, item_id=item_id),
            OutputTranscriptDone(response_id=response_id, item_id=item_id, transcript=text),
            part_done,
        ]

    def _part(self, text: str) -> ContentPart:
        return ContentPart("audio", transcript=text) if self._spoken else ContentPart("text", text=text)

    def _response(self, status: Literal["in_progress"] | events.ReplyStatus, output: list[AnyWireItem]) -> Response:
        voice = voice_name(self._output.voice)
        return Response(
            id=self._started.reply_id,
            status=status,
            output=output,
            conversation_id=self._conversation_id,
            output_modalities=[self._started.modality],
            audio=OutputAudio(OutputFormat(self._output.format, voice)),
            max_output_tokens=self._started.max_output_tokens or "inf",
            metadata=self._started.metadata or None,
        )


def _details(event: events.ReplyDone) -> StatusDetails | None:
    if event.status == "completed":
        return None
    details = StatusDetails(event.status)
    if event.reason is not None:
        details.reason = event.reason
    if event.status == "failed":
        message = event.error_message or "The response failed."
        details.error = StatusError("server_error", event.error_code or "failed", message)
    return details


def _usage(usage: events.Usage) -> Usage:
    return Usage(
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        input_token_details=InputTokens(usage.input_tokens, usage.cached_tokens, CachedTokens(usage.cached_tokens)),
        output_token_details=OutputTokens(usage.output_tokens),
    )
