"""Checker for tools' JSON schemas: mends what devices, servers and clients write, or drops the tool.

One tool whose schema is none makes a vendor refuse every request that offers it. So each tool goes through `offerable`
where it comes in, whoever's it is; what had to be mended or left out is logged once.
"""

import json
import logging
import math
import re
from collections import OrderedDict
from collections.abc import Mapping

from pydantic import JsonValue

from voiceagent.llm.base import ToolSpec

log = logging.getLogger(__name__)

Json = dict[str, JsonValue]

MOST_DEPTH = 32
"""Levels of a schema; what lies deeper may be anything."""
MOST_NOTED = 2_000
"""Tools that are remembered for having been told of."""

TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_ALIASES = {
    **dict.fromkeys(("int", "int32", "int64", "uint8", "uint16", "uint32", "long", "short", "byte"), "integer"),
    **dict.fromkeys(("float", "double", "decimal", "real", "float32", "float64", "numeric"), "number"),
    **dict.fromkeys(("str", "text", "char", "varchar", "date", "datetime", "time", "uri", "url", "uuid"), "string"),
    **dict.fromkeys(("bool", "bit"), "boolean"),
    **dict.fromkeys(("list", "tuple", "set", "vector", "sequence"), "array"),
    **dict.fromkeys(("dict", "map", "struct", "record", "json", "hash", "table"), "object"),
    **dict.fromkeys(("none", "nil", "nonetype", "void"), "null"),
}  # fmt: skip
_COUNTS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
)  # fmt: skip
_NUMBERS = ("minimum", "maximum", "multipleOf")
_TEXTS = (
    "title", "description", "format", "$comment", "contentEncoding", "contentMediaType", "$anchor", "$dynamicAnchor",
)  # fmt: skip
_FLAGS = ("uniqueItems", "deprecated", "readOnly", "writeOnly", "nullable")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_TABLES = ("$defs", "definitions", "patternProperties", "dependentSchemas")
_SCHEMAS = (
    "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
    "contentSchema",
)  # fmt: skip
_DROPPED = ("$schema", "$id", "id", "$vocabulary", "$dynamicRef", "$recursiveRef", "$recursiveAnchor", "dependencies")
_NOT_AT_TOP = ("enum", "not", "const", "$ref", "if", "then", "else")

_noted: OrderedDict[tuple[str, str, str], None] = OrderedDict()


def offerable(name: str, description: str | None, schema: object, whence: str) -> ToolSpec | None:
    """The tool as it can be offered to every vendor; None where its parameters cannot be told at all. `schema` is what
    came, None where nothing did; `whence` says in the log where from."""
    if schema is None:
        return ToolSpec(name, description or "")
    parameters, wrong = mended(schema)
    if wrong:
        what = "left out" if parameters is None else "mended"
        note(whence, name, f"its schema is not sound: {what} ({', '.join(wrong[:5])})")
    return None if parameters is None else ToolSpec(name, description or "", parameters)


def mended(schema: object) -> tuple[Json | None, list[str]]:
    """A schema of an object that is sound JSON schema (2020-12) and that vendors take, and where the given one was
    not. None instead of a schema that is for something else than an object."""
    if not isinstance(schema, Mapping):
        return {"type": "object", "properties": {}}, ["no object"]
    mender = _Mender(schema)
    sound = mender.schema(dict(schema), "", 0)
    kind = sound.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return None, [*mender.wrong, f"it is for {kind}"[:60]]
    sound = {"properties": {}, **_one_object({**sound, "type": "object"}, mender)}
    known = sound["properties"]
    if "required" in sound:
        sound["required"] = [name for name in _names(sound["required"]) if isinstance(known, dict) and name in known]
        if not sound["required"]:
            del sound["required"]
    return {"type": "object", **sound}, mender.wrong


