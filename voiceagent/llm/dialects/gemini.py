"""Gemini's own API (`:streamGenerateContent`), of Google AI Studio and of Vertex AI."""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import quote

import msgspec
from pydantic import Field, JsonValue

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
from voiceagent.llm.dialects.base import Usage, alternating, instructions
from voiceagent.llm.dialects.calls import arguments_object, new_call_id
from voiceagent.llm.dialects.endings import Ending, ending_of
from voiceagent.llm.dialects.recall import Recall
from voiceagent.llm.http import HttpOptions, key_from
from voiceagent.llm.lenient import (
    Json,
    field,
    first_count,
    id_of,
    json_text,
    object_of,
    objects_of,
    text_of,
    truth_of,
    word_of,
)
from voiceagent.llm.remote import RemoteLlm
from voiceagent.models.store import ModelStore
from voiceagent.section import KeySecret, WebAddress

GEMINI_URL = "https://generativelanguage.googleapis.com"

BUDGETS: Mapping[Effort, int] = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
"""Tokens to think with: what every model of the 2.5 family takes lies between 512 and 24,576."""

NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google documents to be sent for calls that another model made."""

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
    recall: Recall = dataclasses.field(default_factory=Recall)

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


class ContentsReader:
    """Fields are also read by their names with underscores, as some proxies write them."""

    def __init__(self, recall: Recall) -> None:
        self.ending: Ending | None = None
        self.word = ""
        self.ended = False
        self.usage = Usage()
        self._recall = recall

    def read(self, event: Json) -> Iterator[LlmEvent]:
        if usage := field(event, "usageMetadata", "usage_metadata"):
            self._count(object_of(usage))
        feedback = object_of(field(event, "promptFeedback", "prompt_feedback"))
        if (blocked := word_of(field(feedback, "blockReason", "block_reason"))) and not blocked.endswith("UNSPECIFIED"):
            self.ending, self.word = "content_filter", blocked
        for candidate in objects_of(event.get("candidates"))[:1]:
            content = candidate.get("content")
            parts = object_of(content).get("parts") if isinstance(content, dict) else content
            for part in parts if isinstance(parts, list) else [parts]:
                yield from self._part(part if isinstance(part, dict) else {"text": part})
            word = word_of(field(candidate, "finishReason", "finish_reason"))
            if (ending := ending_of(word)) is not None:
                self.ending, self.word = ending, word

    def rest(self) -> Iterator[LlmEvent]:
        return iter(())

    def _part(self, part: Json) -> Iterator[LlmEvent]:
        text = text_of(part.get("text"))
        made = object_of(field(part, "functionCall", "function_call"))
        if name := word_of(made.get("name")):
            server_id = id_of(made.get("id"))
            call = ToolCall(server_id or new_call_id(), name, json_text(made.get("args")) or "{}")
            kept: Json = {"id": made.get("id")} if server_id else {}
            if signature := text_of(field(part, "thoughtSignature", "thought_signature")):
                kept["thoughtSignature"] = signature
            if kept:
                self._recall.keep(call.id, kept)
            yield call
        elif truth_of(part.get("thought")):
            yield Thinking(text)
        elif text:
            yield TextDelta(text)

    def _count(self, usage: Json) -> None:
        def count(*names: str) -> int:
            return sum(first_count(usage, name, _underscored(name)) for name in names)

        prompt = count("promptTokenCount", "toolUsePromptTokenCount")
        answer = count("candidatesTokenCount", "thoughtsTokenCount")
        if prompt or answer:
            self.usage = Usage(prompt, answer, count("cachedContentTokenCount"))


def _underscored(name: str) -> str:
    return re.sub(r"([A-Z])", r"_\1", name).lower()


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
