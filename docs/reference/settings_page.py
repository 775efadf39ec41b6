"""The page of all settings: every key of the configuration file with its type, its default and its meaning."""

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints
from unittest.mock import patch

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from docs.reference import sources
from docs.reference.markdown import anchor, bounds, docstring, table, typed, value
from docs.reference.meanings import meanings

REQUIRED = object()
"""Stands for the default of a key that has none."""

INTRODUCTION = """\
# Settings

Every key of the configuration file, generated from the classes that read it. A key of a table is set in the environment
as `VOICEAGENT_` with table and key joined by two underscores: `VOICEAGENT_SERVER__PORT=9000`. The environment wins over
the file. Unknown keys are errors. How the file is used: [configuration](../guides/operator/configuration.md).

"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a table. `default` is in words; `example` is the default itself where that is a table. `tables` are
    the classes of the tables within its value."""

    name: str
    annotation: object
    constraints: tuple[object, ...]
    default: str
    example: object
    meaning: str
    tables: tuple[type, ...]

    @property
    def is_list(self) -> bool:
        """Whether it is a list of tables, which TOML writes as `[[name]]`."""
        return any(
            isinstance(origin := get_origin(part), type) and issubclass(origin, tuple | list)
            for part in (self.annotation, *get_args(self.annotation))
        )

    @property
    def is_stage(self) -> bool:
        """Whether it names an engine, whose options are all other keys."""
        return self.name in sources.STAGES

    def heading(self, path: str) -> str:
        """The heading of its table below the table `path`."""
        below = f"{path}.{self.name}".lstrip(".")
        return f"[[{below}]]" if self.is_list else f"[{below}]"


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(sections())


def sections() -> Iterator[str]:
    """One section a table of the file, in the file's order."""
    top = list(settings_of(sources.settings()))
    alone = [setting for setting in top if not setting.tables and not setting.is_stage]
    yield f"## Outside of any table\n\n{_table(alone, {})}\n"
    for setting in top:
        if setting.is_stage:
            yield (
                f"## `{setting.heading('')}`\n\n`engine` names the engine (default: {setting.default}); every other "
                "key is an option of that engine.\n\n"
            )
            for engine, options in sources.engines(setting.name):
                yield from _section(options, None, setting.name, 3, f'[{setting.name}] engine = "{engine}"')
        elif setting.tables:
            yield from _section(setting.tables[0], setting.example, setting.name, 2, setting.heading(""))


def settings_of(kind: type, example: object = None) -> Iterator[Setting]:
    """The keys that a table of this class has. With an `example` of it the defaults are those of the example."""
    said = meanings(kind)
    for name, annotation, constraints, default in _fields(kind):
        if example is not None:
            default = getattr(example, name)
        tables = _tables(annotation)
        meaning = said.get(name) or (docstring(tables[0]).split("\n\n")[0] if tables else "")
        yield Setting(name, annotation, constraints, _words(default), default, meaning, tables)


def _fields(kind: type) -> Iterator[tuple[str, object, tuple[object, ...], object]]:
    """Name, annotation, constraints and default (REQUIRED where there is none) of each field."""
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield name, field.annotation, tuple(field.metadata), _made(field.default, field.default_factory)
        return
    hints = get_type_hints(kind, include_extras=True)
    for part in dataclasses.fields(kind):  # type: ignore[arg-type]  # _tables finds only dataclasses
        yield part.name, hints[part.name], (), _made(part.default, part.default_factory)


def _made(default: object, factory: Any) -> object:
    """The default on a machine whose environment says nothing."""
    if factory not in (None, dataclasses.MISSING):
        with patch.dict(os.environ, clear=True):
            return factory()
    return REQUIRED if default in (PydanticUndefined, dataclasses.MISSING) else default


def _words(default: object) -> str:
    if default is REQUIRED:
        return "required"
    if isinstance(default, BaseModel):
        return f'`"{engine}"`' if (engine := getattr(default, "engine", "")) else ""
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return ""
    if isinstance(default, tuple | list) and any(isinstance(entry, BaseModel) for entry in default):
        return f"{len(default)} of them"
    return value(default)


def _section(kind: type, example: object, path: str, level: int, heading: str) -> Iterator[str]:
    found = list(settings_of(kind, example if isinstance(example, kind) else None))
    titles = {
        table_class: f"[table](#{anchor(setting.heading(path))})" for setting in found for table_class in setting.tables
    }
    prose = f"{text}\n\n" if (text := docstring(kind)) else ""
    yield f"{'#' * level} `{heading}`\n\n{prose}{_table(found, titles)}\n"
    for setting in found:
        for table_class in setting.tables:
            below = f"{path}.{setting.name}"
            yield from _section(table_class, setting.example, below, min(level + 1, 5), setting.heading(path))


def _table(found: list[Setting], titles: dict[type, str]) -> str:
    rows = (
        (
            f"`{setting.name}`",
            ", ".join(filter(None, (typed(setting.annotation, titles), bounds(setting.constraints)))),
            setting.default,
            setting.meaning,
        )
        for setting in found
    )
    return table(("key", "type", "default", "meaning"), rows)


def _tables(annotation: object) -> tuple[type, ...]:
    """The classes of tables within an annotation: pydantic's models and dataclasses."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        described = dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)
        return (annotation,) if described else ()
    found = [kind for part in get_args(annotation) for kind in _tables(part)]
    return tuple(dict.fromkeys(found))


def unexplained() -> Iterator[str]:
    """The keys whose classes do not say what they mean, each as `Class.key`."""
    waiting, seen = (
        [sources.settings(), *(options for stage in sources.STAGES for _, options in sources.engines(stage))],
        set(),
    )
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            for setting in settings_of(kind):
                if setting.is_stage:
                    continue
                waiting.extend(setting.tables)
                if not setting.meaning:
                    yield f"{kind.__qualname__}.{setting.name}"
