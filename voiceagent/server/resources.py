"""Resources of a server process beside its connections: engines, memory, tools, phrases made in advance."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from voiceagent import extras
from voiceagent.asr.base import ASR_ENGINES, AsrEngine
from voiceagent.assets import ASSETS
from voiceagent.audio import wav
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.guard.options import GuardSection
from voiceagent.guard.rails import guarded
from voiceagent.llm.base import LLM_ENGINES, LlmEngine
from voiceagent.llm.layers import put_around
from voiceagent.llm.remote import RemoteLlm
from voiceagent.memory.base import MEMORY_STORES, MemoryStore
from voiceagent.models.store import ModelStore
from voiceagent.section import EngineSection
from voiceagent.session.context import SessionResources
from voiceagent.session.phrases import Fillers, Phrase, SpeakingStyle, render
from voiceagent.settings import Settings
from voiceagent.tools.build import make_toolbox
from voiceagent.tools.mcp.client import ClientMcp
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tracing.options import tracing_of
from voiceagent.tts.base import TTS_ENGINES, TtsEngine, TtsRequest
from voiceagent.tts.cache import CachedTts
from voiceagent.tts.checked import CheckedTts
from voiceagent.tts.normalised import NormalisedTts
from voiceagent.tts.retried import RetriedTts
from voiceagent.vad.base import VAD_ENGINES, VadEngine

if TYPE_CHECKING:  # their packages are optional
    from voiceagent.tracing.spans import TraceRecorder
    from voiceagent.turn.smart_turn import SmartTurn

log = logging.getLogger(__name__)

CLIENT_RATE = 24_000
"""What most clients play; for others fillers are made when they come."""
BUNDLED_APOLOGY = ASSETS / "apology-en.wav"
"""Said when the voice itself cannot be reached even at the start."""
BUNDLED_APOLOGY_TEXT = "Sorry, something went wrong. Please try again."


def make_engines(
    settings: Settings,
    *,
    vad: VadEngine | None = None,
    asr: AsrEngine | None = None,
    llm: LlmEngine | None = None,
    tts: TtsEngine | None = None,
) -> Engines:
    """Build the configured engines, but for those that are given, without loading anything. Raises ConfigError."""
    models = ModelStore(settings.models_dir)
    return Engines(
        vad=vad or VAD_ENGINES.make("[vad]", settings.vad.with_options(), models),
        asr=asr or ASR_ENGINES.make("[asr]", settings.asr.with_options(), models),
        llm=llm or make_llm(settings),
        tts=make_voice(tts or TTS_ENGINES.make("[tts]", settings.tts.with_options(), models), settings),
    )


def make_voice(engine: TtsEngine, settings: Settings) -> TtsEngine:
    """The engine with what every voice has: it is checked at the start, asked once more where it fails, remembers what
    it said, and is given words for figures."""
    voice: TtsEngine = CheckedTts(engine, voice=settings.agent.voice, language=settings.agent.language)
    voice = RetriedTts(voice, settings.deadlines.tts_seconds / 2)
    if megabytes := settings.playout.speech_cache_mb:
        voice = CachedTts(voice, megabytes)
    return NormalisedTts(voice) if settings.tts.normalise else voice


def make_llm(settings: Settings) -> LlmEngine:
    """The language model within its guard rails and tracing. Raises ConfigError."""
    section = settings.llm_section
    engine = LLM_ENGINES.make("[llm]", section.with_options(), ModelStore(settings.models_dir))
    return equipped(engine, section, settings.guard, tracing_of(settings.tracing))


def equipped(
    engine: LlmEngine, section: EngineSection, guard: GuardSection, tracing: "TraceRecorder | None"
) -> LlmEngine:
    """Any language model (`section` is what `[llm]` says of it) behind guard rails, with spans of what lies behind
    them. Raises ConfigError."""

    def layer(engine: LlmEngine) -> LlmEngine:
        return guarded(engine if tracing is None else traced(engine, tracing), guard)

    def traced(inner: LlmEngine, tracing: "TraceRecorder") -> LlmEngine:
        from voiceagent.tracing.llm import Target, TracedLlm  # the package it needs is there if there is tracing

        options = {**section.with_options(), **(engine.address if isinstance(engine, RemoteLlm) else {})}
        return TracedLlm(inner, tracing, Target.of(section.engine, options), engine)

    return put_around(engine, layer)


@asynccontextmanager
async def open_shared(
    settings: Settings, engines: Engines, toolbox: Toolbox | None = None
) -> AsyncIterator[tuple[SessionResources, MemoryStore | None]]:
    """Load the engines (side by side), the memory and the tools (those that are configured, unless others are given);
    close them all at the end. Raises ConfigError."""
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            for stage, engine in (
                ("vad", engines.vad),
                ("asr", engines.asr),
                ("llm", engines.llm),
                ("tts", engines.tts),
            ):
                stack.push_async_callback(engine.close)
                tasks.create_task(open_engine(stage, engine))
        memory: MemoryStore | None = None
        if settings.memory.enabled:
            memory = MEMORY_STORES.make("[memory]", settings.memory.with_options())
            stack.push_async_callback(memory.close)
            await memory.open()
        model: SmartTurn | None = None
        if settings.turn.model:
            extras.need("onnxruntime", "[turn] model")
            from voiceagent.turn import smart_turn

            model = smart_turn.SmartTurn(ModelStore(settings.models_dir))
            stack.push_async_callback(model.close)
            await model.open()
        if toolbox is None:
            toolbox = make_toolbox(settings.tools)
        stack.push_async_callback(toolbox.close)
        await toolbox.open()
        apology = await render_apology(engines.tts, settings)
        fillers = Fillers(engines.tts, settings.filler)
        if settings.filler.after_ms or toolbox:
            await fillers.prepare(
                SpeakingStyle(fillers.language(settings.agent.language), CLIENT_RATE, settings.agent.voice)
            )
        tool_server = partial(ClientMcp, settings.tools)
        yield SessionResources(engines, settings.session, apology, model, toolbox, fillers, tool_server), memory


async def open_engine(stage: str, engine: VadEngine | AsrEngine | LlmEngine | TtsEngine) -> None:
    """Open an engine, and log when it begins to load and how long it took."""
    log.info("%s: loading", stage)
    began = time.monotonic()
    await engine.open()
    log.info("%s: ready after %.1f s", stage, time.monotonic() - began)


async def render_apology(tts: TtsEngine, settings: Settings) -> Phrase:
    """The apology in the agent's voice; where that cannot be had now, the bundled recording."""
    agent = settings.agent
    try:
        apology = await render(tts, TtsRequest(agent.apology, agent.voice, agent.language))
        if apology is not None:
            return apology
    except (EngineError, TimeoutError) as error:
        log.warning("the apology cannot be spoken by the configured voice (%s): using the bundled one", error)
    pcm, rate = await asyncio.to_thread(wav.read, BUNDLED_APOLOGY)
    return Phrase(BUNDLED_APOLOGY_TEXT, pcm, rate)
