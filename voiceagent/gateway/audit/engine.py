"""Who asked which endpoint, what it took and cost, and how it ended: one line of JSON a request."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from pydantic import Field

from voiceagent.errors import EngineError
from voiceagent.gateway.audit.log_file import AuditLog, LoggerSink, RotatingFile
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, TextDelta, ToolCall
from voiceagent.section import Section


class AuditSettings(Section):
    """The audit log: one line of JSON a request."""

    on: bool = False
    """Whether there is one."""
    path: str = ""
    """The file; without one the lines go to the log, as `voiceagent.audit`."""
    megabytes: float = Field(default=64.0, gt=0)
    """A file of this size is moved away."""
    keep: int = Field(default=10, ge=0)
    """So many old files are kept."""
    content: bool = False
    """Adds the words of question and answer."""


class AuditEntry(msgspec.Struct, omit_defaults=True):
    """A line. `outcome` is the reason of an answer that ended, `cancelled`, or the error's code. Times in milliseconds;
    `first_ms` is missing where no word came."""

    at: str
    tenant: str
    user: str
    session: str
    turn: int
    outcome: str
    endpoint: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    ms: int
    first_ms: int | None = None
    speculative: bool = False
    tools: list[str] = []
    question: str | None = None
    answer: str | None = None


class AuditedLlm:
    """An LlmEngine that writes a line about each request. Outermost, it also sees what limits, budgets and guard rails
    have refused."""

    def __init__(
        self, engine: LlmEngine, log: AuditLog, content: bool = False, wall: Callable[[], float] = time.time
    ) -> None:
        """`log` is opened and closed with it."""
        self._engine = engine
        self._log = log
        self._content = content
        self._wall = wall

    @classmethod
    def by(cls, settings: AuditSettings, engine: LlmEngine) -> "AuditedLlm":
        sink = RotatingFile(Path(settings.path), settings.megabytes, settings.keep) if settings.path else LoggerSink()
        return cls(engine, AuditLog(sink), settings.content)

    @property
    def talk_tokens(self) -> int | None:
        return self._engine.talk_tokens

    async def open(self) -> None:
        await self._engine.open()
        self._log.open()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does."""
        loop = asyncio.get_running_loop()
        began, first = loop.time(), None
        at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        outcome, end = "cancelled", Completed()
        said: list[str] = []
        tools: list[str] = []
        try:
            async with aclosing(self._engine.reply(request)) as events:
                async for event in events:
                    match event:
                        case TextDelta():
                            first = loop.time() if first is None else first
                            if self._content:
                                said.append(event.text)
                        case ToolCall():
                            first = loop.time() if first is None else first
                            tools.append(event.name)
                        case Completed():
                            outcome, end = event.reason, event
                    yield event
        except EngineError as error:
            outcome = error.code
            raise
        finally:
            times = round((loop.time() - began) * 1000), None if first is None else round((first - began) * 1000)
            entry = _entry(request, at, outcome, end, times)
            entry.tools = tools
            if self._content:
                entry.question, entry.answer = _question(request), "".join(said)
            self._log.write(_line(entry))

    async def close(self) -> None:
        await self._engine.close()
        await self._log.close()


def _entry(request: LlmRequest, at: str, outcome: str, end: Completed, times: tuple[int, int | None]) -> AuditEntry:
    caller = request.caller
    return AuditEntry(
        at=at,
        tenant=caller.tenant,
        user=caller.user,
        session=caller.session,
        turn=caller.turn,
        outcome=outcome,
        endpoint=end.endpoint,
        input_tokens=end.input_tokens,
        output_tokens=end.output_tokens,
        cached_tokens=end.cached_tokens,
        cost=end.cost,
        ms=times[0],
        first_ms=times[1],
        speculative=caller.speculative,
    )


def _question(request: LlmRequest) -> str:
    return next((message.content for message in reversed(request.messages) if message.role == "user"), "")


def _line(entry: AuditEntry) -> str:
    """A lone surrogate becomes a question mark."""
    try:
        return msgspec.json.encode(entry).decode()
    except UnicodeEncodeError:
        clean = {
            name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for name, value in msgspec.structs.asdict(entry).items()
        }
        return msgspec.json.encode(clean).decode()
