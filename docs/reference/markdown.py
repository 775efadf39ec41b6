"""Markdown that is made from docstrings, annotations and values."""

import inspect
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import UnsetType
from pydantic import JsonValue, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

PLAIN = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Path: "path",
    SecretStr: "secret text",
    SecretBytes: "secret text",
    types.NoneType: "none",
}
BOUNDS = {"gt": "> {}", "ge": "≥ {}", "lt": "< {}", "le": "≤ {}", "min_length": "at least {}"}
LONGEST = 60
"""Characters of a default that are shown; instructions and lists of words are longer."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where there are no rows."""
    lines = [" | ".join(_cell(text) for text in row) for row in rows]
    if not lines:
        return ""
    head = [" | ".join(heads), " | ".join("---" for _ in heads)]
    return "\n".join(f"| {line} |" for line in [*head, *lines]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").strip()


def docstring(kind: object) -> str:
    """The docstring written for it, none that is inherited or that `dataclass` made up."""
    text = vars(kind).get("__doc__") if isinstance(kind, type) else getattr(kind, "__doc__", None)
    if not text or (isinstance(kind, type) and text.startswith(f"{kind.__name__}(")):
        return ""
    return inspect.cleandoc(text)


def anchor(title: str) -> str:
    """The anchor that is made of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def typed(annotation: object, known: Mapping[type, str] | None = None) -> str:
    """An annotation in words. `known` has the words for classes that are described elsewhere."""
    known = known or {}
    if annotation is JsonValue:
        return "any value"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join(filter(None, (typed(arguments[0], known), bounds(arguments[1:]))))
    if origin is Literal:
        return ", ".join(f"`{argument}`" if argument != "" else '`""`' for argument in arguments)
    if origin in (Union, types.UnionType):
        chosen = [argument for argument in arguments if argument not in (types.NoneType, UnsetType)]
        words = list(dict.fromkeys(typed(argument, known) for argument in chosen))
        return " or ".join(words) + (" or none" if types.NoneType in arguments else "")
    if isinstance(annotation, type) and origin is None:
        if annotation in known:
            return known[annotation]
        if issubclass(annotation, Enum):
            return ", ".join(f"`{member.name.lower()}`" for member in annotation)
        return PLAIN.get(annotation, f"`{annotation.__name__}`")
    if isinstance(origin, type) and arguments:
        if issubclass(origin, Mapping):
            return f"table of {typed(arguments[1], known)}"
        if issubclass(origin, tuple | list | set | frozenset | Sequence):
            return f"list of {typed(arguments[0], known)}"
    return f"`{getattr(annotation, '__name__', annotation)}`"


def bounds(constraints: Iterable[object]) -> str:
    """The bounds of a number or a list, of pydantic's and annotated_types' constraints."""
    found = []
    for constraint in constraints:
        if isinstance(constraint, FieldInfo):
            found.append(bounds(constraint.metadata))
            continue
        for name, words in BOUNDS.items():
            if name in getattr(type(constraint), "__dataclass_fields__", ()):
                given = getattr(constraint, name)
                found.append("not empty" if (name, given) == ("min_length", 1) else words.format(given))
    return ", ".join(filter(None, found))


def value(given: Any) -> str:
    """A default as TOML has it, shortened where it is long."""
    if isinstance(given, SecretStr | SecretBytes) or given is None:
        return "none"  # a secret's default can only be empty
    text = _toml(given)
    return f"`{text}`" if len(text) <= LONGEST else f"`{text[: LONGEST - 1].replace('`', ' ')}…`"


def _toml(given: Any) -> str:
    match given:
        case bool():
            return str(given).lower()
        case Enum():
            return f'"{given.value}"'
        case str() | Path():
            return '"' + str(given).replace('"', "'") + '"'
        case Mapping():
            return "{" + ", ".join(f"{key} = {_toml(entry)}" for key, entry in given.items()) + "}"
        case tuple() | list() | set() | frozenset():
            return "[" + ", ".join(_toml(entry) for entry in given) + "]"
        case _:
            return str(given)
