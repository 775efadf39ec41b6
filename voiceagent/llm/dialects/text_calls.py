"""Tool calls that a model wrote into its text: read from the notations of the model families. Without I/O."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydantic import JsonValue

from voiceagent.llm.lenient import decoded, word_of

_NAME_KEYS = ("name", "tool", "tool_name", "function_name", "function", "recipient_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input", "params", "kwargs", "action_input")
_WRAPPERS = ("function", "tool_call", "function_call", "tool_calls", "tool_uses", "call")
_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}")
_FUNCTION_TAG = re.compile(
    r"<(?:function|invoke|antml:invoke)\s*(?:=\s*|\s+name\s*=\s*)[\"']?([\w.-]+)[\"']?\s*>(.*?)"
    r"(?:</(?:function|invoke|antml:invoke)>|\Z)",
    re.DOTALL,
)
_PARAMETER_TAG = re.compile(
    r"<(?:antml:)?parameter\s*(?:=\s*|\s+name\s*=\s*)[\"']?([\w.-]+)[\"']?[^>]*>(.*?)"
    r"(?:</(?:antml:)?parameter>|(?=<(?:antml:)?parameter)|\Z)",
    re.DOTALL,
)
_ARGUMENT_PAIR = re.compile(
    r"<arg_key>\s*(.*?)\s*</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|(?=<arg_key>)|\Z)", re.DOTALL
)
_NAME_AND_JSON = re.compile(
    r"\s*(?:functions?[.:])?([A-Za-z_][\w.-]*?)(?::\d+)?\s*(?:```(?:json)?\s*)?(\{.*\})\s*(?:```)?\s*", re.DOTALL
)
_MARKS = re.compile(
    r"<[|｜][^<>|｜]{1,40}[|｜]>|</?tool_calls?>|</?function_calls?>|\[/?TOOL_CALLS\]|\[ARGS\]|```(?:\w+)?"
)


class WrittenCall(NamedTuple):
    name: str
    arguments: str
    """JSON text of an object."""


def calls_in(text: str) -> list[WrittenCall]:
    """The calls in a text that is taken for nothing but calls; [] where none can be read."""
    for read in (_by_tags, _by_pairs, _by_json, _by_name_and_json, _by_python):
        if found := list(read(text)):
            return found
    return []


def calls_of_json(text: str) -> list[WrittenCall] | None:
    """The calls that a JSON text is; None where it is something else than calls, or no JSON."""
    values = decoded(text)
    calls = [call for value in values for call in _of_value(value)]
    return calls or None


def same_call(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether both have the same name and arguments, however these are written."""
    return one[0] == other[0] and decoded(one[1]) == decoded(other[1])


def _by_tags(text: str) -> Iterator[WrittenCall]:
    """`<function=NAME>{…}</function>` of Llama, Qwen's coder and its parameters as tags, Anthropic's `invoke`."""
    for name, body in _FUNCTION_TAG.findall(text):
        parameters = {key: _value(value) for key, value in _PARAMETER_TAG.findall(body)}
        if parameters or not body.strip():
            yield WrittenCall(_plain(name), json.dumps(parameters, ensure_ascii=False))
        elif (given := decoded(body)) and isinstance(given[0], dict):
            yield WrittenCall(_plain(name), json.dumps(given[0], ensure_ascii=False))


def _by_pairs(text: str) -> Iterator[WrittenCall]:
    """GLM's: the name, then pairs of tags."""
    if pairs := _ARGUMENT_PAIR.findall(text):
        name = text[: text.index("<arg_key>")].strip()
        if _NAME.fullmatch(name):
            arguments = {key: _value(value) for key, value in pairs}
            yield WrittenCall(_plain(name), json.dumps(arguments, ensure_ascii=False))


def _by_json(text: str) -> Iterator[WrittenCall]:
    """Hermes', Qwen's, Mistral's, Llama's."""
    for candidate in (text, _MARKS.sub("\n", text)):
        if calls := calls_of_json(candidate):
            yield from calls
            return


def _by_name_and_json(text: str) -> Iterator[WrittenCall]:
    """DeepSeek's, Kimi's, Mistral's newer ones: the name, a mark, the arguments; one or more of them."""
    pieces = re.split(r"<[|｜]tool[▁_]calls?[▁_](?:end|begin)[|｜]>|\[TOOL_CALLS\]|[\r\n]+(?=[\w.:]+\s*\{)", text)
    for piece in pieces:
        plain = _MARKS.sub(" ", piece).strip()
        plain = re.sub(r"^function\s+(?=[\w.-]+)", "", plain)
        if (found := _NAME_AND_JSON.fullmatch(plain)) and (given := decoded(found[2])) and isinstance(given[0], dict):
            yield WrittenCall(_plain(found[1]), json.dumps(given[0], ensure_ascii=False))


def _by_python(text: str) -> Iterator[WrittenCall]:
    """Gemma's and Llama's: `weather(city="Oslo")`, alone, in a list or printed; with keywords and plain values only."""
    try:
        tree = ast.parse(text.strip(), mode="exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for statement in tree.body:
        if not isinstance(statement, ast.Expr | ast.Assign):
            return
        value = statement.value
        for node in value.elts if isinstance(value, ast.List | ast.Tuple) else [value]:
            if (call := _of_python(node)) is None:
                return
            yield call


def _of_python(node: ast.expr) -> WrittenCall | None:
    if not isinstance(node, ast.Call):
        return None
    name = ast.unparse(node.func)
    if name == "print" and len(node.args) == 1:
        return _of_python(node.args[0])
    if node.args or not _NAME.fullmatch(name):
        return None
    try:
        arguments = {one.arg: ast.literal_eval(one.value) for one in node.keywords if one.arg is not None}
        return WrittenCall(_plain(name), json.dumps(arguments, ensure_ascii=False))
    except (ValueError, TypeError):
        return None


def _of_value(value: JsonValue) -> Iterator[WrittenCall]:
    match value:
        case list():
            for one in value:
                yield from _of_value(one)
        case dict():
            if (call := _of_object(value)) is not None:
                yield call
                return
            for key in _WRAPPERS:
                if isinstance(inner := value.get(key), dict | list):
                    yield from _of_value(inner)


def _of_object(value: Mapping[str, JsonValue]) -> WrittenCall | None:
    """A name and arguments. An object with a name alone is one only where it says that it is a call."""
    name = next((word for key in _NAME_KEYS if (word := word_of(value.get(key)))), "")
    if not _NAME.fullmatch(name):
        return None
    given = next((value[key] for key in _ARGUMENT_KEYS if key in value), None)
    if isinstance(given, str):
        read = decoded(given) if given.strip() else [{}]
        given = read[0] if read else None
    elif given is None and (any(key in value for key in _ARGUMENT_KEYS) or value.get("type") == "function"):
        given = {}
    return WrittenCall(_plain(name), json.dumps(given, ensure_ascii=False)) if isinstance(given, dict) else None


def _plain(name: str) -> str:
    """Without the namespace that some families put before it."""
    for prefix in ("functions.", "default_api.", "tools.", "function."):
        name = name.removeprefix(prefix)
    return name


def _value(text: str) -> JsonValue:
    """A parameter between tags: JSON where it is some, else the text."""
    text = text.strip("\r\n").strip()
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value
