"""Everything a server process holds beyond its connections: engines, memory, numbers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from voiceagent import engines as registry
from voiceagent import extras
from voiceagent.asr.base import AsrEngine
from voiceagent.assets import ASSETS
from voiceagent.audio import wav
from voiceagent.engines import Engines
from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEngine
from voiceagent.memory.base import MemoryStore
from voiceagent.memory.sqlite import SqliteMemory
from voiceagent.models.store import ModelStore
from voiceagent.session.context import SessionResources
from voiceagent.session.phrases import Fillers, Phrase, SpeakingStyle, render
from voiceagent.settings import Settings
from voiceagent.tools.build import make_toolbox
from voiceagent.tools.toolbox import Toolbox
from voiceagent.tts.base import TtsEngine, TtsRequest
from voiceagent.tts.cache import CachedTts
from voiceagent.vad.base import VadEngine

if TYPE_CHECKING:  # its package is optional
    from voiceagent.turn.smart_turn import SmartTurn

log = logging.getLogger(__name__)

CLIENT_RATE = 24_000
"""What most clients play; for others fillers are made when they come."""
BUNDLED_APOLOGY = ASSETS / "apology-en.wav"
"""Said when the voice itself cannot be reached even at the start."""
BUNDLED_APOLOGY_TEXT = "Sorry, something went wrong. Please try again."


def make_engines(settings: Settings) -> Engines:
    """Build the configured engines without loading anything. Raises ConfigError."""
    models = ModelStore(settings.models_dir)
    return Engines(
        vad=cast(VadEngine, registry.make("vad", settings.vad.with_options(), models)),
        asr=cast(AsrEngine, registry.make("asr", settings.asr.with_options(), models)),
        llm=make_llm(settings),
        tts=kept(cast(TtsEngine, registry.make("tts", settings.tts.with_options(), models)), settings),
    )


def kept(voice: TtsEngine, settings: Settings) -> TtsEngine:
    """The voice with a memory of what it said, unless that is not wanted."""
    megabytes = settings.playout.speech_cache_mb
    return CachedTts(voice, megabytes) if megabytes else voice


def make_llm(settings: Settings) -> LlmEngine:
    """The language model alone. Raises ConfigError."""
    models = ModelStore(settings.models_dir)
    return cast(LlmEngine, registry.make("llm", settings.llm_section.with_options(), models))


@asynccontextmanager
async def open_shared(
    settings: Settings, engines: Engines, toolbox: Toolbox | None = None
) -> AsyncIterator[tuple[SessionResources, MemoryStore | None]]:
    """Load the engines (side by side), the memory and the tools (those that are configured, unless others are given);
    close them all at the end. Raises ConfigError."""
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            for engine in (engines.vad, engines.asr, engines.llm, engines.tts):
                stack.push_async_callback(engine.close)
                tasks.create_task(engine.open())
        memory: MemoryStore | None = None
        if settings.memory.path:
            memory = SqliteMemory(Path(settings.memory.path))
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
        yield SessionResources(engines, settings, apology, model, toolbox, fillers), memory


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
