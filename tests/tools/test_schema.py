"""Schemas of tools that are none: mended so that every vendor takes them, or left out."""

import json
import logging
from types import SimpleNamespace
from typing import cast

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from pydantic import JsonValue

from voiceagent.channels.realtime.tools import FunctionToolParam, specs
from voiceagent.channels.xiaozhi.tool_messages import named, read_tool
from voiceagent.errors import Refused
from voiceagent.gateway.proxy.request import parse
from voiceagent.llm.base import Caller
from voiceagent.tools import schema
from voiceagent.tools.schema import mended, offerable
from voiceagent.tools.settings import WebhookSection
from voiceagent.tools.webhooks import Webhook

SOUND: dict[str, JsonValue] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where.", "enum": ["Oslo", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
        "units": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
    },
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
}


def test_a_sound_schema_stays_as_it_is() -> None:
    assert mended(SOUND) == (SOUND, [])


def of(**properties: object) -> dict[str, object]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, of()),
        ({"properties": {"a": {"type": "int"}}}, of(a={"type": "integer"})),
        (
            of(a={"type": "str"}, b={"type": "bool"}, c={"type": "float"}),
            of(a={"type": "string"}, b={"type": "boolean"}, c={"type": "number"}),
        ),
        (of(a={"type": "INTEGER"}, b={"type": "STRING"}), of(a={"type": "integer"}, b={"type": "string"})),
        (of(a={"type": "dict"}, b={"type": "list"}), of(a={"type": "object"}, b={"type": "array", "items": {}})),
        (of(a={"type": "List[str]"}), of(a={"type": "array", "items": {}})),
        (of(a={"type": "string|null"}), of(a={"type": ["string", "null"]})),
        (of(a={"type": ["int", "int", "None"]}), of(a={"type": ["integer", "null"]})),
        (of(a={"type": "any"}, b={"type": None}, c={"type": []}, d={"type": 5}), of(a={}, b={}, c={}, d={})),
        (of(a="string", b=None, c=True, d=[]), of(a={"type": "string"}, b={}, c={}, d={})),
        ({"type": "object", "properties": [], "required": None}, of()),
        ({"type": "object", "properties": None, "required": []}, of()),
        ({"type": "object", "properties": "none"}, of()),
        ({"type": "OBJECT"}, of()),
        ({"type": None, "properties": {"a": {}}}, of(a={})),
        ({**of(a={}), "required": "a"}, {**of(a={}), "required": ["a"]}),
        ({**of(a={}), "required": ["a", "a", "b", 5, None]}, {**of(a={}), "required": ["a"]}),
        ({**of(a={}), "required": True}, of(a={})),
        (of(a={"type": "string", "required": True}), {**of(a={"type": "string"}), "required": ["a"]}),
        (of(a={"type": "string", "required": False}), of(a={"type": "string"})),
        (
            {"type": "object", "properties": [{"name": "a", "type": "int", "required": True}, "b"]},
            {**of(a={"type": "integer"}), "required": ["a"]},
        ),
        (of(a={"type": "array"}), of(a={"type": "array", "items": {}})),
        (of(a={"type": "array", "items": None}), of(a={"type": "array", "items": {}})),
        (of(a={"type": "array", "items": "int"}), of(a={"type": "array", "items": {"type": "integer"}})),
        (of(a={"type": "array", "items": [{"type": "int"}]}), of(a={"type": "array", "items": {"type": "integer"}})),
        (
            of(a={"enum": None}, b={"enum": []}, c={"enum": "x"}, d={"enum": ["x", "x"]}),
            of(a={}, b={}, c={"enum": ["x"]}, d={"enum": ["x"]}),
        ),
        (of(a={"description": None}, b={"description": 5}, c={"title": ["x"]}), of(a={}, b={"description": "5"}, c={})),
        (
            of(a={"minimum": "1", "maximum": None}, b={"minLength": -1, "maxLength": "9"}),
            of(a={"minimum": 1}, b={"maxLength": 9}),
        ),
        (of(a={"minimum": 1, "exclusiveMinimum": True}), of(a={"minimum": 1, "exclusiveMinimum": 1})),
        (of(a={"pattern": "["}, b={"pattern": 5}), of(a={}, b={"pattern": "5"})),
        (
            of(a={"anyOf": []}, b={"anyOf": {"type": "int"}}, c={"oneOf": [None]}),
            of(a={}, b={"anyOf": [{"type": "integer"}]}, c={"oneOf": [{}]}),
        ),
        (of(a={"$ref": "#/$defs/none"}, b={"$ref": 5}, c={"$ref": "http://x/y"}), of(a={}, b={}, c={})),
        ({**of(), "additionalProperties": "false"}, {**of(), "additionalProperties": False}),
        ({**of(), "additionalProperties": None, "$schema": "http://x"}, of()),
        (
            {"$schema": "x", "anyOf": [{**of(a={}), "required": ["a"]}, {**of(a={}, b={}), "required": ["a", "b"]}]},
            {**of(a={}, b={}), "required": ["a"]},
        ),
        ({"allOf": [{**of(a={}), "required": ["a"]}, of(b={})]}, {**of(a={}, b={}), "required": ["a"]}),
        ([], of()),
        ("none", of()),
        (5, of()),
    ],
)
def test_what_is_mended(given: object, expected: object) -> None:
    found, _ = mended(given)
    assert found == expected
    jsonschema.Draft202012Validator.check_schema(cast(dict[str, object], found))


