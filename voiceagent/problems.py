"""Problems of a configuration, each as one line: the path of the key, what is wrong with it, what may be meant."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError

from voiceagent.errors import ConfigError

UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a key that a model, or a dataclass, does not have."""

WORDS: Mapping[str, str] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "mapping_type": "must be a table",
    "missing": "is required",
    "model_type": "must be a table",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
}
"""What is said of pydantic's types of errors, in the words of a TOML file; of others pydantic's own message."""


class InvalidConfig(ConfigError):
    """A configuration with one or more problems. `problems` has a line for each; the message is the first of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")


def lines_of(error: ConfigError) -> Sequence[str]:
    """The problems of an error, or the error itself as one."""
    return error.problems if isinstance(error, InvalidConfig) else (str(error),)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "limits"?` for a word that resembles a known one, else "". Compared without case."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[found[0]]}"?' if found else ""


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """A line for each problem that pydantic has found in the values of `model`. No value is in it: it may be secret."""
    for problem in error.errors(include_input=False, include_url=False):
        kind, location = problem["type"], problem["loc"]
        key = ".".join(str(part) for part in location)
        if kind in UNKNOWN_KEY:
            word = str(location[-1])
            hint = did_you_mean(word, known_keys(model, location[:-1])) or _elsewhere(word, model, location)
            yield f"{key}: there is no such key{hint}"
        elif kind == "literal_error":
            yield f"{key}: must be {problem['ctx']['expected']}"
        else:
            text = WORDS.get(kind) or problem["msg"].removeprefix("Value error, ")
            yield f"{key}: {text}" if key else text


def _elsewhere(word: str, model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """A hint at the tables of `model` that do have the key, for a key that stands outside of any table."""
    tables = [name for name in model.model_fields if word in known_keys(model, (name,))] if len(location) == 1 else []
    return f"; it belongs into {' or '.join(f'[{name}]' for name in tables)}" if tables else ""


def known_keys(model: type[BaseModel], path: Iterable[object]) -> list[str]:
    """The keys of the table at `path` below `model`; none where there is no table of fixed keys."""
    here: list[object] = [model]
    for part in path:
        here = [annotation for one in here for annotation in _below(one, part)]
    return [name for one in here for name in _fields(one)]


def _below(annotation: object, part: object) -> Iterator[object]:
    """The annotations of the value at one key or index of a value with this annotation."""
    fields = _fields(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if str(part) in fields:
        yield from _alternatives(fields[str(part)])
    elif isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
        yield from _alternatives(arguments[1])
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield from _alternatives(arguments[0])


def _fields(annotation: object) -> dict[str, object]:
    """The keys of a table, which is a pydantic model or a dataclass, with their annotations."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return dict(typing.get_type_hints(annotation))
    return {}


def _alternatives(annotation: object) -> Iterator[object]:
    """The members of a union, without what `Annotated` adds to them."""
    arguments = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case typing.Annotated:
            yield from _alternatives(arguments[0])
        case typing.Union | types.UnionType:
            for argument in arguments:
                yield from _alternatives(argument)
        case _:
            yield annotation
