"""What every language model offers: messages in, a stream of text out."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """One request. `max_tokens` None leaves the engine's default in force."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer, to be appended as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Completed:
    """Always the last event. Token counts are the endpoint's own, 0 where it tells none."""

    reason: Literal["stop", "length", "content_filter"] = "stop"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


LlmEvent = TextDelta | Completed


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
