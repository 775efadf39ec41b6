"""The session object of OpenAI Realtime: its shape, and the shape of what a client may change in it."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from voiceagent.channels.realtime.audio import AudioFormat
from voiceagent.channels.realtime.tools import AnyTool, Given, Name, ToolChoice, Tools
from voiceagent.llm.base import Effort
from voiceagent.session.options import Modality
from voiceagent.turn.options import Eagerness

DEFAULT_TRANSCRIBER = "default"
"""Stands for the configured recogniser; a client may name any model and gets this one."""

Milliseconds = Annotated[int, Meta(ge=0, le=10_000)]
IdleMilliseconds = Annotated[int, Meta(ge=0, le=600_000)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Speed = Annotated[float, Meta(ge=0.25, le=1.5)]
Tokens = Annotated[int, Meta(ge=1, le=1_000_000)]
MaxTokens = Tokens | Literal["inf"]


class ServerVad(Struct, frozen=True, tag_field="type", tag="server_vad"):
    """A turn ends after a silence; `silence_duration_ms` None while the client has not named one."""

    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int | None = None
    idle_timeout_ms: int | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Struct, frozen=True, tag_field="type", tag="semantic_vad"):
    """A turn ends when what was said seems complete."""

    eagerness: Eagerness = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = ServerVad | SemanticVad


class Transcription(Struct, frozen=True):
    """The last three are taken into account but not shown: Pipecat's parser dies of them."""

    model: str = DEFAULT_TRANSCRIBER
    language: str | None = None
    prompt: str | None = None
    languages: Sequence[str] | UnsetType = UNSET
    keywords: Sequence[str] | UnsetType = UNSET
    delay: str | UnsetType = UNSET


class NoiseReduction(Struct, frozen=True, omit_defaults=True):
    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class VoiceId(Struct, frozen=True):
    id: Name


Voice = Name | VoiceId


class TokenLimits(Struct, frozen=True):
    post_instructions: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET


class Retention(Struct, frozen=True, tag_field="type", tag="retention_ratio"):
    retention_ratio: Ratio
    token_limits: TokenLimits | UnsetType = UNSET


Truncation = Literal["auto", "disabled"] | Retention


class TracingConfig(Struct, frozen=True):
    workflow_name: Given[str] = UNSET
    group_id: Given[str] = UNSET
    metadata: Raw | UnsetType = UNSET


class PromptText(Struct, frozen=True, tag_field="type", tag="input_text"):
    text: str


class Prompt(Struct, frozen=True):
    id: Name
    version: str | None = None
    variables: dict[str, str | PromptText] | None = None


class Reasoning(Struct, frozen=True):
    effort: Effort | None = None


class Extension(Struct, frozen=True):
    """Our own key of the session: `events` asks for the `voiceagent.*` events."""

    events: bool = False


class SessionAudioInput(Struct, frozen=True):
    format: AudioFormat
    turn_detection: TurnDetection | None
    transcription: Transcription | None
    noise_reduction: NoiseReduction | None = None


class SessionAudioOutput(Struct, frozen=True):
    format: AudioFormat
    voice: Voice
    speed: float


class SessionAudio(Struct, frozen=True):
    input: SessionAudioInput
    output: SessionAudioOutput


Include = Literal["item.input_audio_transcription.logprobs"]


SessionType = Literal["realtime", "transcription"]


class SessionObject(Struct, frozen=True, kw_only=True):
    """The whole of it, as in force. Never changed: an update makes a new one. A transcription session only listens."""

    type: SessionType = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    expires_at: int
    model: str
    instructions: str
    output_modalities: tuple[Modality]
    audio: SessionAudio
    tools: Sequence[AnyTool] = ()
    tool_choice: ToolChoice = "auto"
    max_output_tokens: MaxTokens = "inf"
    truncation: Truncation = "auto"
    tracing: Literal["auto"] | TracingConfig | None = None
    include: Sequence[Include] | None = None
    prompt: Prompt | None = None
    parallel_tool_calls: bool = True
    reasoning: Reasoning | None = None
    voiceagent: Extension | UnsetType = UNSET


class HeardAudio(Struct, frozen=True):
    input: SessionAudioInput


class TranscriptionSession(Struct, frozen=True, kw_only=True):
    """What a client sees of a session that only listens."""

    type: Literal["transcription"] = "transcription"
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    id: str
    expires_at: int
    audio: HeardAudio
    include: Sequence[Include] | None = None
    voiceagent: Extension | UnsetType = UNSET


class TurnDetectionPatch(Struct, frozen=True):
    """Both kinds in one, since a client may leave the type out; fields of the other kind are ignored."""

    type: Given[Literal["server_vad", "semantic_vad"]] = UNSET
    threshold: Given[Ratio] = UNSET
    prefix_padding_ms: Given[Milliseconds] = UNSET
    silence_duration_ms: Given[Milliseconds] = UNSET
    idle_timeout_ms: Given[IdleMilliseconds] = UNSET
    eagerness: Given[Eagerness] = UNSET
    create_response: Given[bool] = UNSET
    interrupt_response: Given[bool] = UNSET


class TranscriptionPatch(Struct, frozen=True):
    model: Given[Name] = UNSET
    language: Given[str] = UNSET
    prompt: Given[str] = UNSET
    languages: Given[list[str]] = UNSET
    keywords: Given[list[str]] = UNSET
    delay: Given[Literal["minimal", "low", "medium", "high", "xhigh"]] = UNSET


class AudioInputPatch(Struct, frozen=True):
    format: Given[AudioFormat] = UNSET
    turn_detection: Given[TurnDetectionPatch] = UNSET
    transcription: Given[TranscriptionPatch] = UNSET
    noise_reduction: Given[NoiseReduction] = UNSET


class AudioOutputPatch(Struct, frozen=True):
    format: Given[AudioFormat] = UNSET
    voice: Given[Voice] = UNSET
    speed: Given[Speed] = UNSET


class AudioPatch(Struct, frozen=True):
    input: Given[AudioInputPatch] = UNSET
    output: Given[AudioOutputPatch] = UNSET


class SessionPatch(Struct, frozen=True):
    """`session` of a session.update. Every key may be left out but `type`; null clears. What a transcription session
    does not have is kept for the day when it becomes a realtime one."""

    type: SessionType
    model: Given[Name] = UNSET
    instructions: Given[str] = UNSET
    output_modalities: Given[list[Modality]] = UNSET
    audio: Given[AudioPatch] = UNSET
    tools: Given[Tools] = UNSET
    tool_choice: Given[ToolChoice] = UNSET
    max_output_tokens: Given[MaxTokens] = UNSET
    truncation: Given[Truncation] = UNSET
    tracing: Given[Literal["auto"] | TracingConfig] = UNSET
    include: Given[list[Include]] = UNSET
    prompt: Given[Prompt] = UNSET
    parallel_tool_calls: Given[bool] = UNSET
    reasoning: Given[Reasoning] = UNSET
    voiceagent: Given[Extension] = UNSET
