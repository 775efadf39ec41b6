"""Plug-ins: classes named in the configuration, by the name of an entry point or as `package.module:Class`.

The built-in engines, memory stores and the like are found the same way as anybody else's.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Generic, Protocol, TypeVar, cast

from pydantic import BaseModel, ValidationError

from voiceagent import extras
from voiceagent.errors import ConfigError
from voiceagent.problems import InvalidConfig, did_you_mean, problems_of

_ABSENT = object()
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class PluginClass(Protocol[T_co]):
    """The class of a plug-in. `Options` is the pydantic model of its options; it is constructed from them and from what
    its kind gives besides, such as the model store. Construction does no I/O; `open()` does."""

    Options: type[BaseModel]

    def __call__(self, options: BaseModel, *context: object) -> T_co: ...


@dataclass(frozen=True, slots=True)
class PluginKind(Generic[T]):
    """A kind of plug-in. `name` is the group of its entry points after `voiceagent.`; `interface` is the Protocol that
    its classes implement."""

    name: str
    interface: type[T]

    def names(self) -> list[str]:
        """The plug-ins of this kind that are installed."""
        return sorted({point.name for point in entry_points(group=f"voiceagent.{self.name}")})

    def find(self, where: str, name: str) -> PluginClass[T]:
        """The class that `engine = name` asks for; `where` is the table that does, such as `[asr]`. Raises ConfigError
        in one line, MissingExtra where a package of an extra is not installed."""
        said = f"{where} engine = {name!r}"
        loaded = _imported(said, name) if ":" in name else self._installed(said, name)
        if not isinstance(loaded, type):
            raise ConfigError(f"{said} is not a class")
        if lacks := next(_missing_methods(loaded, self.interface), ""):
            raise ConfigError(f"{said} is no {self.interface.__name__}: {lacks}")
        options = getattr(loaded, "Options", None)
        if not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise ConfigError(f"{said} has no Options, the pydantic model of its options")
        return cast(PluginClass[T], loaded)

    def check(self, where: str, section: Mapping[str, object]) -> tuple[PluginClass[T], BaseModel]:
        """The class that a table asks for by `engine`, and its options, which are the other keys. Raises ConfigError as
        `find`, and InvalidConfig for wrong options."""
        options = dict(section)
        name = str(options.pop("engine"))
        plugin = self.find(where, name)
        try:
            return plugin, plugin.Options.model_validate(options)
        except ValidationError as error:
            lines = [f"{where} {line} (engine {name!r})" for line in problems_of(error, plugin.Options)]
            raise InvalidConfig(lines) from None

    def make(self, where: str, section: Mapping[str, object], *context: object) -> T:
        """The plug-in that a table asks for. `context` is passed to the class after the options. Raises ConfigError as
        `check`."""
        plugin, options = self.check(where, section)
        made = plugin(options, *context)
        for member, kind in _members(self.interface):
            if isinstance(kind, property) and inspect.getattr_static(made, member, _ABSENT) is _ABSENT:
                raise ConfigError(
                    f"{where} engine = {section['engine']!r} is no {self.interface.__name__}: no {member}"
                )
        return made

    def _installed(self, said: str, name: str) -> object:
        found = [point for point in entry_points(group=f"voiceagent.{self.name}") if point.name == name]
        if not found:
            names = self.names()
            there = f"there is: {', '.join(names)}" if names else "none is"
            raise ConfigError(f"{said} is not installed; {there}{did_you_mean(name, names)}")
        try:
            return cast(object, found[0].load())
        except ModuleNotFoundError as error:
            raise extras.missing(error, said) or _not_loaded(said, error) from None
        except (ImportError, AttributeError) as error:
            raise _not_loaded(said, error) from None


def _imported(said: str, name: str) -> object:
    """What `package.module:Class` names."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(f"{said}: there is no module {error.name}") from None
        raise extras.missing(error, said) or _not_loaded(said, error) from None
    except Exception as error:  # whatever a module does when it is imported
        raise _not_loaded(said, error) from None
    try:
        return cast(object, getattr(module, attribute))
    except AttributeError:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        hint = did_you_mean(attribute, classes)
        raise ConfigError(f"{said}: the module {module_name} has no {attribute or 'name'}{hint}") from None


def _not_loaded(said: str, error: Exception) -> ConfigError:
    lines = str(error).splitlines()
    return ConfigError(f"{said} cannot be loaded: {type(error).__name__}{f': {lines[0]}' if lines else ''}")


def _missing_methods(plugin: type, interface: type) -> Iterator[str]:
    for name, member in _members(interface):
        if isinstance(member, property):
            continue
        is_async = inspect.iscoroutinefunction(member)
        if not callable(getattr(plugin, name, None)):
            yield f"it has no method {name}"
        elif is_async != inspect.iscoroutinefunction(inspect.getattr_static(plugin, name)):
            yield f"its method {name} must {'' if is_async else 'not '}be async"


def _members(interface: type) -> Iterator[tuple[str, object]]:
    """The methods and properties that a Protocol asks for."""
    for base in reversed(interface.__mro__):
        if base not in (object, Generic, Protocol):
            for name, member in vars(base).items():
                if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    yield name, member
