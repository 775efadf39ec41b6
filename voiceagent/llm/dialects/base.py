"""The dialect interface: what a vendor's wire format has to offer, and the streamed answer that is read through it.
Without I/O."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, Message, TextDelta, Thinking, ToolCall
from voiceagent.llm.dialects.calls import new_call_id
from voiceagent.llm.dialects.endings import BROKEN, Ending, Reason
from voiceagent.llm.dialects.layout import OPENING
from voiceagent.llm.dialects.markup import Habits, MarkupFilter, Split
from voiceagent.llm.dialects.text_calls import same_call
from voiceagent.llm.lenient import Json, SurrogateJoiner, carries_answer, decoded, objects_of, whole_characters
from voiceagent.llm.refusal import error_of, streamed_error
from voiceagent.llm.sse import EventTooLong, SseParser

Side = Literal["user", "assistant"]

MOST_DOCUMENT = 8_000_000
"""Bytes of an answer that comes as one JSON document."""
DONE = "[DONE]"


@dataclass(slots=True)
class Usage:
    """`input` counts the whole prompt, the part of it that was `cached` included; `output` includes reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0


class Reader(Protocol):
    """The reader of one answer's events. `ending` is what the last word for the answer's end meant, None before there
    was one; `word` is that word. `ended` is set once nothing follows at all."""

    ending: Ending | None
    word: str
    ended: bool
    usage: Usage

    def read(self, event: Json) -> Iterable[LlmEvent]:
        """What one event says, or a whole answer that was not streamed; nothing for what it does not know. While the
        model writes a tool call it says `Thinking()`."""
        ...

    def rest(self) -> Iterable[LlmEvent]:
        """The calls that were held back, when the stream is over. Raises EngineError when a tool call is cut off."""
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
    """One answer being read, in whatever dialect. It may come as server-sent events or as one JSON document.

    It is whole when its stream is over and its last word on why it ended tells of no failure, or there was no such word
    but its end mark has come; anything else is an answer that broke off. Content goes on after a reason as long as it
    comes: some servers send one with every piece. What cannot be read is passed over, unless it held a part of the
    answer."""

    def __init__(self, reader: Reader, tools: Collection[str] = (), habits: Habits | None = None) -> None:
        """`tools` are the names that may be called, also by a call written as text; `habits` is what earlier answers
        of the model have shown."""
        self._reader = reader
        self._tools = tools
        self._sse = SseParser()
        self._filter = MarkupFilter(habits)
        self._text, self._thoughts = SurrogateJoiner(), SurrogateJoiner()
        self._start: bytes | None = b""
        """What came before it was known how the answer comes."""
        self._document: bytearray | None = None
        self._called: list[ToolCall] = []
        self._spoke = False
        self._went_on = False
        """Content came after a reason to end, so the server's reasons mean nothing before the end of the stream."""
        self._with_content = False
        """The last reason came together with content."""

    @property
    def ended(self) -> bool:
        """Nothing follows."""
        return self._reader.ended

    @property
    def ending(self) -> bool:
        """The answer is whole and only its usage may follow."""
        return self.ended or (self._reader.ending is not None and not self._went_on)

    @property
    def surely_ending(self) -> bool:
        """So it is, and the reason stood alone, as at the end of a stream."""
        return self.ended or (self.ending and not self._with_content)

    @property
    def may_end(self) -> bool:
        """Should nothing more come, the answer is whole."""
        return self._reader.ending != BROKEN and (self.ended or self._reader.ending is not None)

    def feed(self, piece: bytes) -> Iterator[LlmEvent]:
        """More of the answer. Raises EngineError, after what came before the error."""
        if self._start is not None:
            start = (self._start + piece).removeprefix(b"\xef\xbb\xbf").lstrip()
            if not start:
                return
            piece, self._start = (start if start[:1] in b"{[" else self._start + piece), None
            if start[:1] in b"{[":
                self._document = bytearray()
        if self._document is not None:
            self._document += piece
            if len(self._document) > MOST_DOCUMENT:
                raise _unreadable("the answer is too long")
            return
        try:
            events = self._sse.feed(piece)
        except EventTooLong as error:
            if self.ending:
                self._reader.ended = True
                return
            raise _unreadable(str(error)) from None
        for data in events:
            yield from self._event(data)

    def finish(self) -> Iterator[LlmEvent]:
        """The last of the answer, once the stream is over. Raises EngineError, after what came before, where the answer
        is not whole."""
        yield from self._leftover()
        reader = self._reader
        if not self.may_end:
            yield from self._broken_off()
            raise self._why_broken()
        if joined := self._text.finish():
            yield from self._split(self._filter.push(joined))
        yield from self._split(self._filter.finish())
        yield from self._passed(reader.rest())
        for written in self._filter.calls:
            if written.name in self._tools and not any(same_call(written, (c.name, c.arguments)) for c in self._called):
                yield from self._passed([ToolCall(new_call_id(), written.name, written.arguments)])
        yield self._completed()

    def _leftover(self) -> Iterator[LlmEvent]:
        """What the end of the stream completes: a JSON document, or an event without the blank line after it."""
        if self._document is not None:
            values = decoded(self._document.decode("utf-8", "replace"))
            for value in values:
                yield from self._value(value)
            self._reader.ended = self._reader.ended or bool(values)
        elif (data := self._sse.finish()) is not None and (data.strip() == DONE or decoded(data)):
            yield from self._event(data)

    def _event(self, data: str) -> Iterator[LlmEvent]:
        if self.ended:
            return
        if data.strip() == DONE:
            self._reader.ended = True
            return
        values = decoded(data)
        if not values and carries_answer(data) and not self.ending:
            yield from self._broken_off()
            raise _unreadable("an event that is no JSON")
        for value in values:
            yield from self._value(value)

    def _value(self, value: JsonValue) -> Iterator[LlmEvent]:
        for event in objects_of(value):
            if (error := error_of(event)) is not None:
                if not self.ending:
                    yield from self._broken_off()
                    raise streamed_error(error)
                continue
            before, had_reason = self._reader.word, self._reader.ending is not None
            self._reader.word = ""
            content = False
            for found in self._reader.read(event):
                content = content or isinstance(found, ToolCall) or found not in (Thinking(), TextDelta(""))
                yield from self._passed([found])
            self._went_on = self._went_on or (had_reason and content)
            if self._reader.word:
                self._with_content = content
            else:
                self._reader.word = before

    def _passed(self, events: Iterable[LlmEvent]) -> Iterator[LlmEvent]:
        """The events as they go out: whole characters, text without marks."""
        for event in events:
            match event:
                case TextDelta(text):
                    yield from self._split(self._filter.push(self._text.push(text)))
                    if self._filter.reads_whole:  # a sign of life
                        yield Thinking()
                case Thinking(text):
                    if text:
                        self._filter.thought_apart()
                        text = self._thoughts.push(text)
                    yield Thinking(text)
                case ToolCall():
                    call = self._call(event)
                    self._called.append(call)
                    yield call
                case _:
                    yield event

    def _split(self, split: Split) -> Iterator[LlmEvent]:
        if split.thought:
            yield Thinking(whole_characters(split.thought))
        if split.spoken:
            self._spoke = True
            yield TextDelta(whole_characters(split.spoken))

    def _call(self, call: ToolCall) -> ToolCall:
        """Some servers leave marks or a namespace in the name."""
        name = call.name
        if self._tools and name not in self._tools:
            plain = name.split("<")[0].strip().removeprefix("functions.")
            name = plain if plain in self._tools else name
        return replace(call, name=whole_characters(name), arguments=whole_characters(call.arguments))

    def _broken_off(self) -> Iterator[LlmEvent]:
        yield from self._split(self._filter.break_off())

    def _why_broken(self) -> EngineError:
        reader = self._reader
        if reader.ending == BROKEN:
            if "malformed" in reader.word.lower() or "unexpected" in reader.word.lower():
                return EngineError("llm", "bad_response", "the language model made a call that cannot be read")
            return streamed_error(reader.word)
        how = "within its answer" if self._spoke or self._called else "without an answer"
        return EngineError("llm", "bad_response", f"the language model's stream ended {how}")

    def _completed(self) -> Completed:
        """Servers disagree on the reason for tool calls, so the calls themselves decide."""
        ending, usage = self._reader.ending, self._reader.usage
        reason: Reason = "stop" if ending is None or ending == BROKEN else ending
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._called else "stop"
        return Completed(reason, usage.input, usage.output, usage.cached)


def _unreadable(why: str) -> EngineError:
    return EngineError("llm", "bad_response", f"the language model's stream cannot be read: {why}")


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
