"""The page of the Realtime protocol's messages: those of our own in full, the others by name."""

from collections.abc import Iterable, Iterator
from typing import get_type_hints

import msgspec

from docs.reference import sources
from docs.reference.markdown import docstring, table, typed
from docs.reference.meanings import meanings

OWN = "voiceagent"
"""The prefix of our own messages, and the key of our own options."""

INTRODUCTION = """\
# Realtime protocol: events

The messages at `/v1/realtime`, generated from the sources. Those of OpenAI's protocol have its field names and types;
the `voiceagent.*` ones are our own, told to clients that ask for them by `session.update` with
`session.voiceagent.events` true (`voiceagent.warning`: to all).
How clients connect: [OpenAI Realtime](../guides/python/openai-realtime.md).

"""


def page() -> str:
    """The whole page."""
    server = sorted(sources.server_events(), key=_tag)
    own = [kind for kind in server if _tag(kind).startswith(f"{OWN}.")]
    return "".join(
        (
            INTRODUCTION,
            "## Events of our own\n\n",
            *_in_full((f"`{_tag(kind)}`", kind) for kind in own),
            "## Options of our own\n\n",
            *_in_full((f"`{where}.{OWN}`", kind) for where, kind in _extensions()),
            "## What the server sends\n\n",
            _by_name(kind for kind in server if kind not in own),
            "\n## What clients send\n\n",
            _by_name(sorted(sources.client_events(), key=_tag)),
        )
    )


def _tag(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


def _in_full(titled: Iterable[tuple[str, type[msgspec.Struct]]]) -> Iterator[str]:
    for title, kind in titled:
        hints, said = get_type_hints(kind, include_extras=True), meanings(kind)
        rows = [
            (f"`{field.encode_name}`", typed(hints[field.name]), said.get(field.name, ""))
            for field in msgspec.structs.fields(kind)
            if field.name != "event_id"
        ]
        about = f"{text}\n\n" if (text := docstring(kind)) else ""
        yield f"### {title}\n\n{about}{table(('field', 'type', 'meaning'), rows)}\n"


def _by_name(kinds: Iterable[type[msgspec.Struct]]) -> str:
    rows = (
        (f"`{_tag(kind)}`", ", ".join(f"`{field.encode_name}`" for field in _fields(kind)), docstring(kind))
        for kind in kinds
    )
    return table(("message", "fields", ""), rows)


def _fields(kind: type[msgspec.Struct]) -> Iterator[msgspec.structs.FieldInfo]:
    return (field for field in msgspec.structs.fields(kind) if field.name != "event_id")


def _extensions() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """The options of our own within clients' messages: where they stand, and their class."""
    for kind in sources.client_events():
        for path, extension in _below(kind, ()):
            yield ".".join(path), extension


def _below(annotation: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[msgspec.Struct]]]:
    for kind in _structs(annotation):
        for field in msgspec.structs.fields(kind):
            if field.encode_name == OWN:
                yield from ((path, extension) for extension in _structs(field.type))
            elif len(path) < 2:
                yield from _below(field.type, (*path, field.encode_name))


def _structs(annotation: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _structs(part)
