"""Updates of the session object: how a session.update changes it, and what of it a client is shown."""

from collections.abc import Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from voiceagent.channels.realtime.audio import PcmFormat
from voiceagent.channels.realtime.mcp import session_tools, without_secrets
from voiceagent.channels.realtime.options import DEFAULT_VOICE
from voiceagent.channels.realtime.session_object import (
    DEFAULT_TRANSCRIBER,
    AudioInputPatch,
    AudioOutputPatch,
    AudioPatch,
    HeardAudio,
    Reasoning,
    SemanticVad,
    ServerVad,
    SessionAudio,
    SessionAudioInput,
    SessionAudioOutput,
    SessionObject,
    SessionPatch,
    SessionType,
    Transcription,
    TranscriptionPatch,
    TranscriptionSession,
    TurnDetection,
    TurnDetectionPatch,
)
from voiceagent.channels.realtime.tools import AnyTool, Given, Tools
from voiceagent.errors import Refused
from voiceagent.session.options import Modality, SessionOptions
from voiceagent.turn.options import TurnOptions

SILENCE_MS = 500
"""Shown while nobody has named a silence: OpenAI's default. The endpointer then really adapts."""

T = TypeVar("T")


def initial_session(
    session_id: str, model: str, defaults: SessionOptions, expires_at: int, kind: SessionType = "realtime"
) -> SessionObject:
    """The session before the client has said anything."""
    return SessionObject(
        type=kind,
        id=session_id,
        expires_at=expires_at,
        model=model,
        instructions=defaults.instructions,
        output_modalities=(defaults.modality,),
        audio=SessionAudio(
            input=SessionAudioInput(
                format=PcmFormat(),
                turn_detection=None if defaults.turn is None else server_vad(defaults.turn, defaults.idle_timeout_ms),
                transcription=Transcription(language=defaults.language) if defaults.transcribe else None,
            ),
            output=SessionAudioOutput(format=PcmFormat(), voice=defaults.voice or DEFAULT_VOICE, speed=defaults.speed),
        ),
        max_output_tokens=defaults.max_output_tokens or "inf",
        parallel_tool_calls=defaults.parallel_tools,
        reasoning=Reasoning(defaults.effort) if defaults.effort else None,
    )


def server_vad(turn: TurnOptions, idle_timeout_ms: int | None = None) -> ServerVad:
    return ServerVad(
        threshold=turn.threshold,
        prefix_padding_ms=turn.prefix_ms,
        silence_duration_ms=turn.silence_ms,
        idle_timeout_ms=idle_timeout_ms,
        create_response=turn.create_response,
        interrupt_response=turn.interrupt_response,
    )


def changed(now: T, new: Given[T], cleared: T) -> T:
    """A key left out changes nothing, null clears."""
    if isinstance(new, UnsetType):
        return now
    return cleared if new is None else new


def updated(now: SessionObject, patch: SessionPatch, defaults: SessionOptions) -> SessionObject:
    """The session with a client's changes. What has no "off" goes back to its default when cleared. Raises Refused."""
    first = initial_session(now.id, now.model, defaults, now.expires_at)
    return replace(
        now,
        type=patch.type,
        model=changed(now.model, patch.model, now.model),
        instructions=changed(now.instructions, patch.instructions, ""),
        output_modalities=_modalities(now.output_modalities, patch.output_modalities, first.output_modalities),
        audio=_audio(now.audio, patch.audio, first.audio),
        tools=_tools(now.tools, patch.tools, servers=defaults.servers is not None),
        tool_choice=changed(now.tool_choice, patch.tool_choice, first.tool_choice),
        max_output_tokens=changed(now.max_output_tokens, patch.max_output_tokens, first.max_output_tokens),
        truncation=changed(now.truncation, patch.truncation, first.truncation),
        tracing=changed(now.tracing, patch.tracing, None),
        include=changed(now.include, patch.include, None),
        prompt=changed(now.prompt, patch.prompt, None),
        parallel_tool_calls=changed(now.parallel_tool_calls, patch.parallel_tool_calls, first.parallel_tool_calls),
        reasoning=changed(now.reasoning, patch.reasoning, None),
        voiceagent=changed(now.voiceagent, patch.voiceagent, UNSET),
    )


def _modalities(now: tuple[Modality], new: Given[list[Modality]], cleared: tuple[Modality]) -> tuple[Modality]:
    if isinstance(new, UnsetType):
        return now
    if not new:
        return cleared
    return (one_modality(new, "session.output_modalities"),)


def one_modality(asked: list[Modality], param: str) -> Modality:
    """Raises Refused unless exactly one is asked for: the GA protocol never gives both."""
    if len(asked) != 1:
        raise Refused("invalid_value", 'Supported values are ["audio"] and ["text"].', param)
    return asked[0]


def _tools(now: Sequence[AnyTool], new: Given[Tools], *, servers: bool) -> Sequence[AnyTool]:
    return now if isinstance(new, UnsetType) else session_tools(new or (), servers=servers)


