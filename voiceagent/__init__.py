"""A runtime for real-time voice conversations: audio in, audio out, everything between streamed.

What is exported here is imported when it is first used: `import voiceagent` alone is quick and needs no extra.
"""

import importlib
import os
from typing import TYPE_CHECKING

from voiceagent import device_client

if TYPE_CHECKING:
    from voiceagent.agent.agent import Agent, create_app, serve
    from voiceagent.agent.app import AgentApp
    from voiceagent.agent.chat import AgentChat, ChatCall, ChatClosed, ChatReply, ChatTimings
    from voiceagent.asr.base import AsrEngine, AsrHint, AsrStream, Transcript
    from voiceagent.errors import ConfigError, EngineError, Refused, VoiceagentError
    from voiceagent.llm.base import Caller, Completed, LlmEngine, LlmRequest, TextDelta
    from voiceagent.memory.base import MemoryStore
    from voiceagent.session.session import Session
    from voiceagent.settings import Settings
    from voiceagent.tools.base import Tool, ToolError, ToolPolicy, ToolSource
    from voiceagent.tools.functions import tool
    from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest
    from voiceagent.vad.base import VadEngine, VadStream

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AgentApp",
    "AgentChat",
    "AsrEngine",
    "AsrHint",
    "AsrStream",
    "Caller",
    "ChatCall",
    "ChatClosed",
    "ChatReply",
    "ChatTimings",
    "Completed",
    "ConfigError",
    "EngineError",
    "LlmEngine",
    "LlmRequest",
    "MemoryStore",
    "Refused",
    "Session",
    "Settings",
    "TextDelta",
    "Tool",
    "ToolError",
    "ToolPolicy",
    "ToolSource",
    "Transcript",
    "TtsAudio",
    "TtsEngine",
    "TtsRequest",
    "VadEngine",
    "VadStream",
    "VoiceagentError",
    "create_app",
    "serve",
    "tool",
]

_MODULES = {
    "voiceagent.agent.agent": ("Agent", "create_app", "serve"),
    "voiceagent.agent.app": ("AgentApp",),
    "voiceagent.agent.chat": ("AgentChat", "ChatCall", "ChatClosed", "ChatReply", "ChatTimings"),
    "voiceagent.asr.base": ("AsrEngine", "AsrHint", "AsrStream", "Transcript"),
    "voiceagent.errors": ("ConfigError", "EngineError", "Refused", "VoiceagentError"),
    "voiceagent.llm.base": ("Caller", "Completed", "LlmEngine", "LlmRequest", "TextDelta"),
    "voiceagent.memory.base": ("MemoryStore",),
    "voiceagent.session.session": ("Session",),
    "voiceagent.settings": ("Settings",),
    "voiceagent.tools.base": ("Tool", "ToolError", "ToolPolicy", "ToolSource"),
    "voiceagent.tools.functions": ("tool",),
    "voiceagent.tts.base": ("TtsAudio", "TtsEngine", "TtsRequest"),
    "voiceagent.vad.base": ("VadEngine", "VadStream"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
"""Where what is exported is defined."""


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# onnxruntime 1.29 and later report usage unless told not to before their import; a voice server must not phone home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

device_client.make_importable()
