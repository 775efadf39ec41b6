"""What each dialect sends: the talk, tools and their results, limits, efforts, and what is left out once refused."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import JsonValue

from tests.support.llm.server import Script, ScriptedLlm
from tests.support.llm.vendors import VENDORS, events, failure
from tests.support.llm.wires import ChatWire, Reply
from voiceagent.llm.base import Effort, LlmRequest, Message, NamedTool, ToolCall, ToolChoice, ToolSpec
from voiceagent.llm.remote import RemoteLlm

CITY: dict[str, JsonValue] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (ToolSpec("weather", "By city", CITY), ToolSpec("now"))
ASKED = Message("user", "Weather in Oslo?")
CALLING = Message(
    "assistant", "Let me see. ", (ToolCall("c:1", "weather", '{"city": "Oslo"}'), ToolCall("c2", "now", ""))
)
TALK = (
    Message("system", "Be brief."),
    Message("assistant", "Hello!"),
    ASKED,
    CALLING,
    Message("user", "Hurry!"),
    Message("tool", '{"sky": "blue"}', tool_call_id="c:1"),
    Message("tool", "noon", tool_call_id="c2"),
)


@asynccontextmanager
async def talking(
    name: str, script: Script = ("Hi.",), **options: object
) -> AsyncIterator[tuple[RemoteLlm, ScriptedLlm]]:
    async with ScriptedLlm(script, VENDORS[name].wire) as server:
        llm = VENDORS[name].make(server.base_url, **options)
        await llm.open()
        try:
            yield llm, server
        finally:
            await llm.close()


async def sent(name: str, request: LlmRequest, **options: object) -> dict[str, object]:
    async with talking(name, ("Hi.",), **options) as (llm, server):
        await events(llm, request)
        return dict(server.requests[0].body)


async def test_openai() -> None:
    body = await sent("openai", LlmRequest(TALK, 50, TOOLS, "required", False, "low"))
    assert body.pop("messages") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "..."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Weather in Oslo?"},
        {
            "role": "assistant",
            "content": "Let me see. ",
            "tool_calls": [
                {"id": "c:1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "user", "content": "Hurry!"},
        {"role": "tool", "content": '{"sky": "blue"}', "tool_call_id": "c:1"},
        {"role": "tool", "content": "noon", "tool_call_id": "c2"},
    ]
    empty = {"type": "object", "properties": {}}
    assert body.pop("tools") == [
        {"type": "function", "function": {"name": "weather", "description": "By city", "parameters": CITY}},
        {"type": "function", "function": {"name": "now", "description": "", "parameters": empty}},
    ]
    assert body == {
        "model": "m",
        "max_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }


async def test_anthropic() -> None:
    body = await sent("anthropic", LlmRequest(TALK, 50, TOOLS, "required", False), temperature=0.5, prompt_cache=True)
    assert body.pop("messages") == [
        {"role": "user", "content": [{"type": "text", "text": "..."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Oslo?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c_1", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c_1", "content": [{"type": "text", "text": '{"sky": "blue"}'}]},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "noon"}]},
                {"type": "text", "text": "Hurry!"},
            ],
        },
    ]
    assert body == {
        "model": "m",
        "max_tokens": 50,
        "stream": True,
        "temperature": 0.5,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "tools": [
            {"name": "weather", "description": "By city", "input_schema": CITY},
            {"name": "now", "input_schema": {"type": "object", "properties": {}}},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }


async def test_gemini() -> None:
    request = LlmRequest(TALK, 50, TOOLS, "required", False, "low")
    body = await sent("gemini", request, temperature=0.5, extra_body={"generationConfig": {"topP": 0.9}})
    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "..."}]},
            {"role": "model", "parts": [{"text": "Hello!"}]},
            {"role": "user", "parts": [{"text": "Weather in Oslo?"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "Let me see. "},
                    {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
                    {"functionCall": {"name": "now", "args": {}}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"text": "Hurry!"},
                    {"functionResponse": {"name": "weather", "response": {"sky": "blue"}}},
                    {"functionResponse": {"name": "now", "response": {"result": "noon"}}},
                ],
            },
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "By city", "parametersJsonSchema": CITY},
                    {"name": "now", "description": "now"},
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "maxOutputTokens": 50 + 1024,
            "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        },
    }


@pytest.mark.parametrize(
    ("choice", "openai", "anthropic", "gemini"),
    [
        ("auto", None, {"type": "auto"}, {"mode": "AUTO"}),
        ("none", "none", {"type": "none"}, {"mode": "NONE"}),
        (
            NamedTool("now"),
            {"type": "function", "function": {"name": "now"}},
            {"type": "tool", "name": "now"},
            {"mode": "ANY", "allowedFunctionNames": ["now"]},
        ),
    ],
)
async def test_tool_choices(choice: ToolChoice, openai: object, anthropic: object, gemini: object) -> None:
    request = LlmRequest((ASKED,), tools=TOOLS, tool_choice=choice)
    body = await sent("openai", request)
    assert (body.get("tool_choice"), body["parallel_tool_calls"]) == (openai, True)
    assert (await sent("anthropic", request))["tool_choice"] == anthropic
    assert (await sent("gemini", request))["toolConfig"] == {"functionCallingConfig": gemini}


async def test_nothing_of_tools_where_there_are_none() -> None:
    request = LlmRequest((ASKED,), parallel_tools=False, tool_choice="none")
    assert set(await sent("openai", request)) == {"model", "messages", "stream", "stream_options"}
    assert set(await sent("anthropic", request)) == {"model", "messages", "stream", "max_tokens"}
    assert set(await sent("gemini", request)) == {"contents"}


async def test_keys_and_addresses() -> None:
    for name, header, value, target in (
        ("openai", "authorization", "Bearer sk-1", "/v1/chat/completions?"),
        ("anthropic", "x-api-key", "sk-1", "/v1/messages?"),
        ("gemini", "x-goog-api-key", "sk-1", "/v1beta/models/m:streamGenerateContent?alt=sse"),
    ):
        async with talking(name) as (llm, server):
            await events(llm)
            assert (server.requests[0].headers[header], server.requests[0].target) == (value, target)


async def test_addresses_with_a_version() -> None:
    assert VENDORS["anthropic"].make("http://h/v1")._dialect.url == "http://h/v1/messages"
    vertex = "https://h/v1/projects/p/locations/l/publishers/google"
    assert VENDORS["gemini"].make(vertex)._dialect.url == f"{vertex}/models/m:streamGenerateContent?alt=sse"


class AzureWire(ChatWire):
    path = "/openai/deployments/{model}/chat/completions"
    base = ""


async def test_azure() -> None:
    async with ScriptedLlm(["Hi."], AzureWire()) as server:
        llm = VENDORS["openai"].make(server.base_url, model="my gpt", azure_api_version="2024-10-21")
        await llm.open()
        await events(llm)
        await llm.close()
        (request,) = server.requests
    assert request.target == "/openai/deployments/my gpt/chat/completions?api-version=2024-10-21"
    assert (request.headers["api-key"], "authorization" in request.headers) == ("sk-1", False)


def refused(message: str) -> Reply:
    return Reply(status=400, error={"error": {"message": message}})


async def test_fields_that_openai_like_servers_refuse() -> None:
    script: list[Reply | str] = [
        refused("parallel_tool_calls is not supported"),
        refused("no reasoning_effort"),
        refused("temperature"),
        "Hi.",
    ]
    request = LlmRequest((ASKED,), tools=TOOLS, effort="low")
    async with talking("openai", script, temperature=0.5) as (llm, server):
        await events(llm, request)
        await events(llm, request)
        kept = [set(request.body) for request in server.requests]
    assert [sorted(before - after) for before, after in itertools.pairwise(kept)] == [
        ["parallel_tool_calls"],
        ["reasoning_effort"],
        ["temperature"],
        [],
    ]


async def test_deepseek_sees_its_reasoning_again() -> None:
    thought = Reply(thoughts="Hm, Oslo.", calls=[("weather", "{}")])
    again = refused("The reasoning_content in the thinking mode must be passed back to the API.")
    async with talking("openai", [thought, "Blue.", again, "Blue."]) as (llm, server):
        *_, call, _ = [event async for event in llm.reply(LlmRequest((ASKED,), tools=TOOLS))]
        assert isinstance(call, ToolCall)
        for made in (call, ToolCall("another's", "weather", "{}")):
            result = Message("tool", "blue", tool_call_id=made.id)
            await events(llm, LlmRequest((ASKED, Message("assistant", "", (made,)), result), tools=TOOLS))
        assert [request.messages[1].get("reasoning_content") for request in server.requests[1:]] == [
            "Hm, Oslo.",
            None,
            " ",
        ]


@pytest.mark.parametrize(("effort", "budget"), [(None, None), ("minimal", None), ("low", 1024), ("high", 16_384)])
async def test_anthropic_thinks_only_when_asked(effort: Effort | None, budget: int | None) -> None:
    body = await sent("anthropic", LlmRequest((ASKED,), 50, effort=effort), temperature=0.5)
    if budget is None:
        assert ("thinking" in body, body["temperature"], body["max_tokens"]) == (False, 0.5, 50)
    else:
        assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
        assert ("temperature" in body, body["max_tokens"]) == (False, 50 + budget)


async def test_models_of_anthropic_that_take_no_budget_or_no_thinking() -> None:
    script: list[Reply | str] = [
        refused("budget_tokens: use adaptive"),
        refused("adaptive thinking is not supported"),
        "Hi.",
    ]
    async with talking("anthropic", script) as (llm, server):
        await events(llm, LlmRequest((ASKED,), effort="xhigh"))
        bodies = [request.body for request in server.requests]
    assert bodies[1]["thinking"] == {"type": "adaptive"}
    assert bodies[1]["output_config"] == {"effort": "high"}
    assert (set(bodies[2]), bodies[2]["max_tokens"]) == ({"model", "messages", "stream", "max_tokens"}, 1024)


async def test_anthropic_sees_its_signed_thinking_again_or_none_is_asked_for() -> None:
    script: list[Reply | str] = [Reply("One moment.", thoughts="Hm.", calls=[("weather", "{}")]), "Blue."]
    async with talking("anthropic", script) as (llm, server):
        *_, call, _ = [event async for event in llm.reply(LlmRequest((ASKED,), tools=TOOLS, effort="low"))]
        assert isinstance(call, ToolCall)
        for made in (call, ToolCall("another's", "weather", "{}")):
            result = Message("tool", "blue", tool_call_id=made.id)
            talk = (ASKED, Message("assistant", "", (made,)), result)
            await events(llm, LlmRequest(talk, tools=TOOLS, effort="low"))
        await events(llm, LlmRequest((ASKED,), tools=TOOLS, effort="low", tool_choice="required"))
        bodies = [request.body for request in server.requests]
        blocks = [request.messages[1]["content"] for request in server.requests[1:3]]
    assert ["thinking" in body for body in bodies] == [True, True, False, False]
    assert blocks[0][0] == {"type": "thinking", "thinking": "Hm.", "signature": "signed"}  # type: ignore[comparison-overlap]
    assert len(blocks[1]) == 1


async def test_gemini_sees_its_signatures_again_or_a_stand_in() -> None:
    script: list[Reply | str] = [
        Reply(calls=[("weather", "{}")]),
        "Blue.",
        refused("Function call is missing a thought_signature in functionCall parts."),
        "Blue.",
    ]
    async with talking("gemini", script) as (llm, server):
        call, _ = [event async for event in llm.reply(LlmRequest((ASKED,), tools=TOOLS))]
        assert isinstance(call, ToolCall)
        for made in (call, ToolCall("another's", "weather", "{}")):
            result = Message("tool", "blue", tool_call_id=made.id)
            await events(llm, LlmRequest((ASKED, Message("assistant", "", (made,)), result), tools=TOOLS))
        parts = [request.messages[1]["parts"][0] for request in server.requests[1:]]
    assert [part.get("thoughtSignature") for part in parts] == ["signed", None, "skip_thought_signature_validator"]  # type: ignore[attr-defined]


async def test_models_of_gemini_that_take_no_budget() -> None:
    async with talking("gemini", [refused("Thinking budget 512 is invalid"), "Hi."]) as (llm, server):
        await events(llm, LlmRequest((ASKED,), 50, effort="minimal"))
        assert server.requests[1].body["generationConfig"] == {"maxOutputTokens": 50}


@pytest.mark.parametrize("name", VENDORS)
async def test_a_refusal_that_cannot_be_mended_is_told(name: str) -> None:
    async with talking(name, [refused("no")]) as (llm, server):
        assert (await failure(llm)).code == "bad_request"
        assert len(server.requests) == 1


async def test_gemini_blocks_a_prompt_and_breaks_a_call() -> None:
    blocked = Reply(raw=[b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\n\n'])
    broken = Reply(raw=[b'data: {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}\n\n'])
    async with talking("gemini", [blocked, broken]) as (llm, _):
        (completed,) = await events(llm)
        assert completed.reason == "content_filter"  # type: ignore[union-attr]
        assert (await failure(llm)).code == "bad_response"
