"""Lenient reading of servers' JSON: what cannot be read is passed over, text is never lost. Without I/O.

Servers that call themselves compatible differ in every detail that no client of their own looks at: counts as floats or
strings, lists where there are objects, null where there is nothing, NaN. So an event is not checked against a shape: it
is decoded as plain JSON, and each field that is needed is read by one of the functions here, which take whatever comes
for the nearest thing it can mean, else for nothing.
"""

import json
import math
import re
from collections.abc import Mapping

import msgspec
from pydantic import JsonValue

Json = dict[str, JsonValue]

MOST_COUNT = 10**12
"""A count above is nonsense."""
_DECODER = json.JSONDecoder(strict=False)
_OUTSIDE_STRINGS = re.compile(
    r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])|\b(?:[Nn]a[Nn]|[Nn]one|NULL|undefined|[Ii]nf)\b|\bTrue|\bFalse'
)
_CARRIES_ANSWER = re.compile(
    r'"(?:content|text|arguments|partial_json|parts|tool_calls|functionCall|function_call)"\s*:(?!\s*(?:null|""|\[\s*\]|\{\s*\}))'
)
_SPACE = re.compile(r"\s*")


def decoded(data: str) -> list[JsonValue]:
    """The JSON values in the data, one after another; [] where it holds none that can be read. Beyond JSON: NaN and
    infinities, control characters within strings, words of other languages for null, commas before a closing bracket,
    several values in a row (events that are not parted by a blank line)."""
    data = data.strip().removeprefix("\ufeff")
    if not data:
        return []
    try:
        return [msgspec.json.decode(data)]  # three times as fast as the lenient one
    except (ValueError, RecursionError):
        pass
    for text in (data, _OUTSIDE_STRINGS.sub(_mended, data)):
        if (values := _in_a_row(text)) is not None:
            return values
    return []


def carries_answer(data: str) -> bool:
    """Whether an event that cannot be read may have held a part of the answer, so that leaving it out would leave a
    hole."""
    return _CARRIES_ANSWER.search(data) is not None


def _in_a_row(text: str) -> list[JsonValue] | None:
    values: list[JsonValue] = []
    at = 0
    while at < len(text):
        try:
            value, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
    return values


def _mended(found: re.Match[str]) -> str:
    word = found[0]
    if found[1] is not None:
        return word
    return {",": "", "True": "true", "False": "false"}.get(word, "null")


def object_of(value: JsonValue) -> Json:
    """The object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def objects_of(value: JsonValue) -> list[Json]:
    """The objects of a list; one object alone counts as a list of it, also where its keys are a list's numbers."""
    match value:
        case list():
            return [one for one in value if isinstance(one, dict)]
        case dict() if value and all(key.isdecimal() for key in value):
            return objects_of(list(value.values()))
        case dict() if value:
            return [value]
        case _:
            return []


def text_of(value: JsonValue) -> str:
    """Text, however it is wrapped: as it is, as a list of parts, as an object that holds it. A bare number is text, as
    some servers read an answer like `5` for one."""
    match value:
        case str():
            return value
        case bool() | None:
            return ""
        case int():
            return str(value)
        case float():
            return str(value) if math.isfinite(value) else ""
        case list():
            return "".join(map(text_of, value))
        case dict():
            return next(
                (text for key in ("text", "content", "parts", "value") if (text := text_of(value.get(key)))), ""
            )
    return ""


def word_of(value: JsonValue) -> str:
    """A word of the protocol (a type, a reason), "" where there is none: null is also written as a string."""
    if not isinstance(value, str):
        return ""
    word = value.strip()
    return "" if word.lower() in ("null", "none", "undefined") else word


def id_of(value: JsonValue) -> str:
    """An identifier, which may be a number."""
    match value:
        case str():
            return value
        case bool():
            return ""
        case int() | float():
            return str(value)
        case _:
            return ""


def index_of(value: JsonValue) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def count_of(value: JsonValue) -> int:
    """A number of tokens; 0 where there is none."""
    number = _number(value)
    return 0 if number is None or not 0 <= number <= MOST_COUNT else round(number)


def first_count(of: Mapping[str, JsonValue], *names: str) -> int:
    """The first of these counts that is there and not 0."""
    return next((count for name in names if (count := count_of(of.get(name)))), 0)


def truth_of(value: JsonValue) -> bool:
    return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def field(of: Mapping[str, JsonValue], *names: str) -> JsonValue:
    """The first of these fields that is there and not null."""
    return next((value for name in names if (value := of.get(name)) is not None), None)


def json_text(value: JsonValue) -> str:
    """A call's arguments as JSON text: most servers send them as a string, some as an object."""
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def _number(value: JsonValue) -> float | None:
    match value:
        case bool():
            return None
        case int() | float():
            return value if math.isfinite(value) else None
        case str():
            try:
                number = float(value)
            except ValueError:
                return None
            return number if math.isfinite(number) else None
        case _:
            return None


class SurrogateJoiner:
    """Joins the two halves of a character that came escaped in two pieces of text; a lone half becomes U+FFFD."""

    def __init__(self) -> None:
        self._half = ""

    def push(self, text: str) -> str:
        """The text, but for a first half at its end, which waits for the second."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return whole_characters(text)

    def finish(self) -> str:
        half, self._half = self._half, ""
        return "\ufffd" if half else ""


def whole_characters(text: str) -> str:
    """The text with halves that stand side by side joined and lone ones replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
