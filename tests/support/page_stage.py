"""A page in a browser, a server with real engines behind it, and a line between the two that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import numpy as np

from benchmarks.browser import Browser, Page
from benchmarks.page import write_wav
from tests.support.llm.server import Script, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor
from voiceagent.audio.pcm import Pcm
from voiceagent.settings import Settings


class Line:
    """A TCP proxy on loopback. `cut` breaks every connection and lets nobody through until `mend`."""

    def __init__(self, host: str, port: int) -> None:
        self._far = (host, port)
        self._whole = True
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    def cut(self) -> None:
        self._whole = False
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        self._whole = True

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if not self._whole:
            return writer.transport.abort()
        far_reader, far_writer = await asyncio.open_connection(*self._far)
        self._ends |= {writer, far_writer}
        await asyncio.gather(pour(reader, far_writer), pour(far_reader, writer), return_exceptions=True)
        self._ends -= {writer, far_writer}
        return None


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one end is gone; then the other goes too."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@dataclass
class Stage:
    page: Page
    llm: ScriptedLlm
    line: Line
    sent: list[str] = field(default_factory=list)

    async def captions(self) -> list[str]:
        """`role: text` of every message shown, with what was not heard in brackets."""
        lines = await self.page.value(
            "[...document.querySelectorAll('#captions li:not([hidden])')].map((line) => line.className + ': ' +"
            " [...line.childNodes].slice(1).map((part) => part.className === 'unheard' ? `[${part.textContent}]`"
            " : part.textContent).join(''))"
        )
        assert isinstance(lines, list)
        return [str(line) for line in lines]


@asynccontextmanager
async def stage(
    browser: Browser, engines_for: EnginesFor, script: Script, settings: Settings | None = None
) -> AsyncIterator[Stage]:
    """The page is open and ready; nothing was pressed yet."""
    async with (
        ScriptedLlm(script) as llm,
        running(settings or Settings(), engines_for(llm.base_url)) as (_, url),
        Line(urlsplit(url).hostname or "", urlsplit(url).port or 0) as line,
        browser.page() as page,
    ):
        await page.viewport(1280, 860)
        await page.open(line.url)
        await page.until("document.querySelectorAll('#agent option').length > 0")
        yield Stage(page, llm, line)


def microphone(path: Path, sounds: Sequence[Pcm]) -> None:
    """What the browser's microphone will play once from when a page opens it."""
    write_wav(path, np.concatenate(sounds))