class _Mender:
    """`wrong` are the places that had to be mended."""

    def __init__(self, root: Mapping[str, object]) -> None:
        self.wrong: list[str] = []
        self._root = root

    def schema(self, value: object, at: str, depth: int) -> Json:
        """One schema within the whole; whatever is none becomes one that takes anything."""
        match value:
            case bool():
                return {} if value else {"not": {}}
            case str() if value.strip():
                self._note(at)
                return self.schema({"type": value}, at, depth)
            case Mapping() if depth < MOST_DEPTH:
                pass
            case _:
                self._note(at)
                return {}
        sound: Json = {}
        for key, inner in value.items():
            if isinstance(key, str) and (found := self._keyword(key, inner, value, f"{at}/{key}", depth)) is not None:
                sound[key] = found.value
        self._required(value, sound, at)
        if "array" in _kinds(sound) and "items" not in sound and "prefixItems" not in sound:
            sound["items"] = {}  # some vendors insist
        if "properties" in sound and "type" not in sound and not any(key in sound for key in _LISTS):
            sound["type"] = "object"
        return sound

    def _keyword(self, key: str, value: object, parent: Mapping[str, object], at: str, depth: int) -> "_Value | None":
        """What of a keyword's value is kept; None where the keyword goes."""
        if key in _DROPPED:
            return None
        if key == "required":
            return None
        if key == "type":
            return self._type(value, at)
        if key == "properties":
            return _Value(self._properties(value, at, depth))
        if key == "items":
            return self._items(value, at, depth)
        if key == "additionalProperties":
            return self._additional(value, at, depth)
        if key in _LISTS:
            return self._schemas(value, at, depth)
        if key in _TABLES:
            return _Value(self._table(value, at, depth))
        if key in _SCHEMAS:
            return _Value(self.schema(value, at, depth + 1)) if isinstance(value, Mapping | bool) else self._gone(at)
        if key == "$ref":
            return self._reference(value, at)
        if key in ("enum", "examples"):
            return self._choices(key, value, at)
        if key in ("exclusiveMinimum", "exclusiveMaximum") and isinstance(value, bool):
            bound = _number(parent.get("minimum" if "Min" in key else "maximum"))
            self._note(at)
            return _Value(bound) if value and bound is not None else None
        if key in _COUNTS or key in _NUMBERS or key.startswith("exclusive"):
            return self._bound(key, value, at)
        if key in _TEXTS or key == "pattern":
            return self._text(key, value, at)
        if key in _FLAGS:
            return _Value(value) if isinstance(value, bool) else self._gone(at)
        if key == "dependentRequired":
            sound = isinstance(value, Mapping) and all(_names(names) for names in value.values())
            return _Value(_plain(value)) if sound else self._gone(at)
        return _Value(_plain(value))

    def _type(self, value: object, at: str) -> "_Value | None":
        given = value if isinstance(value, list) else re.split(r"\s*[|,]\s*", value) if isinstance(value, str) else []
        kinds: list[str] = []
        for one in given:
            kind = str(one).strip().lower() if isinstance(one, str) else ""
            kind = _ALIASES.get(re.split(r"[\[<(]", kind)[0], kind) if kind else ""
            if kind in TYPES and kind not in kinds:
                kinds.append(kind)
        if kinds != (value if isinstance(value, list) else [value]):
            self._note(at)
        if not kinds:
            return None
        return _Value(kinds[0] if len(kinds) == 1 else [*kinds])

    def _properties(self, value: object, at: str, depth: int) -> Json:
        """Also as a list of objects with a `name` each."""
        if isinstance(value, list):
            self._note(at)
            named = [one for one in value if isinstance(one, Mapping) and isinstance(one.get("name"), str)]
            value = {str(one["name"]): {key: inner for key, inner in one.items() if key != "name"} for one in named}
        return self._table(value, at, depth)

    def _table(self, value: object, at: str, depth: int) -> Json:
        if not isinstance(value, Mapping):
            self._note(at)
            return {}
        return {str(name): self.schema(inner, f"{at}/{name}", depth + 1) for name, inner in value.items()}

    def _items(self, value: object, at: str, depth: int) -> "_Value":
        """A list of schemas, one for each place, becomes one of them for all."""
        if isinstance(value, list):
            self._note(at)
            kinds = [self.schema(inner, at, depth + 1) for inner in value]
            return _Value(kinds[0] if len(kinds) == 1 else {"anyOf": [*kinds]} if kinds else {})
        return _Value(self.schema(value, at, depth + 1))

    def _additional(self, value: object, at: str, depth: int) -> "_Value | None":
        if isinstance(value, bool):
            return _Value(value)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            self._note(at)
            return _Value(value.lower() == "true")
        return _Value(self.schema(value, at, depth + 1)) if isinstance(value, Mapping) else self._gone(at)

    def _schemas(self, value: object, at: str, depth: int) -> "_Value | None":
        given = [value] if isinstance(value, Mapping) else value
        if not isinstance(given, list) or not given:
            return self._gone(at)
        if given is not value:
            self._note(at)
        return _Value([self.schema(inner, at, depth + 1) for inner in given])

    def _reference(self, value: object, at: str) -> "_Value | None":
        """Only to what is there."""
        if not isinstance(value, str) or not value.startswith("#"):
            return self._gone(at)
        target: object = self._root
        for step in value.removeprefix("#").strip("/").split("/") if value.strip("#/") else []:
            step = step.replace("~1", "/").replace("~0", "~")
            target = target.get(step) if isinstance(target, Mapping) else None
        return _Value(value) if isinstance(target, Mapping | bool) else self._gone(at)

    def _choices(self, key: str, value: object, at: str) -> "_Value | None":
        given = (
            list(value) if isinstance(value, Mapping) else [value] if isinstance(value, str | int | float) else value
        )
        if not isinstance(given, list) or not given:
            return self._gone(at)
        if given is not value:
            self._note(at)
        kept: list[JsonValue] = []
        for one in map(_plain, given):
            if key == "examples" or json.dumps(one) not in map(json.dumps, kept):
                kept.append(one)
        if len(kept) != len(given):
            self._note(at)
        return _Value(kept)

    def _bound(self, key: str, value: object, at: str) -> "_Value | None":
        number = _number(value)
        if number is None or (key in _COUNTS and (number < 0 or number != int(number))):
            return self._gone(at)
        if key == "multipleOf" and number <= 0:
            return self._gone(at)
        if number != value or isinstance(value, str):
            self._note(at)
        return _Value(int(number) if key in _COUNTS else number)

    def _text(self, key: str, value: object, at: str) -> "_Value | None":
        if not isinstance(value, str):
            return self._gone(at) if value is None or isinstance(value, Mapping | list) else self._as_text(value, at)
        if key == "pattern":
            try:
                re.compile(value)
            except re.error:
                return self._gone(at)
        return _Value(value)

    def _as_text(self, value: object, at: str) -> "_Value":
        self._note(at)
        return _Value(str(value))

    def _required(self, value: Mapping[str, object], sound: Json, at: str) -> None:
        """Names of properties that there are; also where a property itself says that it is required."""
        given = value.get("required")
        names = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        properties = sound.get("properties")
        known = properties if isinstance(properties, dict) else {}
        described = value.get("properties")
        if isinstance(described, Mapping):
            names = [*names, *(name for name, one in described.items() if _says_required(one))]
        elif isinstance(described, list):
            names = [*names, *(one.get("name") for one in described if _says_required(one))]
        open_ended = "properties" not in sound
        kept = list(dict.fromkeys(name for name in names if isinstance(name, str) and (open_ended or name in known)))
        if "required" in value and kept != given:
            self._note(f"{at}/required")
        if kept:
            sound["required"] = [*kept]

    def _gone(self, at: str) -> "_Value | None":
        """The keyword goes."""
        self._note(at)
        return None

    def _note(self, at: str) -> None:
        if len(self.wrong) < MOST_DEPTH:
            self.wrong.append(at[:80] or "/")


