"""Engines: one of each stage, for the whole process, and the kinds of plug-ins that they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from voiceagent.asr.base import ASR_ENGINES, AsrEngine
from voiceagent.llm.base import LLM_ENGINES, LlmEngine
from voiceagent.plugins import PluginKind
from voiceagent.tts.base import TTS_ENGINES, TtsEngine
from voiceagent.vad.base import VAD_ENGINES, VadEngine

EngineStage = Literal["vad", "asr", "llm", "tts"]

KINDS: Mapping[
    EngineStage, PluginKind[VadEngine] | PluginKind[AsrEngine] | PluginKind[LlmEngine] | PluginKind[TtsEngine]
] = {
    "vad": VAD_ENGINES,
    "asr": ASR_ENGINES,
    "llm": LLM_ENGINES,
    "tts": TTS_ENGINES,
}
"""The kinds of engines by stage, which is the name of their table in the configuration."""


@dataclass(frozen=True, slots=True)
class Engines:
    """One engine of each stage, for the whole process."""

    vad: VadEngine
    asr: AsrEngine
    llm: LlmEngine
    tts: TtsEngine
