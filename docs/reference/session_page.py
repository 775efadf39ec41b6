"""The page of a session's contract: the commands that a channel gives it and the events it tells."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import get_type_hints

from docs.reference import sources
from docs.reference.markdown import docstring, table, typed, value
from docs.reference.meanings import meanings

INTRODUCTION = """\
# Sessions: commands and events

A session knows no wire format. A channel gives it commands and is told events, in the order in which things happened;
both are frozen dataclasses, and these are all there are. Generated from the sources.

"""


def page() -> str:
    """The whole page."""
    return "".join(
        (
            INTRODUCTION,
            "## Commands\n\n",
            *_classes(sources.session_commands()),
            "## Events\n\n",
            *_classes(sources.session_events()),
        )
    )


def _classes(kinds: Iterable[type]) -> Iterator[str]:
    for kind in kinds:
        hints, said = get_type_hints(kind, include_extras=True), meanings(kind)
        rows = [
            (f"`{part.name}`", typed(hints[part.name]), _default(part), said.get(part.name, ""))
            for part in dataclasses.fields(kind)
        ]
        about = f"{text}\n\n" if (text := docstring(kind)) else ""
        yield f"### `{kind.__name__}`\n\n{about}{table(('field', 'type', 'default', 'meaning'), rows)}\n"


def _default(part: "dataclasses.Field[object]") -> str:
    if part.default is not dataclasses.MISSING:
        return value(part.default)
    return "" if part.default_factory is dataclasses.MISSING else "empty"
