"""One reply as OpenAI Realtime tells it, from response.created to response.done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from voiceagent.protocols import realtime_audio
from voiceagent.protocols.realtime_events import (
    CachedTokens,
    CallArgumentsDelta,
    CallArgumentsDone,
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
from voiceagent.protocols.realtime_items import AnyWireItem, wire_call, wire_item
from voiceagent.protocols.realtime_options import voice_name
from voiceagent.protocols.realtime_served import Served
from voiceagent.protocols.realtime_session import AudioOutput
from voiceagent.session import events


class Reply:
    """A reply being sent, in the format and voice in force when it began: an update meanwhile is for the next one.

    Of a reply that is not stored in the conversation there are no conversation.item events. `known` is the item before
    another, as the client sees it."""

    def __init__(
        self,
        started: events.ReplyStarted,
        output: AudioOutput,
        conversation_id: str,
        known: Callable[[str | None], str | None],
        served: Served,
    ) -> None:
        self._started = started
        self._output = output
        self._conversation_id = conversation_id if started.stored else None
        self._known = known
        self._spoken = started.modality == "audio"
        self._served = served
        self._calls: list[events.ToolCalled | events.ApprovalAsked] = []

    def created(self) -> list[ServerEvent]:
        return [ResponseCreated(response=self._response("in_progress", []))]

    def item_added(self, event: events.ReplyItemAdded) -> list[ServerEvent]:
        item = wire_item(event.item)
        told: list[ServerEvent] = [OutputItemAdded(response_id=event.reply_id, item=item)]
        if self._started.stored:
            told.append(ItemAdded(previous_item_id=self._known(event.previous_item_id), item=item))
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

    def called(self, event: events.ToolCalled | events.ApprovalAsked) -> list[ServerEvent]:
        """Kept until the message before it is done: the session tells both in one moment."""
        self._calls.append(event)
        return []

    def done(self, event: events.ReplyDone) -> list[ServerEvent]:
        told: list[ServerEvent] = []
        output: list[AnyWireItem] = []
        if event.item is not None:
            item = wire_item(event.item)
            output.append(item)
            told += self._part_done(event.reply_id, item.id, event.item.text)
            if self._started.stored:
                told.append(ItemDone(previous_item_id=self._known(event.previous_item_id), item=item))
            told.append(OutputItemDone(response_id=event.reply_id, item=item))
        for called in self._calls:
            match called:
                case events.ApprovalAsked(request=request):
                    told += self._served.asked(called, len(output))
                    output.append(wire_item(request))
                case events.ToolCalled(call=call):
                    tell = self._call if call.origin is None else self._served.call
                    told += tell(called, len(output))
                    output.append(wire_item(call))
        response = self._response(event.status, output)
        response.status_details = _details(event)
        response.usage = _usage(event.usage)
        told.append(ResponseDone(response=response))
        return told

    def _call(self, event: events.ToolCalled, index: int) -> list[ServerEvent]:
        """A call of the client's own. agents-js and LiveKit run it when its item is done, Pipecat when its arguments
        are, if it has seen the item before."""
        response_id, previous = event.reply_id, self._known(event.previous_item_id)
        begun = wire_call(replace(event.call, status="in_progress"))
        call = wire_call(event.call)
        added = ItemAdded(previous_item_id=previous, item=begun)
        done = ItemDone(previous_item_id=previous, item=call)
        stored = self._started.stored
        return [
            OutputItemAdded(response_id=response_id, item=begun, output_index=index),
            *([added] if stored else []),
            CallArgumentsDelta(
                response_id=response_id,
                item_id=call.id,
                output_index=index,
                call_id=call.call_id,
                delta=call.arguments,
            ),
            CallArgumentsDone(
                response_id=response_id,
                item_id=call.id,
                output_index=index,
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
            ),
            *([done] if stored else []),
            OutputItemDone(response_id=response_id, item=call, output_index=index),
        ]

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
