"""Options of a session, derived from the session object of OpenAI Realtime."""

from collections.abc import Mapping
from dataclasses import replace as with_options

from msgspec import UnsetType

from voiceagent.channels.realtime.audio import rate_of
from voiceagent.channels.realtime.mcp import functions_of, servers_of
from voiceagent.channels.realtime.session_object import (
    Prompt,
    SemanticVad,
    ServerVad,
    SessionObject,
    Transcription,
    TurnDetection,
    Voice,
    VoiceId,
)
from voiceagent.channels.realtime.tools import choice, specs
from voiceagent.session.options import SessionOptions
from voiceagent.turn.options import TurnOptions

DEFAULT_VOICE = "default"
"""Stands on the wire for the engine's own voice, since clients want a string there."""


def options(session: SessionObject, defaults: SessionOptions) -> SessionOptions:
    """How the session is to be held."""
    audio_input, output = session.audio.input, session.audio.output
    voice = voice_name(output.voice)
    heard, detection = audio_input.transcription, audio_input.turn_detection
    only_listens = session.type == "transcription"
    return with_options(
        defaults,
        instructions=session.instructions,
        modality=session.output_modalities[0],
        voice=defaults.voice if voice == DEFAULT_VOICE else voice,
        speed=output.speed,
        language=_language(heard) or defaults.language,
        asr_prompt=_asr_prompt(heard) or defaults.asr_prompt,
        transcribe=heard is not None or only_listens,
        output_rate=rate_of(output.format),
        max_output_tokens=None if session.max_output_tokens == "inf" else session.max_output_tokens,
        turn=_turn(detection, defaults.turn or TurnOptions()),
        tools=specs(functions_of(session.tools)),
        servers=None if defaults.servers is None else servers_of(session.tools),
        tool_choice=choice(session.tool_choice),
        parallel_tools=session.parallel_tool_calls,
        effort=session.reasoning.effort if session.reasoning else None,
        variables={**defaults.variables, **_variables(session.prompt)},
        idle_timeout_ms=(detection.idle_timeout_ms or None) if isinstance(detection, ServerVad) else None,
        listen_only=only_listens,
    )


def voice_name(voice: Voice) -> str:
    return voice.id if isinstance(voice, VoiceId) else voice


def _turn(detection: TurnDetection | None, base: TurnOptions) -> TurnOptions | None:
    match detection:
        case ServerVad():
            return with_options(
                base,
                threshold=detection.threshold,
                prefix_ms=detection.prefix_padding_ms,
                silence_ms=detection.silence_duration_ms,
                create_response=detection.create_response,
                interrupt_response=detection.interrupt_response,
            )
        case SemanticVad():
            return with_options(
                base,
                silence_ms=None,
                eagerness=detection.eagerness,
                create_response=detection.create_response,
                interrupt_response=detection.interrupt_response,
            )
        case None:
            return None


def _variables(prompt: Prompt | None) -> Mapping[str, str]:
    """What fills the `{{names}}` in the instructions. Which prompt is meant is not read: there are none stored here."""
    if prompt is None or prompt.variables is None:
        return {}
    return {name: value if isinstance(value, str) else value.text for name, value in prompt.variables.items()}


def _language(heard: Transcription | None) -> str | None:
    """The one language the client expects; of several none is chosen."""
    if heard is None:
        return None
    if heard.language or isinstance(heard.languages, UnsetType):
        return heard.language
    return heard.languages[0] if len(heard.languages) == 1 else None


def _asr_prompt(heard: Transcription | None) -> str | None:
    if heard is None:
        return None
    keywords = () if isinstance(heard.keywords, UnsetType) else heard.keywords
    return ", ".join(filter(None, (heard.prompt, *keywords)))
