"""Problems of a configuration, each as one line: the path of the key, what is wrong with it, what may be meant."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError

from voiceagent.errors import ConfigError


class InvalidConfig(ConfigError):
    """A configuration with one or more problems. `problems` has a line for each; the message is the first of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "limits"?` for a word that resembles a known one, else "". Compared without case."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f'; did you mean "{by_lower[found[0]]}"?' if found else ""


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """A line for each problem that pydantic has found in the values of `model`. No value is in it: it may be secret."""
    for problem in error.errors(include_input=False, include_url=False):
        path = [str(part) for part in problem["loc"] if not _is_tag(part)]
        key = ".".join(path)
        match problem["type"]:
            case "extra_forbidden":
                known = known_keys(model, problem["loc"][:-1])
                yield f"{key}: there is no such key{did_you_mean(path[-1], known)}"
            case "missing":
                yield f"{key}: this key is required"
            case "literal_error":
                allowed = problem["ctx"]["expected"]
                yield f"{key}: must be {allowed}"
            case _:
                text = problem["msg"].removeprefix("Value error, ")
                yield f"{key}: {text}" if key else text


def _is_tag(part: object) -> bool:
    """Whether a part of pydantic's path is no key of the file but its name for a member of a union."""
    return isinstance(part, str) and ("[" in part or part.startswith("function-"))


def known_keys(model: type[BaseModel], path: Iterable[object]) -> list[str]:
    """The keys of the table at `path` below `model`; none where there is no table of fixed keys."""
    here: list[object] = [model]
    for part in path:
        here = [kind for one in here for kind in _below(one, part)]
    return [name for one in here if (table := _table(one)) is not None for name in table.model_fields]


def _table(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _below(annotation: object, part: object) -> Iterator[object]:
    """What the annotations of a value say of the value at one key or index of it."""
    table = _table(annotation)
    if table is not None:
        field = table.model_fields.get(str(part))
        if field is not None:
            yield from _members(field.annotation)
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
        yield from _members(arguments[1])
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield from _members(arguments[0])


def _members(annotation: object) -> Iterator[object]:
    """The members of a union, without what `Annotated` adds."""
    arguments = typing.get_args(annotation)
    if arguments and typing.get_origin(annotation) is typing.Annotated:
        yield from _members(arguments[0])
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for argument in arguments:
            yield from _members(argument)
    else:
        yield annotation
