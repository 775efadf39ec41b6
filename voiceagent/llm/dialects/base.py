"""What a vendor's wire format has to offer, and the streamed answer that is read through it. Without I/O."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, Message, TextDelta, ToolCall
from voiceagent.llm.dialects.recall import Json
from voiceagent.llm.sse import EventTooLong, SseParser

Reason = Literal["stop", "length", "content_filter", "tool_calls"]
Side = Literal["user", "assistant"]

OPENING = "..."
"""What the user says in a prompt that does not begin with the user, for vendors that insist on it."""


@dataclass(slots=True)
class Usage:
    """`input` counts the whole prompt, the part of it that was `cached` included; `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0


class Reader(Protocol):
    """Reads one answer's events. `reason` is set once the answer is whole and only its usage may follow, `ended` once
    nothing follows at all."""

    reason: Reason | None
    ended: bool
    usage: Usage

    def read(self, data: str) -> Iterable[LlmEvent]:
        """What one server-sent event says; nothing for those that only keep the connection alive. While the model
        writes a tool call it says `Thinking()`. Raises EngineError for what cannot be read and for the server's own
        errors."""
        ...

    def rest(self) -> Iterable[LlmEvent]:
        """What was held back, when the stream is over. Raises EngineError when a tool call is cut off."""
        ...


class Dialect(Protocol):
    @property
    def url(self) -> str:
        """Where requests are posted."""
        ...

    @property
    def probe(self) -> str:
        """What can be asked for to open the connection and to try the key, at no cost."""
        ...

    def headers(self, key: str) -> dict[str, str]:
        """`key` is '' where there is none."""
        ...

    def body(self, request: LlmRequest) -> Json: ...

    def mended(self, refusal: bytes, sent: Mapping[str, JsonValue]) -> "tuple[str, Dialect] | None":
        """After the server refused what was sent with this answer: the field it does not want and the dialect to try
        without it; None when nothing else can be tried."""
        ...

    def reader(self) -> Reader: ...


class Answer:
    """One streamed answer being read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._sse = SseParser()
        self._spoke = False
        self._called = False

    @property
    def ended(self) -> bool:
        """Nothing follows."""
        return self._reader.ended

    @property
    def ending(self) -> bool:
        """The answer is whole and only its usage may follow."""
        return self.ended or self._reader.reason is not None

    def feed(self, piece: bytes) -> Iterator[LlmEvent]:
        """More of the answer. Raises EngineError, after what came before the error."""
        try:
            events = self._sse.feed(piece)
        except EventTooLong as error:
            raise EngineError("llm", "bad_response", f"the language model's stream cannot be read: {error}") from None
        for data in events:
            if not self.ended:
                yield from self._watched(self._reader.read(data))

    def finish(self) -> Iterator[LlmEvent]:
        """The last of the answer, once the stream is over. A stream that just ends after some text is taken as a whole
        answer (some servers end so, and the text has been heard already); one that ends without any raises
        EngineError."""
        yield from self._watched(self._reader.rest())
        if not (self._spoke or self._called or self.ending):
            raise EngineError("llm", "bad_response", "the language model's stream ended without an answer")
        yield self._completed()

    def _watched(self, events: Iterable[LlmEvent]) -> Iterator[LlmEvent]:
        for event in events:
            self._spoke = self._spoke or isinstance(event, TextDelta)
            self._called = self._called or isinstance(event, ToolCall)
            yield event

    def _completed(self) -> Completed:
        """Servers disagree on the reason for tool calls, so the calls themselves decide."""
        reason, usage = self._reader.reason or "stop", self._reader.usage
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._called else "stop"
        return Completed(reason, usage.input, usage.output, usage.cached)


def instructions(messages: Iterable[Message]) -> str:
    """All system messages in one text, for vendors that take them apart from the talk."""
    return "\n\n".join(message.content for message in messages if message.role == "system" and message.content.strip())


def alternating(
    messages: Iterable[Message], parts_of: Callable[[Message], list[Json]]
) -> list[tuple[Side, list[Json]]]:
    """The talk as turns of user and assistant by turns, the first one the user's; `parts_of` writes a message's parts
    in the dialect. Tool results are on the user's side. Messages without a part are left out."""
    turns: list[tuple[Side, list[Json]]] = []
    for message in messages:
        if message.role == "system" or not (parts := parts_of(message)):
            continue
        side: Side = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1][0] == side:
            turns[-1][1].extend(parts)
        else:
            turns.append((side, parts))
    if not turns or turns[0][0] == "assistant":
        turns.insert(0, ("user", parts_of(Message("user", OPENING))))
    return turns


def refused_field(refusal: bytes, sent: Mapping[str, JsonValue], fields: Iterable[str]) -> str | None:
    """The one of `fields` that was sent and that the refusal names."""
    return next((name for name in fields if name in sent and name.encode() in refusal), None)


def merged(base: Mapping[str, JsonValue], extra: Mapping[str, JsonValue]) -> Json:
    """`base` with `extra` added; extra wins, and tables of both are merged likewise."""
    result = dict(base)
    for name, value in extra.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
