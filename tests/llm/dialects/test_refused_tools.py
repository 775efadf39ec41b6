"""A tool that a vendor refuses is left out, and only that one, with one line in the log."""

import logging
from collections.abc import Mapping

import pytest

from tests.support.llm.vendors import HI, VENDORS, WEATHER, events, talking
from tests.support.llm.wires import Reply
from voiceagent.llm.base import LlmRequest, NamedTool, TextDelta, ToolSpec

ODD = ToolSpec("odd", "Odd", {"type": "object", "properties": {"a": {"type": "whatever"}}})
REFUSALS: Mapping[str, tuple[str, object]] = {
    "OpenAI": (
        "openai",
        {
            "error": {
                "message": "Invalid schema for function 'odd': 'whatever' is not valid.",
                "param": "tools[1].function.parameters",
                "code": "invalid_function_parameters",
            }
        },
    ),
    "another's place": ("openai", {"detail": "tools[1].function.parameters: not a JSON schema"}),
    "Anthropic": (
        "anthropic",
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "tools.1.custom.input_schema: JSON schema is invalid",
            },
        },
    ),
    "Gemini": (
        "gemini",
        {
            "error": {
                "code": 400,
                "status": "INVALID_ARGUMENT",
                "message": "* GenerateContentRequest."
                "tools[0].function_declarations[1].parameters.properties: should be non-empty",
            }
        },
    ),
}


@pytest.mark.parametrize(("name", "error"), REFUSALS.values(), ids=REFUSALS)
async def test_the_refused_tool_goes_and_stays_away(name: str, error: object, caplog: pytest.LogCaptureFixture) -> None:
    script: list[Reply | str] = [Reply(status=400, error=error), "One.", "Two."]
    request = LlmRequest(HI.messages, tools=(WEATHER, ODD), tool_choice=NamedTool("odd"))
    async with talking(VENDORS[name], script) as (llm, server):
        with caplog.at_level(logging.WARNING):
            assert TextDelta("One.") in await events(llm, request)
            assert TextDelta("Two.") in await events(llm, request)
        assert ["odd" in str(asked.body.get("tools")) for asked in server.requests] == [True, False, False]
        assert all("weather" in str(asked.body.get("tools")) for asked in server.requests)
    assert caplog.text.count("'odd'") == 1


async def test_a_refusal_of_something_else_costs_no_tool() -> None:
    script: list[Reply | str] = [
        Reply(status=400, error={"error": {"message": "temperature is not supported"}}),
        "One.",
    ]
    async with talking(VENDORS["openai"], script, temperature=0.5) as (llm, server):
        await events(llm)
        assert "temperature" not in server.requests[-1].body
        assert "weather" in str(server.requests[-1].body["tools"])


async def test_a_tool_of_the_same_name_and_another_schema_is_another_one() -> None:
    script: list[Reply | str] = [Reply(status=400, error=REFUSALS["OpenAI"][1]), "One.", "Two."]
    async with talking(VENDORS["openai"], script) as (llm, server):
        await events(llm, LlmRequest(HI.messages, tools=(WEATHER, ODD)))
        await events(llm, LlmRequest(HI.messages, tools=(ToolSpec("odd", "Even", {"type": "object"}),)))
        assert "odd" in str(server.requests[-1].body["tools"])
