"""A function's parameters, as a model is told of them and as the function gets them."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, cast

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model
from pydantic.errors import PydanticUserError

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller
from voiceagent.tools.base import ToolError

Function = Callable[..., object]

MOST_ERRORS = 5
"""How many wrong arguments a model is told of at a time."""


class Signature:
    """A function's parameters: as a JSON schema, and read from a call's arguments. Those of type Caller are filled in
    and not told."""

    def __init__(self, function: Function, descriptions: Mapping[str, str]) -> None:
        self._callers: list[str] = []
        self._names: dict[str, str] = {}
        """The parameters by the names of the model's fields, which may not begin with _ or be `json` and the like."""
        fields: dict[str, object] = {}
        for name, parameter, annotation in _parameters(function):
            if _is_caller(annotation):
                self._callers.append(name)
                continue
            key = f"p{len(fields)}"
            default = ... if parameter.default is parameter.empty else parameter.default
            about = {"description": descriptions[name]} if name in descriptions else {}
            fields[key] = (Annotated[annotation, Field(alias=name, **about)], default)  # type: ignore[call-overload]
            self._names[key] = name
        try:
            self._model = cast(
                type[BaseModel],
                create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields),  # type: ignore[call-overload]
            )
            self.schema = _plain(self._model.model_json_schema(by_alias=True))
        except (PydanticUserError, pydantic_core.SchemaError, TypeError) as error:
            raise ConfigError(f"the parameters of {function.__name__} cannot be told: {type(error).__name__}") from None

    def read(self, arguments: Mapping[str, JsonValue], caller: Caller) -> dict[str, object]:
        """What to call the function with. Raises ToolError, which tells the model what is wrong."""
        try:
            model = self._model.model_validate(dict(arguments))
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, one['loc'])) or 'all'}: {one['msg']}" for one in error.errors()[:MOST_ERRORS]]
            raise ToolError(f"wrong arguments: {'; '.join(wrong)}") from None
        given: dict[str, object] = {name: getattr(model, key) for key, name in self._names.items()}
        return given | dict.fromkeys(self._callers, caller)


def _parameters(function: Function) -> list[tuple[str, inspect.Parameter, object]]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ConfigError(f"the types of {function.__name__} cannot be read: {type(error).__name__}") from None
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{function.__name__}: a model cannot give {parameter}")
        if name not in hints:
            raise ConfigError(f"{function.__name__}: the parameter {name} has no type")
        parameters.append((name, parameter, cast(object, hints[name])))
    return parameters


def _is_caller(annotation: object) -> bool:
    """Whether it is Caller, or Caller or None."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return Caller in typing.get_args(annotation)
    return annotation is Caller


def _plain(schema: JsonValue) -> dict[str, JsonValue]:
    """Without the titles, which only repeat the names."""

    def stripped(value: JsonValue, named: bool = False) -> JsonValue:
        """`named`: the keys are names, not the schema's own words."""
        match value:
            case dict():
                return {
                    key: stripped(inner, not named and key in ("properties", "$defs"))
                    for key, inner in value.items()
                    if named or key != "title" or not isinstance(inner, str)
                }
            case list():
                return [stripped(inner) for inner in value]
            case _:
                return value

    return cast(dict[str, JsonValue], stripped(schema))
