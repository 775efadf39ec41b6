"""Tools for a session on the bench: they do what they are told, for as long as they are told."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from pydantic import JsonValue

from voiceagent.llm.base import Caller, ToolCall, ToolSpec
from voiceagent.tools.base import Tool, ToolPolicy
from voiceagent.tools.toolbox import Toolbox


class PlainTool:
    """Gives `result` after so many seconds, or raises it. `stubborn` ones do not let themselves be cancelled."""

    def __init__(
        self,
        name: str,
        result: str | BaseException = "done",
        seconds: float = 0.0,
        policy: ToolPolicy | None = None,
        *,
        stubborn: float = 0.0,
    ) -> None:
        self.spec = ToolSpec(name, f"Does {name}.", {"type": "object"})
        self.policy = policy or ToolPolicy()
        self.calls: list[Mapping[str, JsonValue]] = []
        self.callers: list[Caller] = []
        self.cancelled = 0
        self._result = result
        self._seconds = seconds
        self._stubborn = stubborn

    async def call(self, arguments: Mapping[str, JsonValue], caller: Caller) -> str:
        self.calls.append(arguments)
        self.callers.append(caller)
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            if not self._stubborn:
                raise
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(self._stubborn)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


class PlainSource:
    label = "plain"

    def __init__(self, *tools: Tool, failure: Exception | None = None) -> None:
        self.offered: Sequence[Tool] = tools
        self.failure = failure
        self.opened = 0

    async def open(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.opened += 1

    def tools(self) -> tuple[Tool, ...]:
        return tuple(self.offered)

    async def close(self) -> None:
        self.opened -= 1


def box(*tools: Tool) -> Toolbox:
    return Toolbox([PlainSource(*tools)])


def call(name: str, arguments: str = "{}", call_id: str = "") -> ToolCall:
    return ToolCall(call_id or f"call_{name}", name, arguments)
