"""A session.update of OpenAI Realtime that is refused names what is wrong and changes nothing."""

import json

import pytest

from tests.support.realtime.wire import error, protocol, say, update

DEEP = json.loads('{"items":' * 64 + "{}" + "}" * 64)


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "translation"}, "invalid_value", "session.type"),
        ({"type": None}, "invalid_type", "session.type"),
        ({"model": ""}, "invalid_value", "session.model"),
        ({"instructions": 1}, "invalid_type", "session.instructions"),
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": "text"}, "invalid_type", "session.output_modalities"),
        ({"max_output_tokens": "many"}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"max_output_tokens": 10.5}, "invalid_type", "session.max_output_tokens"),
        ({"audio": []}, "invalid_type", "session.audio"),
        ({"audio": {"input": {"format": "pcm16"}}}, "invalid_type", "session.audio.input.format"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "invalid_value", "session.audio.input.format.type"),
        (
            {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.output.format.rate",
        ),
        ({"audio": {"output": {"voice": ""}}}, "invalid_value", "session.audio.output.voice"),
        ({"audio": {"output": {"voice": {}}}}, "missing_required_parameter", "session.audio.output.voice.id"),
        ({"audio": {"output": {"speed": 0.2}}}, "invalid_value", "session.audio.output.speed"),
        ({"audio": {"output": {"speed": 1.6}}}, "invalid_value", "session.audio.output.speed"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tools": [{"type": "web_search"}]}, "invalid_value", "session.tools[0].type"),
        ({"tools": [{"type": "mcp"}]}, "missing_required_parameter", "session.tools[0].server_label"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "unsupported_tool", "session.tools[0].type"),
        ({"tools": [{"type": "function", "name": "two words"}]}, "invalid_value", "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "f"}] * 2}, "invalid_value", "session.tools[1].name"),
        ({"tools": [{"type": "function", "name": "f"}] * 129}, "invalid_value", "session.tools"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": "none"}]},
            "invalid_type",
            "session.tools[0].parameters",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "description": 5}]},
            "invalid_type",
            "session.tools[0].description",
        ),
        (
            {"tools": [{"type": "function", "name": "f", "description": "d" * 200_001}]},
            "tools_too_large",
            "session.tools",
        ),
        ({"tools": {"type": "function", "name": "f"}}, "invalid_type", "session.tools"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": DEEP}]},
            "invalid_value",
            "session.tools[0].parameters",
        ),
        ({"tool_choice": {"type": "function"}}, "missing_required_parameter", "session.tool_choice.name"),
        ({"tool_choice": {"type": "function", "name": ""}}, "invalid_value", "session.tool_choice.name"),
        ({"prompt": {"id": "p", "variables": {"a": 1}}}, "invalid_type", "session.prompt.variables[...]"),
        ({"tool_choice": "maybe"}, "invalid_value", "session.tool_choice"),
        ({"tracing": 5}, "invalid_type", "session.tracing"),
        ({"truncation": "some"}, "invalid_value", "session.truncation"),
        ({"include": ["everything"]}, "invalid_value", "session.include[0]"),
        ({"prompt": {}}, "missing_required_parameter", "session.prompt.id"),
        ({"reasoning": {"effort": "huge"}}, "invalid_value", "session.reasoning.effort"),
        ({"voiceagent": {"events": "yes"}}, "invalid_type", "session.voiceagent.events"),
    ],
)
def test_updates_that_are_refused_change_nothing(session: dict[str, object], code: str, param: str) -> None:
    realtime = protocol()
    before = update(realtime)
    change = {"type": "realtime", "parallel_tool_calls": False, **session}
    answer = error(say(realtime, "session.update", event_id="mine", session=change))
    assert (answer["code"], answer["param"], answer["event_id"]) == (code, param, "mine")
    assert update(realtime) == before


@pytest.mark.parametrize(
    ("turn_detection", "code", "key"),
    [
        ({"type": "none"}, "invalid_value", "type"),
        ({"threshold": 1.1}, "invalid_value", "threshold"),
        ({"threshold": "high"}, "invalid_type", "threshold"),
        ({"prefix_padding_ms": -1}, "invalid_value", "prefix_padding_ms"),
        ({"silence_duration_ms": 500.5}, "invalid_type", "silence_duration_ms"),
        ({"silence_duration_ms": 10**20}, "invalid_value", "silence_duration_ms"),
        ({"idle_timeout_ms": -1}, "invalid_value", "idle_timeout_ms"),
        ({"eagerness": "very"}, "invalid_value", "eagerness"),
        ({"create_response": 1}, "invalid_type", "create_response"),
        ({"interrupt_response": "no"}, "invalid_type", "interrupt_response"),
    ],
)
def test_turn_detection_that_is_refused(turn_detection: dict[str, object], code: str, key: str) -> None:
    realtime = protocol()
    before = update(realtime)
    change = {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}
    answer = error(say(realtime, "session.update", session=change))
    assert (answer["code"], answer["param"]) == (code, f"session.audio.input.turn_detection.{key}")
    assert update(realtime) == before


def test_a_session_needs_its_type() -> None:
    answer = error(say(protocol(), "session.update", session={}))
    assert (answer["code"], answer["param"]) == ("missing_required_parameter", "session.type")
    answer = error(say(protocol(), "session.update"))
    assert (answer["code"], answer["param"]) == ("missing_required_parameter", "session")
