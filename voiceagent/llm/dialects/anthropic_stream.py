"""The streamed answer of Anthropic's messages API, without I/O."""

from collections.abc import Iterator, Mapping

import msgspec
from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmEvent, TextDelta, Thinking
from voiceagent.llm.dialects.base import Reason, Usage
from voiceagent.llm.dialects.calls import CallParts, arguments_text
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.refusal import ServerError, streamed_error

_REASONS: Mapping[str, Reason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    thinking: str = ""
    signature: str = ""
    data: str = ""
    """Thinking that is sent encrypted."""


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Start(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Start | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: ServerError | None = None


class MessagesReader:
    def __init__(self, recall: Recall) -> None:
        self.reason: Reason | None = None
        self.ended = False
        self.usage = Usage()
        self._recall = recall
        self._counted = _Usage()
        self._calls: dict[int, CallParts] = {}
        """By their block's index, those being written."""
        self._thoughts: dict[int, _Block] = {}

    def read(self, data: str) -> Iterator[LlmEvent]:
        try:
            event = msgspec.json.decode(data, type=_Event)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise EngineError("llm", "bad_response", "the language model sent an event of no known kind") from None
        match event:
            case _Event(type="message_start", message=_Start(usage=_Usage() as usage)):
                self._count(usage)
            case _Event(type="content_block_start", content_block=_Block() as block):
                yield from self._begin(event.index, block)
            case _Event(type="content_block_delta", delta=_Delta() as delta):
                yield from self._more(event.index, delta)
            case _Event(type="content_block_stop"):
                yield from self._end(event.index)
            case _Event(type="message_delta"):
                if event.usage is not None:
                    self._count(event.usage)
                if event.delta is not None and event.delta.stop_reason:
                    self.reason = _REASONS.get(event.delta.stop_reason, "stop")
            case _Event(type="message_stop"):
                yield from self.rest()
                self.ended = True
            case _Event(type="error") if self.reason is None:
                raise streamed_error(event.error or ServerError())

    def rest(self) -> Iterator[LlmEvent]:
        if self.reason is None and not all(call.whole for call in self._calls.values()):
            raise EngineError("llm", "bad_response", "the language model's stream ended within a tool call")
        for index in sorted(self._calls):
            yield from self._end(index)

    def _begin(self, index: int, block: _Block) -> Iterator[LlmEvent]:
        match block.type:
            case "text" if block.text:
                yield TextDelta(block.text)
            case "thinking" | "redacted_thinking":
                self._thoughts[index] = block
                yield Thinking(block.thinking)
            case "tool_use":
                self._calls[index] = CallParts(index, block.id, block.name)
                if (whole := arguments_text(block.input)) not in ("", "{}"):
                    self._calls[index].arguments.append(whole)
                yield Thinking()

    def _more(self, index: int, delta: _Delta) -> Iterator[LlmEvent]:
        if delta.text:
            yield TextDelta(delta.text)
        if (thought := self._thoughts.get(index)) is not None:
            thought.thinking += delta.thinking
            thought.signature += delta.signature
            yield Thinking(delta.thinking)
        if (call := self._calls.get(index)) is not None:
            call.arguments.append(delta.partial_json)
            yield Thinking()

    def _end(self, index: int) -> Iterator[LlmEvent]:
        if (parts := self._calls.pop(index, None)) is None:
            return
        call = parts.call()
        if thoughts := [_kept(self._thoughts[place]) for place in sorted(self._thoughts) if place < index]:
            self._recall.keep(call.id, {"thinking": thoughts})
        yield call

    def _count(self, usage: _Usage) -> None:
        """The end of the stream repeats some of the counts of its beginning, with newer values."""
        for name in usage.__struct_fields__:
            if getattr(usage, name) is not None:
                setattr(self._counted, name, getattr(usage, name))
        counted = self._counted
        cached = counted.cache_read_input_tokens or 0
        prompt = (counted.input_tokens or 0) + cached + (counted.cache_creation_input_tokens or 0)
        self.usage = Usage(prompt, counted.output_tokens or 0, cached)


def _kept(block: _Block) -> JsonValue:
    if block.type == "redacted_thinking":
        return {"type": block.type, "data": block.data}
    return {"type": block.type, "thinking": block.thinking, "signature": block.signature}