@pytest.mark.parametrize("kind", ["string", "array", ["string", "null"], "int"])
def test_what_is_for_something_else_is_left_out(kind: JsonValue) -> None:
    assert mended({"type": kind})[0] is None
    assert offerable("a", "b", {"type": kind}, "x") is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["int", "string", "a", "null", "["]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "items",
                    "enum",
                    "anyOf",
                    "allOf",
                    "additionalProperties",
                    "minimum",
                    "minLength",
                    "pattern",
                    "description",
                    "$ref",
                    "default",
                    "a",
                    "not",
                    "$defs",
                    "format",
                    "const",
                    "exclusiveMinimum",
                    "prefixItems",
                    "dependentRequired",
                    "patternProperties",
                    "uniqueItems",
                    "$id",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(VALUES)
def test_whatever_comes_is_a_schema_afterwards(given: object) -> None:
    found, wrong = mended(given)
    if found is None:
        assert wrong
        return
    jsonschema.Draft202012Validator.check_schema(found)
    json.dumps(found, allow_nan=False)
    assert found["type"] == "object"
    assert isinstance(found["properties"], dict)
    again, _ = mended(found)
    assert again == found


def test_depth_has_an_end() -> None:
    deep: dict[str, object] = {}
    for _ in range(2000):
        deep = {"type": "object", "properties": {"a": deep}}
    found, wrong = mended(deep)
    assert wrong
    assert len(json.dumps(found)) < 5_000


def test_a_tool_is_told_of_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    schema._noted.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            spec = offerable("light", None, {"properties": {"on": {"type": "bool"}}}, "a device")
            assert spec is not None
            assert spec.parameters == of(on={"type": "boolean"})
            assert offerable("lamp", "x", {"type": "array"}, "a device") is None
        assert offerable("plain", "x", SOUND, "a device") is not None
    assert len(caplog.records) == 2
    assert "'light'" in caplog.text
    assert "/properties/on/type" in caplog.text


def test_a_tool_without_parameters_has_none() -> None:
    spec = offerable("now", None, None, "x")
    assert spec is not None
    assert spec.parameters is None


# -- every entrance ---------------------------------------------------------------------------------------------------

ODD: dict[str, object] = {"type": "object", "properties": {"on": {"type": "bool"}}, "required": None}
EVEN = of(on={"type": "boolean"})


def test_a_devices_tools() -> None:
    listed = [
        {"name": "self.a", "description": None, "inputSchema": ODD},
        {"name": "self.b", "inputSchema": None, "annotations": {"audience": None}},
        {"name": "self.c", "inputSchema": {"type": "array"}},
        {"name": "self.d", "inputSchema": {"type": "object", "properties": []}},
    ]
    read = [read_tool(Raw(json.dumps(tool).encode())) for tool in listed]
    tools = named(tool for tool in read if tool is not None)
    assert {tool.name: tool.spec.parameters for tool in tools} == {"self.a": EVEN, "self.b": of(), "self.d": of()}
    assert tools[0].spec.description == ""


def test_a_clients_tools() -> None:
    def told(parameters: object) -> JsonValue:
        sent = {"type": "function", "name": "f", "parameters": parameters}
        (spec,) = specs([msgspec.json.decode(json.dumps(sent), type=FunctionToolParam)])
        return None if spec.parameters is None else dict(spec.parameters)

    assert told(ODD) == EVEN
    assert told(None) is None
    with pytest.raises(Refused, match="JSON schema of an object"):
        told({"type": "string"})


def test_an_mcp_servers_tools() -> None:
    tools = pytest.importorskip("voiceagent.tools.mcp.tools")
    mcp_types = pytest.importorskip("mcp_types")
    listed = [mcp_types.Tool(name=name, input_schema=given) for name, given in (("a", ODD), ("b", {"type": "string"}))]
    connection = SimpleNamespace(label="s")
    found = tools.tools_of(connection, listed, prefix="", allowed=None, policy_of=lambda name, policy: policy)
    assert [(tool.name, tool.spec.parameters) for tool in found] == [("a", EVEN)]


def test_a_proxys_clients_tools() -> None:
    def body(parameters: object) -> bytes:
        tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        return json.dumps(
            {"model": "voiceagent", "messages": [{"role": "user", "content": "x"}], "tools": [tool]}
        ).encode()

    (spec,) = parse(body(ODD), Caller()).request.tools
    assert spec.parameters == EVEN
    with pytest.raises(Refused, match="JSON schema of an object"):
        parse(body({"type": "array"}), Caller())


async def test_a_webhook() -> None:
    section = WebhookSection.model_validate(
        {"name": "w", "description": "x", "url": "http://127.0.0.1:1/", "parameters": ODD}
    )
    hook = Webhook(section)
    await hook.open()
    try:
        assert hook.spec.parameters == EVEN
    finally:
        await hook.close()