def _audio(now: SessionAudio, patch: Given[AudioPatch], first: SessionAudio) -> SessionAudio:
    if isinstance(patch, UnsetType) or patch is None:
        return now
    return SessionAudio(
        input=_input(now.input, patch.input, first.input),
        output=_output(now.output, patch.output, first.output),
    )


def _input(now: SessionAudioInput, patch: Given[AudioInputPatch], first: SessionAudioInput) -> SessionAudioInput:
    if isinstance(patch, UnsetType) or patch is None:
        return now
    return SessionAudioInput(
        format=changed(now.format, patch.format, first.format),
        turn_detection=_turn_detection(now.turn_detection, patch.turn_detection, first.turn_detection),
        transcription=_transcription(now.transcription, patch.transcription),
        noise_reduction=changed(now.noise_reduction, patch.noise_reduction, None),
    )


def _output(now: SessionAudioOutput, patch: Given[AudioOutputPatch], first: SessionAudioOutput) -> SessionAudioOutput:
    if isinstance(patch, UnsetType) or patch is None:
        return now
    return SessionAudioOutput(
        format=changed(now.format, patch.format, first.format),
        voice=changed(now.voice, patch.voice, first.voice),
        speed=changed(now.speed, patch.speed, first.speed),
    )


def _turn_detection(
    now: TurnDetection | None, patch: Given[TurnDetectionPatch], first: TurnDetection | None
) -> TurnDetection | None:
    """Another kind starts from its defaults; the same kind keeps what the client leaves out."""
    if isinstance(patch, UnsetType):
        return now
    if patch is None:
        return None
    kind = changed("semantic_vad" if isinstance(now, SemanticVad) else "server_vad", patch.type, "server_vad")
    if kind == "semantic_vad":
        return _semantic_vad(now if isinstance(now, SemanticVad) else SemanticVad(), patch)
    fresh = first if isinstance(first, ServerVad) else server_vad(TurnOptions())
    return _server_vad(now if isinstance(now, ServerVad) else fresh, patch, fresh)


def _server_vad(now: ServerVad, patch: TurnDetectionPatch, fresh: ServerVad) -> ServerVad:
    return ServerVad(
        threshold=changed(now.threshold, patch.threshold, fresh.threshold),
        prefix_padding_ms=changed(now.prefix_padding_ms, patch.prefix_padding_ms, fresh.prefix_padding_ms),
        silence_duration_ms=changed(now.silence_duration_ms, patch.silence_duration_ms, fresh.silence_duration_ms),
        idle_timeout_ms=changed(now.idle_timeout_ms, patch.idle_timeout_ms, None),
        create_response=changed(now.create_response, patch.create_response, True),
        interrupt_response=changed(now.interrupt_response, patch.interrupt_response, True),
    )


def _semantic_vad(now: SemanticVad, patch: TurnDetectionPatch) -> SemanticVad:
    return SemanticVad(
        eagerness=changed(now.eagerness, patch.eagerness, "auto"),
        create_response=changed(now.create_response, patch.create_response, True),
        interrupt_response=changed(now.interrupt_response, patch.interrupt_response, True),
    )


def _transcription(now: Transcription | None, patch: Given[TranscriptionPatch]) -> Transcription | None:
    if isinstance(patch, UnsetType):
        return now
    if patch is None:
        return None
    now = now or Transcription()
    return Transcription(
        model=changed(now.model, patch.model, DEFAULT_TRANSCRIBER),
        language=changed(now.language, patch.language, None),
        prompt=changed(now.prompt, patch.prompt, None),
        languages=changed(now.languages, patch.languages, UNSET),
        keywords=changed(now.keywords, patch.keywords, UNSET),
        delay=changed(now.delay, patch.delay, UNSET),
    )


def shown(session: SessionObject) -> SessionObject | TranscriptionSession:
    """What session.created and session.updated tell: only shapes that every known client's parser takes."""
    given = session.audio.input
    turn, transcription, noise = given.turn_detection, given.transcription, given.noise_reduction
    if isinstance(turn, ServerVad) and turn.silence_duration_ms is None:
        turn = replace(turn, silence_duration_ms=SILENCE_MS)
    if transcription is not None:
        transcription = replace(transcription, languages=UNSET, keywords=UNSET, delay=UNSET)
    if noise is not None and noise.type is None:
        noise = None
    audio_input = replace(given, turn_detection=turn, transcription=transcription, noise_reduction=noise)
    if session.type == "realtime":
        tools = without_secrets(session.tools)
        return replace(session, audio=replace(session.audio, input=audio_input), tools=tools)
    return TranscriptionSession(
        id=session.id,
        expires_at=session.expires_at,
        audio=HeardAudio(replace(audio_input, transcription=audio_input.transcription or Transcription())),
        include=session.include,
        voiceagent=session.voiceagent,
    )
