"""What every language model offers: messages in, a stream of text and tool calls out."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from voiceagent.plugins import PluginKind

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["minimal", "low", "medium", "high", "xhigh"]

INSTRUCTIONS = (
    "You are a friendly voice assistant. Your words are spoken aloud: answer in one or two short plain sentences, "
    "without lists, markup or emoji, in the language of the user."
)
"""The system prompt of an agent that has none of its own."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function the model may call. `parameters` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The model must call this one."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants this function called. `arguments` is JSON text as the model wrote it, which may be wrong."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """An assistant's message may hold `tool_calls`; a tool's is the result of the call `tool_call_id`."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a request is made: what routes, limits, budgets and caches go by. Empty where it is not known.

    `tenant` is the name of the API key; `turn` counts the user's turns so far; `speculative` tells that the turn may
    not be over; `alone` that the question stands without a talk before it, so its answer may be kept for others."""

    session: str = ""
    user: str = ""
    tenant: str = ""
    language: str | None = None
    turn: int = 0
    speculative: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """One request. `max_tokens` and `effort` None leave the engine's default in force."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tools: bool = True
    effort: Effort | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer, to be appended as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """The model reasons; `text` is what it shows of that, often nothing. Never spoken."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """Always the last event. Token counts are the endpoint's own, 0 where it tells none; `cost` is what they come to at
    the configured prices, 0 where none are; `endpoint` is the configured name of who answered."""

    reason: Literal["stop", "length", "content_filter", "tool_calls"] = "stop"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    endpoint: str = ""


LlmEvent = TextDelta | Thinking | ToolCall | Completed
"""A ToolCall comes whole, once its arguments are complete."""


class LlmEngine(Protocol):
    @property
    def talk_tokens(self) -> int | None:
        """How many tokens of conversation a prompt may hold, known once open; None where the engine sets no limit."""
        ...

    async def open(self) -> None:
        """Load or connect, and warm up. Raises ConfigError when something is missing, naming the mend."""
        ...

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Stream one answer. Closing the generator early cancels the request at the endpoint.
        Raises EngineError (stage "llm")."""
        ...

    async def close(self) -> None: ...


LLM_ENGINES = PluginKind("llm", LlmEngine)
"""The LLM engines that a configuration may name."""
