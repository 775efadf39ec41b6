"""What an OpenAI Realtime server says, in the GA protocol's field names and types.

`event_id` is filled in when the event is sent.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from voiceagent.protocols.realtime_audio import AudioFormat
from voiceagent.protocols.realtime_items import AnyWireItem
from voiceagent.protocols.realtime_session import Session, TranscriptionSession
from voiceagent.session.events import ReplyReason, ReplyStatus
from voiceagent.session.options import Modality


class ServerEvent(Struct, kw_only=True, tag_field="type"):
    event_id: str = ""


class ErrorBody(Struct):
    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class Error(ServerEvent, tag="error"):
    error: ErrorBody


class SessionCreated(ServerEvent, tag="session.created"):
    session: Session | TranscriptionSession


class SessionUpdated(ServerEvent, tag="session.updated"):
    session: Session | TranscriptionSession


class SpeechStarted(ServerEvent, tag="input_audio_buffer.speech_started"):
    audio_start_ms: int
    item_id: str


class SpeechStopped(ServerEvent, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class AudioCommitted(ServerEvent, tag="input_audio_buffer.committed"):
    item_id: str
    previous_item_id: str | None


class TimeoutTriggered(ServerEvent, tag="input_audio_buffer.timeout_triggered"):
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class AudioCleared(ServerEvent, tag="input_audio_buffer.cleared"):
    pass


class ItemAdded(ServerEvent, tag="conversation.item.added"):
    previous_item_id: str | None
    item: AnyWireItem


class ItemDone(ServerEvent, tag="conversation.item.done"):
    previous_item_id: str | None
    item: AnyWireItem


class ItemRetrieved(ServerEvent, tag="conversation.item.retrieved"):
    item: AnyWireItem


class ItemDeleted(ServerEvent, tag="conversation.item.deleted"):
    item_id: str


class ItemTruncated(ServerEvent, tag="conversation.item.truncated"):
    item_id: str
    audio_end_ms: int
    content_index: int = 0


class TranscriptDelta(ServerEvent, tag="conversation.item.input_audio_transcription.delta"):
    item_id: str
    delta: str
    content_index: int = 0


class Duration(Struct):
    type: Literal["duration"]
    seconds: float


class TranscriptCompleted(ServerEvent, tag="conversation.item.input_audio_transcription.completed"):
    item_id: str
    transcript: str
    usage: Duration
    content_index: int = 0


class TranscriptError(Struct):
    type: str
    code: str
    message: str


class TranscriptFailed(ServerEvent, tag="conversation.item.input_audio_transcription.failed"):
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


class Usage(Struct):
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
    type: ReplyStatus
    reason: ReplyReason | UnsetType = UNSET
    error: StatusError | UnsetType = UNSET


class OutputFormat(Struct):
    format: AudioFormat
    voice: str


class OutputAudio(Struct):
    output: OutputFormat


class Response(Struct, kw_only=True):
    """Pipecat needs `status_details` to be there, null or not."""

    id: str
    object: Literal["realtime.response"] = "realtime.response"
    status: Literal["in_progress"] | ReplyStatus
    status_details: StatusDetails | None = None
    output: list[AnyWireItem]
    conversation_id: str | None
    output_modalities: list[Modality]
    audio: OutputAudio
    max_output_tokens: int | Literal["inf"]
    metadata: Mapping[str, str] | None
    usage: Usage | None = None


class ResponseCreated(ServerEvent, tag="response.created"):
    response: Response


class ResponseDone(ServerEvent, tag="response.done"):
    response: Response


class OutputItemAdded(ServerEvent, tag="response.output_item.added"):
    response_id: str
    item: AnyWireItem
    output_index: int = 0


class OutputItemDone(ServerEvent, tag="response.output_item.done"):
    response_id: str
    item: AnyWireItem
    output_index: int = 0


class CallEvent(ServerEvent, kw_only=True):
    response_id: str
    item_id: str
    output_index: int
    call_id: str


class CallArgumentsDelta(CallEvent, tag="response.function_call_arguments.delta"):
    delta: str


class CallArgumentsDone(CallEvent, tag="response.function_call_arguments.done"):
    name: str
    arguments: str


class PartEvent(ServerEvent, kw_only=True):
    """A reply has one message, which comes first, and that has one part."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


class ContentPart(Struct):
    """In these events the part's type is "audio" or "text", unlike in items."""

    type: Modality
    text: str | UnsetType = UNSET
    transcript: str | UnsetType = UNSET


class ContentPartAdded(PartEvent, tag="response.content_part.added"):
    part: ContentPart


class ContentPartDone(PartEvent, tag="response.content_part.done"):
    part: ContentPart


class OutputAudioDelta(PartEvent, tag="response.output_audio.delta"):
    """`delta` goes out as base64."""

    delta: bytes


class OutputAudioDone(PartEvent, tag="response.output_audio.done"):
    pass


class OutputTranscriptDelta(PartEvent, tag="response.output_audio_transcript.delta"):
    delta: str


class OutputTranscriptDone(PartEvent, tag="response.output_audio_transcript.done"):
    transcript: str


class OutputTextDelta(PartEvent, tag="response.output_text.delta"):
    delta: str


class OutputTextDone(PartEvent, tag="response.output_text.done"):
    text: str
