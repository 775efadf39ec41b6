"""Answers of the proxy in OpenAI's shape: a whole completion, its chunks, and errors."""

import math
from dataclasses import dataclass, field

import msgspec

from voiceagent.errors import EngineError, Refused
from voiceagent.gateway.proxy.request import MODEL
from voiceagent.llm.base import Completed, LlmEvent, TextDelta, Thinking, ToolCall

DONE = b"data: [DONE]\n\n"
MOST_ANSWER = 2_000_000
"""Characters of an answer that is not streamed."""
STATUS = {
    "bad_request": 400,
    "content_filter": 400,
    "context_length": 400,
    "rate_limited": 429,
    "timeout": 504,
    "unavailable": 503,
    "unauthorized": 502,
    "bad_response": 502,
    "empty": 502,
}
"""Of our codes; 500 for others. What a wrong key of ours is to the service, is a bad gateway to the client."""
REFUSED_STATUS = {"model_not_found": 404, "request_timeout": 408, "request_too_large": 413, "server_draining": 503}
"""Else 400."""

Json = dict[str, object]


@dataclass
class ProxyError(Exception):
    """A request that is not accepted. `status` is HTTP's; `retry_after` in seconds, 0 when it is no use."""

    status: int
    code: str
    message: str
    retry_after: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """An HTTP answer that says what is wrong."""

    status: int
    body: Json
    retry_after: int = 0

    @classmethod
    def of(cls, error: EngineError | Refused | ProxyError) -> "Problem":
        match error:
            case ProxyError():
                return cls(error.status, _error(error.status, error.code, error.message), error.retry_after)
            case Refused():
                status = REFUSED_STATUS.get(error.code, 400)
                return cls(status, _error(status, error.code, error.message, error.param))
            case EngineError():
                status = STATUS.get(error.code, 500)
                code = "upstream_unauthorized" if error.code == "unauthorized" else error.code
                return cls(status, _error(status, code, error.message), math.ceil(error.retry_after))


class Chunks:
    """An answer as server-sent events, one for each of ours."""

    def __init__(self, answer_id: str, created: int, usage: bool) -> None:
        """`created` in Unix time. With `usage` the last chunk holds the tokens."""
        self._frame: Json = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": MODEL}
        self._usage = usage
        self._calls = 0

    def begin(self) -> bytes:
        return self._delta({"role": "assistant", "content": ""})

    def event(self, event: LlmEvent) -> bytes:
        """b"" where nothing is sent for it."""
        match event:
            case TextDelta(text):
                return self._delta({"content": text}) if text else b""
            case Thinking(text):
                return self._delta({"reasoning_content": text}) if text else b""
            case ToolCall():
                call: Json = {"index": self._calls, **_call(event)}
                self._calls += 1
                return self._delta({"tool_calls": [call]})
            case Completed():
                return self._end(event)

    def _delta(self, delta: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage: Json = {"usage": None} if self._usage else {}
        return sse({**self._frame, "choices": [choice], **usage})

    def _end(self, end: Completed) -> bytes:
        last = b""
        if self._usage:
            last = sse({**self._frame, "choices": [], "usage": _usage(end), "voiceagent": _of_ours(end)})
        return self._delta({}, end.reason) + last + DONE


@dataclass(slots=True)
class Whole:
    """An answer as one piece."""

    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    end: Completed = field(default_factory=Completed)
    _size: int = 0

    def event(self, event: LlmEvent) -> None:
        """Raises EngineError for an answer that does not end."""
        match event:
            case TextDelta(text):
                self._add(self.text, text)
            case Thinking(text):
                self._add(self.thoughts, text)
            case ToolCall():
                self.calls.append(event)
                self._size += len(event.arguments)
            case Completed():
                self.end = event
        if self._size > MOST_ANSWER:
            raise EngineError("llm", "bad_response", "the language model's answer is too long")

    def _add(self, to: list[str], text: str) -> None:
        to.append(text)
        self._size += len(text)

    def encode(self, answer_id: str, created: int) -> bytes:
        """As JSON."""
        message: Json = {
            "role": "assistant",
            "content": "".join(self.text) if self.text or not self.calls else None,
            "refusal": None,
        }
        if self.thoughts:
            message["reasoning_content"] = "".join(self.thoughts)
        if self.calls:
            message["tool_calls"] = [_call(call) for call in self.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.end.reason}
        return encode(
            {
                "id": answer_id,
                "object": "chat.completion",
                "created": created,
                "model": MODEL,
                "choices": [choice],
                "usage": _usage(self.end),
                "voiceagent": _of_ours(self.end),
            }
        )


def encode(content: Json) -> bytes:
    """JSON; half a surrogate pair becomes a question mark."""
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(content))


def _clean(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {key: _clean(inner) for key, inner in value.items()}
        case list():
            return [_clean(inner) for inner in value]
        case _:
            return value


def sse(content: Json) -> bytes:
    """A server-sent event."""
    return b"data: " + encode(content) + b"\n\n"


def _error(status: int, code: str, message: str, param: str | None = None) -> Json:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(end: Completed) -> Json:
    return {
        "prompt_tokens": end.input_tokens,
        "completion_tokens": end.output_tokens,
        "total_tokens": end.input_tokens + end.output_tokens,
        "prompt_tokens_details": {"cached_tokens": end.cached_tokens},
    }


def _of_ours(end: Completed) -> Json:
    """What OpenAI has no word for."""
    return {"endpoint": end.endpoint, "cost": end.cost}
