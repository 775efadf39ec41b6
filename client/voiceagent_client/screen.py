"""The terminal: captions on standard output, everything else on standard error, where a terminal also gets one line
that is drawn again and again with the level meter and what is being said."""

import asyncio
import shutil
import sys
import unicodedata
from collections.abc import Callable

from voiceagent_client.captions import caption, timing, trouble
from voiceagent_client.happenings import (
    AgentText,
    Happening,
    Interrupted,
    ResponseDone,
    ResponsePlayed,
    ResponseStarted,
    SessionStarted,
    UserSpeechStarted,
    UserSpeechStopped,
    UserText,
)
from voiceagent_client.microphone import QUIETEST_DB, Microphone

REDRAW_SECONDS = 0.1
BARS = 12


class Screen:
    def __init__(self, *, text: bool, timings: bool, live: bool = False) -> None:
        """`text` shows what both say, `timings` where the time went; `live` draws the line."""
        self._text = text
        self._timings = timings or text
        self._live = live and sys.stderr.isatty()
        self._doing = ""
        self._saying = ""

    def show(self, happening: Happening) -> None:
        self._follow(happening)
        words = caption(happening) if self._text else None
        times = timing(happening) if self._timings else None
        for line in (words, times):
            if line is not None:
                self._wipe()
                print(printable(line), flush=True)
        problem = "connected" if isinstance(happening, SessionStarted) else trouble(happening)
        if problem is not None:
            self.say(problem)

    def say(self, line: str) -> None:
        """Something the user should know, that is no caption."""
        self._wipe()
        print(printable(line), file=sys.stderr, flush=True)

    async def draw(self, microphone: Microphone, idle: Callable[[], str]) -> None:
        """The line, for ever; `idle` says what is going on while nobody talks."""
        try:
            while self._live:
                columns = shutil.get_terminal_size().columns - 1
                words = self._saying if self._text else ""
                line = f"{meter(microphone.level_db)} {self._doing or idle()}  {words}"
                sys.stderr.write(f"\r\x1b[K{fitted(printable(line), columns)}")
                sys.stderr.flush()
                await asyncio.sleep(REDRAW_SECONDS)
            await asyncio.Event().wait()
        finally:
            self._wipe()

    def _wipe(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _follow(self, happening: Happening) -> None:
        match happening:
            case UserSpeechStarted():
                self._doing, self._saying = "you talk", ""
            case UserSpeechStopped() | ResponseStarted():
                self._doing = "the agent thinks"
            case UserText(text=text, final=final):
                self._saying = "" if final else text
            case AgentText(text=text, final=final):
                self._doing, self._saying = "the agent talks", "" if final else text
            case Interrupted() | ResponsePlayed() | ResponseDone(status="cancelled" | "failed") | SessionStarted():
                self._doing, self._saying = "", ""


def meter(level_db: float) -> str:
    """A level from `QUIETEST_DB` to 0 as a bar."""
    filled = round(BARS * (level_db - QUIETEST_DB) / -QUIETEST_DB)
    return f"[{'#' * filled}{'.' * (BARS - filled)}]"


def fitted(line: str, columns: int) -> str:
    """As much of the line's end as fits; Chinese characters are two columns wide."""
    widths = [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line]
    excess = sum(widths) - columns
    kept = BARS + 2  # the meter stays
    while excess > 0 and kept < len(line):
        excess -= widths[kept]
        kept += 1
    return line[: BARS + 2] + line[kept:]


def printable(line: str) -> str:
    """Without the control characters by which a server could steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in line)
