"""Schemas of tools that are none: mended so that every vendor takes them, or left out."""

import json
import logging
from typing import cast

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from voiceagent.tools import schema
from voiceagent.tools.schema import mended, offerable

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
        (of(a={"type": "str"}, b={"type": "bool"}, c={"type": "float"}), of(a={"type": "string"}, b={"type": "boolean"}, c={"type": "number"})),
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
        ({"type": "object", "properties": [{"name": "a", "type": "int", "required": True}, "b"]}, {**of(a={"type": "integer"}), "required": ["a"]}),
        (of(a={"type": "array"}), of(a={"type": "array", "items": {}})),
        (of(a={"type": "array", "items": None}), of(a={"type": "array", "items": {}})),
        (of(a={"type": "array", "items": "int"}), of(a={"type": "array", "items": {"type": "integer"}})),
        (of(a={"type": "array", "items": [{"type": "int"}]}), of(a={"type": "array", "items": {"type": "integer"}})),
        (of(a={"enum": None}, b={"enum": []}, c={"enum": "x"}, d={"enum": ["x", "x"]}), of(a={}, b={}, c={"enum": ["x"]}, d={"enum": ["x"]})),
        (of(a={"description": None}, b={"description": 5}, c={"title": ["x"]}), of(a={}, b={"description": "5"}, c={})),
        (of(a={"minimum": "1", "maximum": None}, b={"minLength": -1, "maxLength": "9"}), of(a={"minimum": 1}, b={"maxLength": 9})),
        (of(a={"minimum": 1, "exclusiveMinimum": True}), of(a={"minimum": 1, "exclusiveMinimum": 1})),
        (of(a={"pattern": "["}, b={"pattern": 5}), of(a={}, b={"pattern": "5"})),
        (of(a={"anyOf": []}, b={"anyOf": {"type": "int"}}, c={"oneOf": [None]}), of(a={}, b={"anyOf": [{"type": "integer"}]}, c={"oneOf": [{}]})),
        (of(a={"$ref": "#/$defs/none"}, b={"$ref": 5}, c={"$ref": "http://x/y"}), of(a={}, b={}, c={})),
        ({**of(), "additionalProperties": "false"}, {**of(), "additionalProperties": False}),
        ({**of(), "additionalProperties": None, "$schema": "http://x"}, of()),
        ({"$schema": "x", "anyOf": [{**of(a={}), "required": ["a"]}, {**of(a={}, b={}), "required": ["a", "b"]}]}, {**of(a={}, b={}), "required": ["a"]}),
        ({"allOf": [{**of(a={}), "required": ["a"]}, of(b={})]}, {**of(a={}, b={}), "required": ["a"]}),
        ([], of()),
        ("none", of()),
        (5, of()),
    ],
)  # fmt: skip
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
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "required", "items", "enum", "anyOf", "allOf", "additionalProperties", "minimum",
             "minLength", "pattern", "description", "$ref", "default", "a", "not", "$defs", "format", "const",
             "exclusiveMinimum", "prefixItems", "dependentRequired", "patternProperties", "uniqueItems", "$id"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


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