class _Value:
    """A value that a keyword keeps, which may be None or False."""

    __slots__ = ("value",)

    def __init__(self, value: JsonValue) -> None:
        self.value = value


def _one_object(schema: Json, mender: _Mender) -> Json:
    """Without alternatives at the top, where vendors take none: all properties of all of them, and of those the
    required ones that every alternative requires."""
    parts: list[tuple[str, Json]] = []
    for key in _LISTS:
        if isinstance(inner := schema.get(key), list):
            parts += [(key, one) for one in inner if isinstance(one, dict)]
    schema = {key: value for key, value in schema.items() if key not in (*_LISTS, *_NOT_AT_TOP)}
    if not parts:
        return schema
    mender.wrong.append("alternatives at the top")
    own = schema.get("properties")
    properties: Json = {}
    needed = set(_names(schema.get("required")))
    choices: list[set[str]] = []
    for key, part in parts:
        inner = part.get("properties")
        properties |= inner if isinstance(inner, dict) else {}
        if key == "allOf":
            needed |= set(_names(part.get("required")))
        else:
            choices.append(set(_names(part.get("required"))))
    if choices:
        needed |= set.intersection(*choices)
    properties |= own if isinstance(own, dict) else {}
    schema["properties"] = properties
    schema.pop("required", None)
    if required := [name for name in properties if name in needed]:
        schema["required"] = [*required]
    return schema


def _kinds(schema: Json) -> list[JsonValue]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind]


def _says_required(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("required") is True


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _number(value: object) -> int | float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if math.isfinite(value) and value == int(value) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _plain(value: object) -> JsonValue:
    """As JSON can tell it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set():
            return [_plain(inner) for inner in value]
        case _:
            return str(value)


def note(whence: str, name: str, what: str) -> None:
    """Log what is wrong with a tool, once, as devices list theirs again and again."""
    key = (whence, name, what)
    if key in _noted:
        return
    _noted[key] = None
    if len(_noted) > MOST_NOTED:
        _noted.popitem(last=False)
    log.warning("%s: tool %r: %s", whence, name[:80], what)
