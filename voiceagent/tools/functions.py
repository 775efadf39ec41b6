"""Python functions as tools: the types of the parameters are the schema, the docstring is the description.

from voiceagent.tools.functions import tool

@tool(deadline_seconds=5, confirm=True)
async def order(pizza: Literal["margherita", "funghi"], count: int = 1) -> str:
    '''Orders pizza.

    Args:
        count: How many, at most ten.
    '''
"""

import asyncio
import functools
import hashlib
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal, Protocol, TypeVar, cast, overload

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model
from pydantic.errors import PydanticUserError

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller, ToolSpec
from voiceagent.tools.base import Tool, ToolError, ToolPolicy
from voiceagent.tools.schema import offerable
from voiceagent.tools.settings import PythonSection
from voiceagent.tools.threads import Busy, Threads, off_loop

log = logging.getLogger(__name__)


# What a function's docstring tells a model: what the function does, and what its parameters are.

_HEADING = re.compile(r"(args|arguments|parameters|params|参数|參數)\s*[:：]\s*", re.IGNORECASE)
_OTHER = re.compile(
    r"(returns?|yields?|raises|examples?|notes?|attributes|返回|返回值|抛出|异常|示例)\s*[:：]\s*", re.IGNORECASE
)
_PARAMETER = re.compile(r"\*{0,2}(\w+)\s*(?:[(（][^)）]*[)）])?\s*[:：]\s*(.*)")
_FIELD = re.compile(r":(?:param|parameter|arg)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_OTHER_FIELD = re.compile(r":\w+[^:]*:.*")


def described(function: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """The description and those of the parameters. They may stand below a line `Args:`, indented, as `name: what`, or
    in lines `:param name: what`; a parameter's text may go on in lines that are indented further."""
    text: list[str] = []
    parameters: dict[str, str] = {}
    inside = False
    """Whether this is the list of parameters, or another section after the text."""
    names, current, indent = False, "", 0
    for line in (inspect.getdoc(function) or "").splitlines():
        stripped = line.strip()
        margin = len(line) - len(line.lstrip())
        if field := _FIELD.fullmatch(stripped):
            inside, names, current, indent = True, False, field[1], margin
            parameters[current] = field[2]
        elif margin == 0 and (_HEADING.fullmatch(stripped) or _OTHER.fullmatch(stripped)):
            inside, names, current, indent = True, _HEADING.fullmatch(stripped) is not None, "", 0
        elif margin == 0 and _OTHER_FIELD.fullmatch(stripped):
            inside, names, current = True, False, ""
        elif current and margin > indent and stripped:
            parameters[current] = f"{parameters[current]} {stripped}".strip()
        elif names and margin and (parameter := _PARAMETER.fullmatch(stripped)):
            current, indent = parameter[1], margin
            parameters[current] = parameter[2]
        elif stripped and margin == 0 and inside and not names:
            inside, current = False, ""
            text.append(stripped)
        elif not inside:
            text.append(stripped)
    return "\n".join(text).strip(), parameters


# A function's parameters, as a model is told of them and as the function gets them.

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


F = TypeVar("F", bound=Function)
G = TypeVar("G", bound=Function)

IMPORT_SECONDS = 60.0
"""How long a module may take to be loaded."""
_MARK = "__voiceagent_tool__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@tool` says of a function. Name and description "" are the function's own."""

    policy: ToolPolicy = field(default_factory=ToolPolicy)
    name: str = ""
    description: str = ""


class Decorator(Protocol):
    def __call__(self, function: F, /) -> F: ...


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    deadline_seconds: float = ...,
    on_interrupt: Literal["cancel", "keep"] = ...,
    filler_ms: int = ...,
    confirm: bool = ...,
) -> Decorator: ...
def tool(
    function: F | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    deadline_seconds: float = ToolPolicy().deadline_seconds,
    on_interrupt: Literal["cancel", "keep"] = ToolPolicy().on_interrupt,
    filler_ms: int = ToolPolicy().filler_ms,
    confirm: bool = ToolPolicy().confirm,
) -> F | Decorator:
    """Marks a function that agents may call; it stays what it is. For the rest see ToolPolicy."""
    mark = Mark(ToolPolicy(deadline_seconds, on_interrupt, filler_ms, confirm), name, description)

    def marked(function: G) -> G:
        setattr(function, _MARK, mark)
        return function

    return marked if function is None else marked(function)


def mark_of(function: object) -> Mark | None:
    mark = getattr(function, _MARK, None)
    return mark if isinstance(mark, Mark) else None


class FunctionTool:
    """One function. One that is not async runs on one of `threads`: it cannot be stopped, when it is cancelled only its
    result is dropped. Raises ConfigError when the parameters cannot be told to a model."""

    def __init__(
        self, function: Function, threads: Threads, *, name: str = "", policy: ToolPolicy | None = None
    ) -> None:
        mark = mark_of(function) or Mark()
        text, parameters = described(function)
        self._function = function
        self._threads = threads
        self._async = inspect.iscoroutinefunction(inspect.unwrap(function))
        self._signature = Signature(function, parameters)
        name = name or mark.name or function.__name__
        spec = offerable(name, mark.description or text, self._signature.schema, "a Python function")
        self.spec = spec or ToolSpec(name, mark.description or text)
        self.policy = policy or mark.policy

    async def call(self, arguments: Mapping[str, JsonValue], caller: Caller) -> str:
        given = self._signature.read(arguments, caller)
        try:
            if self._async:
                result = self._function(**given)
                return told(await result if inspect.isawaitable(result) else result)
            return await self._threads.run(lambda: told(self._function(**given)))
        except Busy:
            raise ToolError("too many calls wait already") from None
        except (ToolError, GeneratorExit, KeyboardInterrupt):
            raise
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise ToolError("CancelledError") from None
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = type(error).__name__
            log.error("tool %s broke: %s at %s:%s", self.spec.name, kind, place.filename, place.lineno)
            raise ToolError(kind) from None


def told(result: object) -> str:
    """A result as text for the model: a string as it is, nothing as nothing, the rest as JSON."""
    if isinstance(result, str):
        return result
    return "" if result is None else pydantic_core.to_json(result).decode()


class PythonSource:
    """The functions of one module."""

    def __init__(self, section: PythonSection, threads: int = 8) -> None:
        self.label = section.module
        self._section = section
        self._threads = Threads(threads, "tool")
        self._tools: tuple[FunctionTool, ...] = ()

    async def open(self) -> None:
        section = self._section
        where = f"[tools] python {section.module}"
        try:
            module = await off_loop(functools.partial(load, section.module), "tools", IMPORT_SECONDS)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        except TimeoutError:
            raise ConfigError(f"{where}: it is not loaded after {IMPORT_SECONDS:g} s") from None
        try:
            functions = _chosen(module, section.functions)
            self._tools = tuple(self._tool(name, function) for name, function in functions.items())
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if unknown := sorted(set(section.policies) - functions.keys()):
            raise ConfigError(f"{where}: policies: there is no tool {unknown[0]}")

    def tools(self) -> tuple[Tool, ...]:
        return self._tools

    async def close(self) -> None:
        self._threads.close()

    def _tool(self, name: str, function: Function) -> FunctionTool:
        section = self._section
        policy = section.policy_of(name, (mark_of(function) or Mark()).policy)
        return FunctionTool(function, self._threads, name=section.prefix + name, policy=policy)


class FunctionSource:
    """Functions and tools that a program hands over. Raises ConfigError when a function cannot be told to a model."""

    label = "tools="

    def __init__(self, given: Sequence[Function | Tool], threads: int = 8) -> None:
        self._threads = Threads(threads, "tool")
        self._tools = tuple(
            FunctionTool(one, self._threads) if inspect.isroutine(one) else cast(Tool, one) for one in given
        )

    async def open(self) -> None:
        """Nothing is to be opened."""

    def tools(self) -> tuple[Tool, ...]:
        return self._tools

    async def close(self) -> None:
        self._threads.close()


def load(name: str) -> ModuleType:
    """The module of this name, or of this file. Raises ConfigError."""
    try:
        return _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ConfigError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module {error.name}: name its file, or set PYTHONPATH") from None
        raise ConfigError(f"it needs the module {error.name}, which is not installed") from None
    except SyntaxError as error:
        raise ConfigError(f"it cannot be loaded: {type(error).__name__} at {error.filename}:{error.lineno}") from None
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(f"it cannot be loaded: {type(error).__name__} at {place.filename}:{place.lineno}") from None


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    name = f"_tools_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _chosen(module: ModuleType, names: tuple[str, ...]) -> dict[str, Function]:
    """The functions by the tools' names: those that are named, else those that are marked. Raises ConfigError."""
    found: dict[str, Function] = {}
    for name in names or tuple(vars(module)):
        function = getattr(module, name, None)
        if names and not inspect.isroutine(function):
            raise ConfigError(f"there is no function {name}")
        mark = mark_of(function)
        if names or mark is not None:
            own = mark.name if mark is not None and mark.name else name
            if found.setdefault(own, cast(Function, function)) is not function:
                raise ConfigError(f"two tools are named {own}")
    if not found:
        raise ConfigError("mark its functions with @tool, or name them in `functions`")
    return found
