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
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Literal, Protocol, TypeVar, cast, overload

import pydantic_core
from pydantic import JsonValue

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller, ToolSpec
from voiceagent.tools.base import Tool, ToolError, ToolPolicy
from voiceagent.tools.docstrings import described
from voiceagent.tools.settings import PythonSection
from voiceagent.tools.signature import Function, Signature
from voiceagent.tools.threads import Busy, Threads, off_loop

log = logging.getLogger(__name__)

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
        self.spec = ToolSpec(name, mark.description or text, self._signature.schema)
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
