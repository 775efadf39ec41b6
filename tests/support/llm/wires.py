"""How the scripted language model speaks: the true wire format of each vendor, for one and the same scripted answer."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Json = Mapping[str, object]
Failure = Literal["rate_limited", "unavailable", "bad_request"]

_PIECE = re.compile(r"\s*(?:[!-~]+|[^\s!-~])|\s+")


@dataclass(frozen=True)
class Reply:
    """One scripted answer.

    `text` is streamed word by word (Chinese character by character), or piece by piece as given, after `thoughts` and
    before `calls` (name and arguments as JSON, sent in parts where the format has parts). Delays are in seconds. With
    `status` not 200 the answer is `error` as JSON, with `headers`. `failure` is an error in the stream, after all that.
    After `stall_after` chunks nothing more is sent until the client hangs up; after `reset_after` chunks the connection
    breaks. `raw` replaces the whole body, byte for byte, one chunk an element. `finish_reason` is OpenAI's word,
    translated; None and `done` False leave those out. `input_tokens` and `cached_tokens` are reported as usage when the
    client asks for it; output tokens are the pieces of thoughts and text.
    """

    text: str | Sequence[str] = ""
    thoughts: str = ""
    calls: Sequence[tuple[str, str]] = ()
    first_token_seconds: float = 0.0
    token_seconds: float = 0.0
    status: int = 200
    error: object = None
    headers: Mapping[str, str] | None = None
    failure: Failure | None = None
    stall_after: int | None = None
    reset_after: int | None = None
    raw: Sequence[bytes] | None = None
    finish_reason: str | None = "stop"
    done: bool = True
    input_tokens: int = 0
    cached_tokens: int = 0

    @property
    def pieces(self) -> list[str]:
        return _PIECE.findall(self.text) if isinstance(self.text, str) else list(self.text)

    @property
    def thought_pieces(self) -> list[str]:
        return _PIECE.findall(self.thoughts)

    @property
    def output_tokens(self) -> int:
        return len(self.pieces) + len(self.thought_pieces)


class Wire(Protocol):
    path: str
    """Of requests, as a Starlette route."""
    base: str
    """What a client's base address ends with."""

    def messages(self, body: Json) -> object:
        """The talk, as the format has it."""
        ...

    def chunks(self, reply: Reply, body: Json) -> Iterator[bytes]: ...


class ChatWire:
    """OpenAI's chat completions."""

    path = "/v1/chat/completions"
    base = "/v1"

    def messages(self, body: Json) -> object:
        return body["messages"]

    def chunks(self, reply: Reply, body: Json) -> Iterator[bytes]:
        for piece in reply.thought_pieces:
            yield _delta({"reasoning_content": piece})
        for piece in reply.pieces:
            yield _delta({"content": piece})
        for index, (name, arguments) in enumerate(reply.calls):
            start = {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
            yield _delta({"tool_calls": [{"index": index, **start}]})
            for part in _parts(arguments):
                yield _delta({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
        if reply.failure is not None:
            codes = {"rate_limited": "rate_limit_exceeded", "unavailable": "server_error"}
            yield event({"error": {"code": codes.get(reply.failure, "invalid_request_error"), "message": "secret"}})
        if reply.finish_reason is not None:
            reason = "tool_calls" if reply.calls and reply.finish_reason == "stop" else reply.finish_reason
            yield _delta({}, reason)
        options = body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") is True:
            usage = {
                "prompt_tokens": reply.input_tokens,
                "completion_tokens": reply.output_tokens,
                "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
            }
            yield event({"object": "chat.completion.chunk", "choices": [], "usage": usage})
        if reply.done:
            yield b"data: [DONE]\n\n"


class MessagesWire:
    """Anthropic's messages."""

    path = "/v1/messages"
    base = ""

    def messages(self, body: Json) -> object:
        return body["messages"]

    def chunks(self, reply: Reply, body: Json) -> Iterator[bytes]:
        usage = {
            "input_tokens": reply.input_tokens - reply.cached_tokens,
            "cache_read_input_tokens": reply.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
        yield _named({"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "usage": usage}})
        yield _named({"type": "ping"})
        for index, (block, deltas) in enumerate(self._blocks(reply)):
            yield _named({"type": "content_block_start", "index": index, "content_block": block})
            for delta in deltas:
                yield _named({"type": "content_block_delta", "index": index, "delta": delta})
            yield _named({"type": "content_block_stop", "index": index})
        if reply.failure is not None:
            kinds = {"rate_limited": "rate_limit_error", "unavailable": "overloaded_error"}
            kind = kinds.get(reply.failure, "invalid_request_error")
            yield _named({"type": "error", "error": {"type": kind, "message": "secret"}})
        if reply.finish_reason is not None:
            reasons = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
            reason = "tool_use" if reply.calls and reply.finish_reason == "stop" else reasons[reply.finish_reason]
            usage = {"output_tokens": reply.output_tokens}
            yield _named({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})
        if reply.done:
            yield _named({"type": "message_stop"})

    def _blocks(self, reply: Reply) -> Iterator[tuple[Json, list[Json]]]:
        if reply.thoughts:
            deltas: list[Json] = [{"type": "thinking_delta", "thinking": piece} for piece in reply.thought_pieces]
            signature = {"type": "signature_delta", "signature": "signed"}
            yield {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]
        if reply.pieces:
            yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.pieces]
        for number, (name, arguments) in enumerate(reply.calls):
            parts: list[Json] = [{"type": "input_json_delta", "partial_json": part} for part in _parts(arguments)]
            empty = {"type": "input_json_delta", "partial_json": ""}
            yield {"type": "tool_use", "id": f"call_{number}", "name": name, "input": {}}, [empty, *parts]


class ContentsWire:
    """Gemini's contents."""

    path = "/v1beta/models/{model}:streamGenerateContent"
    base = ""

    def messages(self, body: Json) -> object:
        return body["contents"]

    def chunks(self, reply: Reply, body: Json) -> Iterator[bytes]:
        parts: list[Json] = [{"text": piece, "thought": True} for piece in reply.thought_pieces]
        parts += [{"text": piece} for piece in reply.pieces]
        parts += [
            {"functionCall": {"name": name, "args": json.loads(arguments)}, "thoughtSignature": "signed"}
            for name, arguments in reply.calls
        ]
        usage = {
            "promptTokenCount": reply.input_tokens,
            "cachedContentTokenCount": reply.cached_tokens,
            "candidatesTokenCount": len(reply.pieces),
            "thoughtsTokenCount": len(reply.thought_pieces),
        }
        for part in parts:
            yield event({"candidates": [{"content": {"role": "model", "parts": [part]}}], "usageMetadata": usage})
        if reply.failure is not None:
            kinds = {"rate_limited": (429, "RESOURCE_EXHAUSTED"), "unavailable": (503, "UNAVAILABLE")}
            code, status = kinds.get(reply.failure, (400, "INVALID_ARGUMENT"))
            yield event({"error": {"code": code, "status": status, "message": "secret"}})
        if reply.finish_reason is not None:
            reasons = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
            candidate = {"content": {"role": "model"}, "finishReason": reasons[reply.finish_reason], "index": 0}
            yield event({"candidates": [candidate], "usageMetadata": usage})


def event(content: Json) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _named(content: Json) -> bytes:
    return f"event: {content['type']}\n".encode() + event(content)


def _delta(delta: Json, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event({"object": "chat.completion.chunk", "choices": [choice]})


def _parts(arguments: str) -> list[str]:
    return [arguments[start : start + 5] for start in range(0, len(arguments), 5)]
