"""Gemini's own API (`:streamGenerateContent`), of Google AI Studio and of Vertex AI."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar
from urllib.parse import quote

import msgspec
from pydantic import Field, JsonValue

from voiceagent.errors import EngineError
from voiceagent.llm.base import (
    Effort,
    LlmEvent,
    LlmRequest,
    Message,
    NamedTool,
    TextDelta,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from voiceagent.llm.dialects.base import Reason, Usage, alternating, instructions
from voiceagent.llm.dialects.calls import arguments_object, arguments_text, new_call_id
from voiceagent.llm.dialects.recall import Json, Recall
from voiceagent.llm.http import HttpOptions, key_from
from voiceagent.llm.refusal import ServerError, streamed_error
from voiceagent.llm.remote import RemoteLlm
from voiceagent.models.store import ModelStore
from voiceagent.section import KeySecret, WebAddress

GEMINI_URL = "https://generativelanguage.googleapis.com"

BUDGETS: Mapping[Effort, int] = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
"""Tokens to think with: what every model of the 2.5 family takes lies between 512 and 24,576."""

NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google documents to be sent for calls that another model made."""

_REASONS: Mapping[str, Reason] = {
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "LANGUAGE": "content_filter",
}
_BROKEN = ("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS")
_VERSION = re.compile(r"/v\d[a-z0-9]*(/|$)")


class GeminiLlmOptions(HttpOptions):
    """A `base_url` without a version gets `/v1beta`. For Vertex AI it goes on to the publisher
    (`https://HOST/v1/projects/P/locations/L/publishers/google`) and `extra_headers` hold the `Authorization`."""

    home: ClassVar[str] = GEMINI_URL
    key_variable: ClassVar[str] = "GEMINI_API_KEY"

    base_url: WebAddress = Field(default_factory=lambda: os.environ.get("GOOGLE_GEMINI_BASE_URL") or GEMINI_URL)
    """The endpoint; `GOOGLE_GEMINI_BASE_URL`, or Google's own, without one."""
    api_key: KeySecret | None = Field(default_factory=lambda: key_from("GEMINI_API_KEY") or key_from("GOOGLE_API_KEY"))
    """The key; `GEMINI_API_KEY` or `GOOGLE_API_KEY` without one."""
    model: str = Field(default="gemini-2.5-flash", min_length=1)
    """The model to ask for."""


class GeminiLlm(RemoteLlm):
    Options = GeminiLlmOptions

    def __init__(self, options: GeminiLlmOptions, models: ModelStore) -> None:
        super().__init__(options, Contents(options))


@dataclass(frozen=True, slots=True)
class Contents:
    """The dialect. `thinks` and `unsigned` say that the model is taken to accept a budget to think with, and calls that
    it has not signed."""

    options: GeminiLlmOptions
    thinks: bool = True
    unsigned: bool = True
    recall: Recall = field(default_factory=Recall)

    @property
    def url(self) -> str:
        return f"{self._start}/models/{quote(self.options.model, safe='')}:streamGenerateContent?alt=sse"

    @property
    def probe(self) -> str:
        return f"{self._start}/models"

    @property
    def _start(self) -> str:
        base = self.options.base_url
        return base if _VERSION.search(base) else f"{base}/v1beta"

    def headers(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key} if key else {}

    def body(self, request: LlmRequest) -> Json:
        names = {call.id: call.name for message in request.messages for call in message.tool_calls}
        turns = alternating(request.messages, lambda message: self._parts(message, names))
        body: Json = {
            "contents": [{"role": "user" if side == "user" else "model", "parts": [*parts]} for side, parts in turns]
        }
        if system := instructions(request.messages):
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if request.tools:
            body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in request.tools]}]
            body["toolConfig"] = {"functionCallingConfig": _calling(request.tool_choice)}
        if generation := self._generation(request):
            body["generationConfig"] = generation
        return body

    def mended(self, refusal: bytes, sent: Mapping[str, JsonValue]) -> "tuple[str, Contents] | None":
        generation = sent.get("generationConfig")
        if self.thinks and isinstance(generation, dict) and "thinkingConfig" in generation and b"hinking" in refusal:
            return "a thinking budget", replace(self, thinks=False)
        if self.unsigned and re.search(rb"thought_?[sS]ignature", refusal):
            return "calls without a signature", replace(self, unsigned=False)
        return None

    def reader(self) -> "ContentsReader":
        return ContentsReader(self.recall)

    def _generation(self, request: LlmRequest) -> Json:
        """The limit counts the thinking too, so that comes on top of it."""
        generation: Json = {}
        if self.options.temperature is not None:
            generation["temperature"] = self.options.temperature
        budget = 0
        if request.effort is not None and self.thinks:
            budget = BUDGETS[request.effort]
            generation["thinkingConfig"] = {"thinkingBudget": budget, "includeThoughts": True}
        max_tokens = self.options.max_tokens if request.max_tokens is None else request.max_tokens
        if max_tokens is not None:
            generation["maxOutputTokens"] = max_tokens + budget
        return generation

    def _parts(self, message: Message, names: Mapping[str, str]) -> list[Json]:
        if message.role == "tool":
            call_id = message.tool_call_id
            response: Json = {"name": names.get(call_id, call_id or "unknown"), "response": _result(message.content)}
            return [{"functionResponse": response | self._server_id(call_id)}]
        text: list[Json] = [{"text": message.content}] if message.content.strip() else []
        return [*text, *(self._call(call, first=number == 0) for number, call in enumerate(message.tool_calls))]

    def _call(self, call: ToolCall, *, first: bool) -> Json:
        """Of calls made together only the first is signed."""
        part: Json = {"functionCall": {"name": call.name, "args": arguments_object(call), **self._server_id(call.id)}}
        if signature := self.recall.of(call.id).get("thoughtSignature"):
            part["thoughtSignature"] = signature
        elif first and not self.unsigned:
            part["thoughtSignature"] = NO_SIGNATURE
        return part

    def _server_id(self, call_id: str) -> Json:
        """A call's id where the server gave it one; it may refuse others'."""
        return {"id": call_id} if "id" in self.recall.of(call_id) else {}


