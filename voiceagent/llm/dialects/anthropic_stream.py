"""The reader of answers of Anthropic's messages API, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEvent, TextDelta, Thinking
from voiceagent.llm.dialects.base import Usage
from voiceagent.llm.dialects.calls import CallParts
from voiceagent.llm.dialects.endings import Ending, ending_of
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.lenient import (
    Json,
    first_count,
    id_of,
    index_of,
    json_text,
    object_of,
    objects_of,
    text_of,
    word_of,
)

_COUNTS = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_input_tokens": "cached_tokens",
    "cache_creation_input_tokens": "",
}
"""With what servers of another descent call them."""


@dataclass(slots=True)
class _Thought:
    """A block of thinking; `data` where it is sent encrypted."""

    type: str
    thinking: str
    signature: str
    data: str

    @property
    def kept(self) -> JsonValue:
        if self.type == "redacted_thinking":
            return {"type": self.type, "data": self.data}
        return {"type": self.type, "thinking": self.thinking, "signature": self.signature}


class MessagesReader:
    """Also of an answer that was not streamed: a message with all its blocks."""

    def __init__(self, recall: Recall) -> None:
        self.ending: Ending | None = None
        self.word = ""
        self.ended = False
        self.usage = Usage()
        self._recall = recall
        self._counted: dict[str, int] = {}
        self._calls: dict[int, CallParts] = {}
        """By their block's index, those being written."""
        self._thoughts: dict[int, _Thought] = {}
        self._index = 0
        """Of the latest block, where an event does not tell."""

    def read(self, event: Json) -> Iterator[LlmEvent]:
        given = index_of(event.get("index"))
        index = self._index if given is None else given
        match word_of(event.get("type")):
            case "message_start":
                yield from self._message(object_of(event.get("message")))
            case "message":
                yield from self._message(event)
                self.ended = True
            case "content_block_start":
                self._index = len(self._calls) + len(self._thoughts) if given is None else given
                yield from self._begin(self._index, object_of(event.get("content_block")))
            case "content_block_delta":
                yield from self._more(index, object_of(event.get("delta")))
            case "content_block_stop":
                yield from self._end(index)
            case "message_delta":
                self._count(object_of(event.get("usage")))
                self._stop(object_of(event.get("delta")).get("stop_reason"))
            case "message_stop":
                yield from self.rest()
                self.ended = True

    def rest(self) -> Iterator[LlmEvent]:
        if self.ending is None and not all(call.whole for call in self._calls.values()):
            raise EngineError("llm", "bad_response", "the language model's stream ended within a tool call")
        for index in sorted(self._calls):
            yield from self._end(index)

    def _message(self, message: Json) -> Iterator[LlmEvent]:
        self._count(object_of(message.get("usage")))
        content = message.get("content")
        for block in objects_of([{"type": "text", "text": content}] if isinstance(content, str) else content):
            self._index += 1
            yield from self._begin(self._index, block)
            yield from self._end(self._index)
        self._stop(message.get("stop_reason"))

    def _stop(self, reason: JsonValue) -> None:
        word = word_of(reason)
        if (ending := ending_of(word)) is not None:
            self.ending, self.word = ending, word

    def _begin(self, index: int, block: Json) -> Iterator[LlmEvent]:
        kind = word_of(block.get("type"))
        match kind:
            case "thinking" | "redacted_thinking":
                thought = text_of(block.get("thinking"))
                signature, data = text_of(block.get("signature")), text_of(block.get("data"))
                self._thoughts[index] = _Thought(kind, thought, signature, data)
                yield Thinking(thought)
            case "tool_use":
                self._calls[index] = CallParts(index, id_of(block.get("id")), word_of(block.get("name")))
                if (whole := json_text(block.get("input"))) not in ("", "{}", "[]"):
                    self._calls[index].arguments.append(whole)
                yield Thinking()
            case "text" | "":
                if text := text_of(block.get("text")):
                    yield TextDelta(text)

    def _more(self, index: int, delta: Json) -> Iterator[LlmEvent]:
        if text := text_of(delta.get("text")):
            yield TextDelta(text)
        thinking = text_of(delta.get("thinking"))
        if (thought := self._thoughts.get(index)) is not None:
            thought.thinking += thinking
            thought.signature += text_of(delta.get("signature"))
        if thinking or thought is not None:
            yield Thinking(thinking)
        if (call := self._calls.get(index)) is not None:
            call.arguments.append(json_text(delta.get("partial_json")))
            yield Thinking()

    def _end(self, index: int) -> Iterator[LlmEvent]:
        if (parts := self._calls.pop(index, None)) is None:
            return
        call = parts.call()
        if thoughts := [self._thoughts[place].kept for place in sorted(self._thoughts) if place < index]:
            self._recall.keep(call.id, {"thinking": thoughts})
        yield call

    def _count(self, usage: Json) -> None:
        """The end of the stream repeats some of the counts of its beginning, with newer values."""
        for name, other in _COUNTS.items():
            count = first_count(usage, name, other)
            if count or (name == "output_tokens" and name in usage):
                self._counted[name] = count
        counted = {name: self._counted.get(name, 0) for name in _COUNTS}
        cached = counted["cache_read_input_tokens"]
        prompt = counted["input_tokens"] + cached + counted["cache_creation_input_tokens"]
        self.usage = Usage(prompt, counted["output_tokens"], cached)
