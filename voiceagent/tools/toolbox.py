"""The tools that the server runs for its agents: from any number of sources, one name each, run within a deadline."""

import asyncio
import json
import logging
import re
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import JsonValue

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller, ToolSpec
from voiceagent.tools.base import Tool, ToolError, ToolSource

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What every endpoint takes for a function's name."""
RESULT_CHARS = 20_000
"""The most of a result that a model is shown: some 5,000 tokens."""
GRACE_SECONDS = 1.0
"""How long a cancelled call may take to end."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that came to nothing, as the model is told of it."""

    why: str
    code: Literal["failed", "timeout", "bad_arguments", "unknown", "refused", "interrupted"] = "failed"

    def __str__(self) -> str:
        return f"error: {self.why}"


class Toolbox:
    """One a process. A name that two sources use is an error at the start; of a source that offers it only later, it is
    left out and logged once. Any conversation on any task may call."""

    def __init__(self, sources: Sequence[ToolSource] = ()) -> None:
        self._sources = tuple(sources)
        self._opened: list[ToolSource] = []
        self._left_out: set[str] = set()
        self._running: set[asyncio.Task[str | Failed]] = set()

    async def open(self) -> None:
        """Open all sources side by side. Raises ConfigError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for source in self._sources:
                    self._opened.append(source)
                    tasks.create_task(source.open())
        except ExceptionGroup as group:
            config = group.subgroup(ConfigError)
            if config is not None:
                raise _first(config) from None
            raise
        names: set[str] = set()
        for tool in self._all():
            name = tool.spec.name
            if not NAME.fullmatch(name):
                raise ConfigError(f"[tools]: a tool's name is 1 to 64 letters, digits, _ and -, not {name!r}")
            if name in names:
                raise ConfigError(f"[tools]: two tools are named {name!r}; rename one or leave it out")
            names.add(name)

    async def close(self) -> None:
        """End what still runs and close all sources, side by side."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=GRACE_SECONDS)
        opened, self._opened = self._opened, []
        for error in await asyncio.gather(*(source.close() for source in opened), return_exceptions=True):
            if isinstance(error, BaseException):
                log.error("tools could not be closed: %s", type(error).__name__)

    def __bool__(self) -> bool:
        """Whether there is anything in it, now or later."""
        return bool(self._sources)

    def specs(self, *, without: Collection[str] = ()) -> tuple[ToolSpec, ...]:
        """What can be called now, but for these names."""
        return tuple(tool.spec for tool in self._named().values() if tool.spec.name not in without)

    def find(self, name: str) -> Tool | None:
        return self._named().get(name)

    async def run(self, tool: Tool, arguments: str, caller: Caller) -> str | Failed:
        """The result of one call, whatever happens; only cancelling it raises. `arguments` is the model's JSON text.

        The call is a task of its own: one that neither ends nor can be cancelled holds up nobody.
        """
        parsed = parse(arguments)
        if parsed is None:
            return Failed("the arguments are not a JSON object", "bad_arguments")
        name, seconds = tool.spec.name, tool.policy.deadline_seconds
        call = asyncio.create_task(_guarded(tool, parsed, caller), name=f"tool {name}")
        self._running.add(call)
        call.add_done_callback(self._running.discard)
        try:
            await asyncio.wait((call,), timeout=seconds)
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait((call,), timeout=GRACE_SECONDS)
                if not call.done():
                    log.error("session %s: tool %s does not end when it is cancelled", caller.session, name)
        if not call.done() or call.cancelled():
            return Failed(f"no answer within {seconds:g} s", "timeout")
        return call.result()

    def _all(self) -> Iterator[Tool]:
        for source in self._sources:
            yield from source.tools()

    def _named(self) -> dict[str, Tool]:
        named: dict[str, Tool] = {}
        for tool in self._all():
            name = tool.spec.name
            if name not in named and NAME.fullmatch(name):
                named[name] = tool
            elif name not in self._left_out:
                self._left_out.add(name)
                log.error("a tool cannot be offered: its name %r is taken or none", name[:80])
        return named


def parse(arguments: str) -> Mapping[str, JsonValue] | None:
    """A call's arguments, None when they are no JSON object. Models write nothing at all where there are none."""
    try:
        parsed = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return cast(Mapping[str, JsonValue], parsed) if isinstance(parsed, dict) else None


async def _guarded(tool: Tool, arguments: Mapping[str, JsonValue], caller: Caller) -> str | Failed:
    """The call, with whatever it raises made a result. Of an unforeseen error the log gets the place and the kind, not
    the words: they may be the user's."""
    name = tool.spec.name
    try:
        return _fitted(await tool.call(arguments, caller))
    except ToolError as error:
        log.warning("session %s: tool: failed: the tool %r failed", caller.session, name)
        return Failed(_fitted(str(error)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error(
            "session %s: tool: failed: the tool %r broke: %s at %s:%s",
            caller.session,
            name,
            type(error).__name__,
            place.filename,
            place.lineno,
        )
        return Failed("the tool broke")


def _fitted(result: str) -> str:
    return result if len(result) <= RESULT_CHARS else f"{result[:RESULT_CHARS]} … (cut)"


def _first(group: ExceptionGroup[ConfigError]) -> ConfigError:
    error: ConfigError | ExceptionGroup[ConfigError] = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