class _FunctionCall(msgspec.Struct):
    name: str = ""
    args: msgspec.Raw = msgspec.Raw()
    id: str | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str = ""
    thought: bool = False
    function_call: _FunctionCall | None = None
    thought_signature: str = ""


class _Content(msgspec.Struct):
    parts: Sequence[_Part] = ()


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _UsageMetadata(msgspec.Struct, rename="camel"):
    prompt_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: Sequence[_Candidate] = ()
    prompt_feedback: _Feedback | None = None
    usage_metadata: _UsageMetadata | None = None
    error: ServerError | None = None


class ContentsReader:
    def __init__(self, recall: Recall) -> None:
        self.reason: Reason | None = None
        self.ended = False
        self.usage = Usage()
        self._recall = recall

    def read(self, data: str) -> Iterator[LlmEvent]:
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise EngineError("llm", "bad_response", "the language model sent an event that is no chunk") from None
        if chunk.error is not None and self.reason is None:
            raise streamed_error(chunk.error)
        if (usage := chunk.usage_metadata) is not None:
            prompt = usage.prompt_token_count + usage.tool_use_prompt_token_count
            answer = usage.candidates_token_count + usage.thoughts_token_count
            self.usage = Usage(prompt, answer, usage.cached_content_token_count)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self.reason = "content_filter"
        for candidate in chunk.candidates:
            for part in candidate.content.parts if candidate.content is not None else ():
                yield from self._part(part)
            if candidate.finish_reason in _BROKEN:
                raise EngineError("llm", "bad_response", "the language model made a call that cannot be read")
            if candidate.finish_reason:
                self.reason = _REASONS.get(candidate.finish_reason, "stop")

    def rest(self) -> Iterator[LlmEvent]:
        return iter(())

    def _part(self, part: _Part) -> Iterator[LlmEvent]:
        if (made := part.function_call) is not None:
            call = ToolCall(made.id or new_call_id(), made.name, arguments_text(made.args) or "{}")
            kept: Json = {"id": call.id} if made.id else {}
            if part.thought_signature:
                kept["thoughtSignature"] = part.thought_signature
            if kept:
                self._recall.keep(call.id, kept)
            yield call
        elif part.thought:
            yield Thinking(part.text)
        elif part.text:
            yield TextDelta(part.text)


def _tool(tool: ToolSpec) -> Json:
    declared: Json = {"name": tool.name, "description": tool.description or tool.name}
    if tool.parameters and tool.parameters.get("properties"):  # a function without any is declared without
        declared["parametersJsonSchema"] = dict(tool.parameters)
    return declared


def _calling(choice: ToolChoice) -> Json:
    match choice:
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY"}
        case NamedTool(name):
            return {"mode": "ANY", "allowedFunctionNames": [name]}
        case _:
            return {"mode": "AUTO"}


def _result(content: str) -> Json:
    """A tool's result has to be an object."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"result": content}
