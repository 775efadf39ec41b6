"""Response writer: the Realtime events of one response, from response.created to response.done."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from voiceagent.channels.realtime import audio as realtime_audio
from voiceagent.channels.realtime.items import AnyWireItem, wire_call, wire_item
from voiceagent.channels.realtime.mcp import McpEvents
from voiceagent.channels.realtime.options import voice_name
from voiceagent.channels.realtime.server_events import (
    CachedTokens,
    CallArgumentsDeltaEvent,
    CallArgumentsDoneEvent,
    ContentPart,
    ContentPartAddedEvent,
    ContentPartDoneEvent,
    InputTokens,
    ItemAddedEvent,
    ItemDoneEvent,
    OutputAudio,
    OutputAudioDeltaEvent,
    OutputAudioDoneEvent,
    OutputFormat,
    OutputItemAddedEvent,
    OutputItemDoneEvent,
    OutputTextDeltaEvent,
    OutputTextDoneEvent,
    OutputTokens,
    OutputTranscriptDeltaEvent,
    OutputTranscriptDoneEvent,
    ResponseBody,
    ResponseCreatedEvent,
    ResponseDoneEvent,
    ServerEvent,
    StatusDetails,
    StatusError,
    UsageBody,
)
from voiceagent.channels.realtime.session_object import SessionAudioOutput
from voiceagent.session import events


class ResponseWriter:
    """A response being sent, in the format and voice in force when it began: an update meanwhile is for the next one.

    Of a response that is not stored in the conversation there are no conversation.item events. `known` is the item
    before another, as the client sees it."""

    def __init__(
        self,
        started: events.ResponseStarted,
        output: SessionAudioOutput,
        conversation_id: str,
        known: Callable[[str | None], str | None],
        served: McpEvents,
    ) -> None:
        self._started = started
        self._output = output
        self._conversation_id = conversation_id if started.stored else None
        self._known = known
        self._spoken = started.modality == "audio"
        self._served = served
        self._calls: list[events.ToolCalled | events.ApprovalAsked] = []

    def created(self) -> list[ServerEvent]:
        return [ResponseCreatedEvent(response=self._response("in_progress", []))]

    def item_added(self, event: events.ResponseItemAdded) -> list[ServerEvent]:
        item = wire_item(event.item)
        told: list[ServerEvent] = [OutputItemAddedEvent(response_id=event.response_id, item=item)]
        if self._started.stored:
            told.append(ItemAddedEvent(previous_item_id=self._known(event.previous_item_id), item=item))
        told.append(ContentPartAddedEvent(response_id=event.response_id, item_id=item.id, part=self._part("")))
        return told

    def text(self, event: events.ResponseText) -> list[ServerEvent]:
        if not event.text:
            return []
        delta = OutputTranscriptDeltaEvent if self._spoken else OutputTextDeltaEvent
        return [delta(response_id=event.response_id, item_id=event.item_id, delta=event.text)]

    def audio(self, event: events.ResponseAudio) -> list[ServerEvent]:
        if not event.pcm.size:
            return []
        data = realtime_audio.encode(event.pcm, self._output.format)
        return [OutputAudioDeltaEvent(response_id=event.response_id, item_id=event.item_id, delta=data)]

    def called(self, event: events.ToolCalled | events.ApprovalAsked) -> list[ServerEvent]:
        """Kept until the message before it is done: the session tells both in one moment."""
        self._calls.append(event)
        return []

    def done(self, event: events.ResponseDone) -> list[ServerEvent]:
        told: list[ServerEvent] = []
        output: list[AnyWireItem] = []
        if event.item is not None:
            item = wire_item(event.item)
            output.append(item)
            told += self._part_done(event.response_id, item.id, event.item.text)
            if self._started.stored:
                told.append(ItemDoneEvent(previous_item_id=self._known(event.previous_item_id), item=item))
            told.append(OutputItemDoneEvent(response_id=event.response_id, item=item))
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
        told.append(ResponseDoneEvent(response=response))
        return told

    def _call(self, event: events.ToolCalled, index: int) -> list[ServerEvent]:
        """A call of the client's own. agents-js and LiveKit run it when its item is done, Pipecat when its arguments
        are, if it has seen the item before."""
        response_id, previous = event.response_id, self._known(event.previous_item_id)
        begun = wire_call(replace(event.call, status="in_progress"))
        call = wire_call(event.call)
        added = ItemAddedEvent(previous_item_id=previous, item=begun)
        done = ItemDoneEvent(previous_item_id=previous, item=call)
        stored = self._started.stored
        return [
            OutputItemAddedEvent(response_id=response_id, item=begun, output_index=index),
            *([added] if stored else []),
            CallArgumentsDeltaEvent(
                response_id=response_id,
                item_id=call.id,
                output_index=index,
                call_id=call.call_id,
                delta=call.arguments,
            ),
            CallArgumentsDoneEvent(
                response_id=response_id,
                item_id=call.id,
                output_index=index,
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
            ),
            *([done] if stored else []),
            OutputItemDoneEvent(response_id=response_id, item=call, output_index=index),
        ]

    def _part_done(self, response_id: str, item_id: str, text: str) -> list[ServerEvent]:
        part_done = ContentPartDoneEvent(response_id=response_id, item_id=item_id, part=self._part(text))
        if not self._spoken:
            return [OutputTextDoneEvent(response_id=response_id, item_id=item_id, text=text), part_done]
        return [
            OutputAudioDoneEvent(response_id=response_id, item_id=item_id),
            OutputTranscriptDoneEvent(response_id=response_id, item_id=item_id, transcript=text),
            part_done,
        ]

    def _part(self, text: str) -> ContentPart:
        return ContentPart("audio", transcript=text) if self._spoken else ContentPart("text", text=text)

    def _response(
        self, status: Literal["in_progress"] | events.ResponseStatus, output: list[AnyWireItem]
    ) -> ResponseBody:
        voice = voice_name(self._output.voice)
        return ResponseBody(
            id=self._started.response_id,
            status=status,
            output=output,
            conversation_id=self._conversation_id,
            output_modalities=[self._started.modality],
            audio=OutputAudio(OutputFormat(self._output.format, voice)),
            max_output_tokens=self._started.max_output_tokens or "inf",
            metadata=self._started.metadata or None,
        )


def _details(event: events.ResponseDone) -> StatusDetails | None:
    if event.status == "completed":
        return None
    details = StatusDetails(event.status)
    if event.reason is not None:
        details.reason = event.reason
    if event.status == "failed":
        message = event.error_message or "The response failed."
        details.error = StatusError("server_error", event.error_code or "failed", message)
    return details


def _usage(usage: events.TokenUsage) -> UsageBody:
    return UsageBody(
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        input_token_details=InputTokens(usage.input_tokens, usage.cached_tokens, CachedTokens(usage.cached_tokens)),
        output_token_details=OutputTokens(usage.output_tokens),
    )
