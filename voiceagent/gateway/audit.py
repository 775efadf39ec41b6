"""Audit log: one line of JSON a request, with who asked which endpoint, what it took and cost, and how it ended."""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import cast

import msgspec
from pydantic import Field

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, TextDelta, ToolCall
from voiceagent.llm.layers import LlmLayer, last_words
from voiceagent.section import Section

logger = logging.getLogger(__name__)
audit_logger = logging.getLogger("voiceagent.audit")

MOST_WAITING = 10_000
"""Lines that may wait for the disk; what more comes is lost, and that is counted."""
CLOSE_SECONDS = 5.0
"""How long closing the log waits for the lines that are still to be written."""


class AuditSettings(Section):
    """The audit log: one line of JSON a request."""

    on: bool = False
    """Whether there is one."""
    path: str = ""
    """The file; without one the lines go to the log, as `voiceagent.audit`."""
    megabytes: float = Field(default=64.0, gt=0)
    """A file of this size is moved to `path.1`, `path.2` …"""
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


class AuditFile(RotatingFileHandler):
    """Handler for `path`, and its forerunners `path.1` (the latest) to `path.<keep>`. The files are readable by their
    owner only; the first is opened with the first line. Raises what goes wrong, OSError above all."""

    def __init__(self, path: Path, megabytes: float = 64.0, keep: int = 10) -> None:
        size = max(1, int(megabytes * 1_000_000))
        super().__init__(
            path.expanduser(), maxBytes=size, backupCount=keep, encoding="utf-8", delay=True, errors="replace"
        )

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a", encoding=self.encoding, errors=self.errors, opener=_for_owner)

    def doRollover(self) -> None:  # noqa: N802
        if not self.backupCount:  # else the same file would go on
            Path(self.baseFilename).unlink()
        super().doRollover()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        raise


class AuditLog:
    """Takes lines without ever waiting: a bounded queue, and a thread that gives them to the handler. `lost` counts
    those that could not be kept."""

    def __init__(self, handler: logging.Handler, waiting: int = MOST_WAITING) -> None:
        self.lost = 0
        self._handler = handler
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(waiting)
        self._entrance = _Entrance(self._lines, self._lose)
        self._listener: _Listener | None = None
        self._well = True
        self._counting = threading.Lock()

    def open(self) -> None:
        self._listener = _Listener(self._lines, self._handler, self._tried)
        self._listener.start()

    def write(self, line: str) -> None:
        if self._listener is None:
            self._lose("it is not open")
            return
        record = {"name": audit_logger.name, "levelno": logging.INFO, "levelname": "INFO", "msg": line}
        self._entrance.handle(logging.makeLogRecord(record))

    async def close(self) -> None:
        """Waits until all is written, at most some seconds. May be called twice."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            listener.stop()
            self._handler.close()
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(stopped.set)

        threading.Thread(target=stop, name="audit", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await stopped.wait()
        except TimeoutError:
            logger.warning("the audit log ends with %d lines that were not written", self._lines.qsize())

    def _tried(self, error: Exception | None) -> None:
        """On the listener's thread."""
        if error is None:
            self._well = True
        else:
            self._lose(type(error).__name__)

    def _lose(self, why: str) -> None:
        with self._counting:
            self.lost += 1
            first, self._well = self._well, False
        if first:
            logger.warning("the audit log loses lines (%s)", why)


class _Entrance(QueueHandler):
    """Reports lines for which the queue has no room."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord | None]", lose: Callable[[str], None]) -> None:
        super().__init__(lines)
        self._lose = lose

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        self._lose("lines come faster than they are written")


class _Listener(QueueListener):
    """Reports of each line whether the handler took it."""

    def __init__(
        self,
        lines: "queue.Queue[logging.LogRecord | None]",
        handler: logging.Handler,
        tried: Callable[[Exception | None], None],
    ) -> None:
        super().__init__(lines, handler)
        self._tried = tried

    def handle(self, record: logging.LogRecord) -> None:
        try:
            super().handle(record)
        except Exception as error:
            self._tried(error)
        else:
            self._tried(None)

    def enqueue_sentinel(self) -> None:
        cast("queue.Queue[logging.LogRecord | None]", self.queue).put(
            None
        )  # after the lines that wait, though it be full


class _LoggerHandler(logging.Handler):
    """Passes lines on to the logger `voiceagent.audit`, at INFO."""

    def emit(self, record: logging.LogRecord) -> None:
        audit_logger.info("%s", record.getMessage())


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class AuditedLlm(LlmLayer):
    """An LlmEngine that writes a line about each request. Outermost, it also sees what guard rails, budgets and
    limits have refused."""

    def __init__(
        self, engine: LlmEngine, log: AuditLog, content: bool = False, wall: Callable[[], float] = time.time
    ) -> None:
        """`log` is opened and closed with it."""
        super().__init__(engine)
        self._log = log
        self._content = content
        self._wall = wall

    @classmethod
    def by(cls, settings: AuditSettings, engine: LlmEngine) -> "AuditedLlm":
        path = settings.path
        handler = AuditFile(Path(path), settings.megabytes, settings.keep) if path else _LoggerHandler()
        return cls(engine, AuditLog(handler), settings.content)

    async def open(self) -> None:
        await self._inner.open()
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
            async with aclosing(self._inner.reply(request)) as events:
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
                entry.question, entry.answer = last_words(request), "".join(said)
            self._log.write(_line(entry))

    async def close(self) -> None:
        await self._inner.close()
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
