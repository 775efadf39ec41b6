"""What an OpenAI Realtime server says, in the GA protocol's field names and types.

`event_id` is filled in when the event is sent.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from voiceagent.channels.realtime.audio import AudioFormat
from voiceagent.channels.realtime.items import AnyWireItem
from voiceagent.channels.realtime.session_object import SessionObject, TranscriptionSession
from voiceagent.session.events import ResponseReason, ResponseStatus
from voiceagent.session.options import Modality


class ServerEvent(Struct, kw_only=True, tag_field="type"):
    event_id: str = ""


class ErrorDetails(Struct):
    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(ServerEvent, tag="error"):
    error: ErrorDetails


class SessionCreatedEvent(ServerEvent, tag="session.created"):
    session: SessionObject | TranscriptionSession


class SessionUpdatedEvent(ServerEvent, tag="session.updated"):
    session: SessionObject | TranscriptionSession


class SpeechStartedEvent(ServerEvent, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int
    item_id: str


class SpeechStoppedEvent(ServerEvent, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class AudioCommittedEvent(ServerEvent, tag="input_audio_buffer.committed"):
    item_id: str
    previous_item_id: str | None


class TimeoutTriggeredEvent(ServerEvent, tag="input_audio_buffer.timeout_triggered"):
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class AudioClearedEvent(ServerEvent, tag="input_audio_buffer.cleared"):
    pass


class ItemAddedEvent(ServerEvent, tag="conversation.item.added"):
    previous_item_id: str | None
    item: AnyWireItem


class ItemDoneEvent(ServerEvent, tag="conversation.item.done"):
    previous_item_id: str | None
    item: AnyWireItem


class ItemRetrievedEvent(ServerEvent, tag="conversation.item.retrieved"):
    item: AnyWireItem


class ItemDeletedEvent(ServerEvent, tag="conversation.item.deleted"):
    item_id: str


class ItemTruncatedEvent(ServerEvent, tag="conversation.item.truncated"):
    item_id: str
    audio_end_ms: int
    content_index: int = 0


class TranscriptDeltaEvent(ServerEvent, tag="conversation.item.input_audio_transcription.delta"):
    item_id: str
    delta: str
    content_index: int = 0


class Duration(Struct):
    type: Literal["duration"]
    seconds: float


class TranscriptCompletedEvent(ServerEvent, tag="conversation.item.input_audio_transcription.completed"):
    item_id: str
    transcript: str
    usage: Duration
    content_index: int = 0


class TranscriptError(Struct):
    type: str
    code: str
    message: str


class TranscriptFailedEvent(ServerEvent, tag="conversation.item.input_audio_transcription.failed"):
    item_id: str
    error: TranscriptError
    content_index: int = 0


class CachedTokens(Struct):
    text_tokens: int
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokens(Struct):
    text_tokens: int
    cached_tokens: int
    cached_tokens_details: CachedTokens
    audio_tokens: int = 0
    image_tokens: int = 0


class OutputTokens(Struct):
    text_tokens: int
    audio_tokens: int = 0


class UsageBody(Struct):
    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokens
    output_token_details: OutputTokens


class StatusError(Struct):
    type: str
    code: str
    message: str


class StatusDetails(Struct):
    type: ResponseStatus
    reason: ResponseReason | UnsetType = UNSET
    error: StatusError | UnsetType = UNSET


class OutputFormat(Struct):
    format: AudioFormat
    voice: str


class OutputAudio(Struct):
    output: OutputFormat


class ResponseBody(Struct, kw_only=True):
    """Pipecat needs `status_details` to be there, null or not."""

    id: str
    object: Literal["realtime.response"] = "realtime.response"
    status: Literal["in_progress"] | ResponseStatus
    status_details: StatusDetails | None = None
    output: list[AnyWireItem]
    conversation_id: str | None
    output_modalities: list[Modality]
    audio: OutputAudio
    max_output_tokens: int | Literal["inf"]
    metadata: Mapping[str, str] | None
    usage: UsageBody | None = None


class ResponseCreatedEvent(ServerEvent, tag="response.created"):
    response: ResponseBody


class ResponseDoneEvent(ServerEvent, tag="response.done"):
    response: ResponseBody


class OutputItemAddedEvent(ServerEvent, tag="response.output_item.added"):
    response_id: str
    item: AnyWireItem
    output_index: int = 0


class OutputItemDoneEvent(ServerEvent, tag="response.output_item.done"):
    response_id: str
    item: AnyWireItem
    output_index: int = 0


class CallEvent(ServerEvent, kw_only=True):
    response_id: str
    item_id: str
    output_index: int
    call_id: str


class CallArgumentsDeltaEvent(CallEvent, tag="response.function_call_arguments.delta"):
    delta: str


class CallArgumentsDoneEvent(CallEvent, tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class PartEvent(ServerEvent, kw_only=True):
    """A response has one message, which comes first, and that has one part."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


class ContentPart(Struct):
    """In these events the part's type is "audio" or "text", unlike in items."""

    type: Modality
    text: str | UnsetType = UNSET
    transcript: str | UnsetType = UNSET


class ContentPartAddedEvent(PartEvent, tag="response.content_part.added"):
    part: ContentPart


class ContentPartDoneEvent(PartEvent, tag="response.content_part.done"):
    part: ContentPart


class OutputAudioDeltaEvent(PartEvent, tag="response.output_audio.delta"):
    """`delta` goes out as base64."""

    delta: bytes


class OutputAudioDoneEvent(PartEvent, tag="response.output_audio.done"):
    pass


class OutputTranscriptDeltaEvent(PartEvent, tag="response.output_audio_transcript.delta"):
    delta: str


class OutputTranscriptDoneEvent(PartEvent, tag="response.output_audio_transcript.done"):
    transcript: str


class OutputTextDeltaEvent(PartEvent, tag="response.output_text.delta"):
    delta: str


class OutputTextDoneEvent(PartEvent, tag="response.output_text.done"):
    text: str
