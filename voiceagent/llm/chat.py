"""The OpenAI chat completion format without I/O: the request's body, the streamed answer, the errors."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec
from pydantic import JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, Message
from voiceagent.llm.sse import EventTooLong, SseParser
from voiceagent.llm.thinking import ThinkFilter

_REASONS: Mapping[str, Literal["length", "content_filter"]] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _CachedTokens(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _CachedTokens | None = None


class _Error(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: _Error | str | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between servers that all call themselves OpenAI-compatible."""

    stream_options: bool = True
    max_tokens_field: str = "max_tokens"

    def mended(self, refusal: bytes) -> "Dialect | None":
        """The dialect to try after the server refused a request with this body; None when nothing else can be tried."""
        if self.stream_options and b"stream_options" in refusal:
            return Dialect(False, self.max_tokens_field)
        if self.max_tokens_field == "max_tokens" and b"max_tokens" in refusal:
            return Dialect(self.stream_options, "max_completion_tokens")
        return None


def body(
    messages: tuple[Message, ...], fields: Mapping[str, JsonValue], max_tokens: int | None, dialect: Dialect
) -> bytes:
    """The JSON of a streaming request; `fields` are sent as they are. A lone surrogate becomes a question mark."""
    content: dict[str, JsonValue] = {}
    if dialect.stream_options:
        content["stream_options"] = {"include_usage": True}
    if max_tokens is not None:
        content[dialect.max_tokens_field] = max_tokens
    content.update(fields)
    content["messages"] = [{"role": message.role, "content": message.content} for message in messages]
    content["stream"] = True
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


class Answer:
    """One streamed answer being read. After each `feed`: `spoke` says whether any text has come, `ending` that the
    answer is whole and only its usage may follow, `ended` that nothing follows at all."""

    def __init__(self) -> None:
        self.spoke = False
        self.ended = False
        self._sse = SseParser()
        self._filter = ThinkFilter()
        self._finish_reason: str | None = None
        self._usage = _Usage()

    @property
    def ending(self) -> bool:
        return self.ended or self._finish_reason is not None

    def feed(self, piece: bytes) -> tuple[str, bool]:
        """More of the answer's text, and whether the piece held any event at all (servers send comments to keep the
        connection alive, which are no progress). Raises EngineError for errors the server sends in the stream."""
        try:
            events = self._sse.feed(piece)
        except EventTooLong as error:
            raise EngineError("llm", "bad_response", f"the language model's stream cannot be read: {error}") from None
        text = "".join(self._event(data) for data in events if not self.ended)
        self.spoke = self.spoke or bool(text)
        return text, bool(events)

    def finish(self) -> str:
        """The last of the text, once the stream is over. A stream that just ends after some text is taken as a whole
        answer (some servers end so, and the text has been heard already); one that ends without any raises
        EngineError."""
        if not self.spoke and not self.ending:
            raise EngineError("llm", "bad_response", "the language model's stream ended without an answer")
        return self._filter.finish()

    def completed(self) -> Completed:
        details = self._usage.prompt_tokens_details
        return Completed(
            reason=_REASONS.get(self._finish_reason or "", "stop"),
            input_tokens=self._usage.prompt_tokens or 0,
            output_tokens=self._usage.completion_tokens or 0,
            cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
        )

    def _event(self, data: str) -> str:
        if data.strip() == "[DONE]":
            self.ended = True
            return ""
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except msgspec.MsgspecError:
            raise EngineError("llm", "bad_response", "the language model sent an event that is no chunk") from None
        if chunk.error is not None and not self.ending:
            raise _streamed_error(chunk.error)
        self._usage = chunk.usage or self._usage
        text = ""
        for choice in chunk.choices or ():
            text += (choice.delta.content or "") if choice.delta is not None else ""
            self._finish_reason = choice.finish_reason or self._finish_reason
        return self._filter.push(text)


def status_error(status: int, refusal: bytes) -> EngineError:
    """What an HTTP status other than 200 means. Of the body only the server's own error word is passed on: its
    message may repeat the key or the user's words."""
    try:
        error = msgspec.json.decode(refusal, type=_Chunk).error
    except msgspec.MsgspecError:
        error = None
    word = f" ({_word(error)})" if error is not None and _word(error) else ""
    code, meaning = _meaning(status)
    return EngineError("llm", code, f"the language model {meaning}: HTTP {status}{word}")


def _meaning(status: int) -> tuple[str, str]:
    match status:
        case 401 | 403:
            return "unauthorized", "refuses the key"
        case 429:
            return "rate_limited", "takes no more requests for now"
        case 408 | 504:
            return "timeout", "took too long"
        case _ if status >= 500:
            return "unavailable", "is out of order"
        case _ if status >= 400:
            return "bad_request", "refuses the request"
        case _:
            return "bad_response", "gave an unexpected answer"


def _word(error: _Error | str) -> str:
    """The server's short name for an error, if it has one."""
    if isinstance(error, str):
        return ""
    candidates = [word for word in (error.code, error.type) if isinstance(word, str) and _WORD.fullmatch(word)]
    return candidates[0] if candidates else ""


def _streamed_error(error: _Error | str) -> EngineError:
    """An error object inside a stream: by its number if it has one, else by its words."""
    word = _word(error)
    if isinstance(error, _Error) and error.code is not None and str(error.code).isdecimal():
        code, _ = _meaning(int(error.code))
    elif "rate_limit" in word or "quota" in word:
        code = "rate_limited"
    elif "invalid_request" in word or "context" in word:
        code = "bad_request"
    else:
        code = "unavailable"
    return EngineError("llm", code, "the language model broke off its answer" + (f" ({word})" if word else ""))
