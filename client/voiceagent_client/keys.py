"""Single keys from the terminal."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from voiceagent_client.errors import ClientError

SPACE = " "


@contextlib.contextmanager
def keys(on_key: Callable[[str], None], fd: int | None = None) -> Iterator[None]:
    """Calls `on_key` on the running loop for every character typed, at once and without an echo; Ctrl-C still
    interrupts. However the block is left, the terminal is as it was. ClientError: `fd` (standard input) is no terminal,
    or this system has none of that kind."""
    termios, tty = _terminal_modules()
    fd = sys.stdin.fileno() if fd is None else fd
    if not os.isatty(fd):
        raise ClientError("push-to-talk needs a terminal to read the key from")
    loop = asyncio.get_running_loop()

    def read() -> None:
        typed = os.read(fd, 64)
        if not typed:
            loop.remove_reader(fd)
        for character in typed.decode(errors="ignore"):
            on_key(character)

    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        loop.add_reader(fd, read)
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)


def _terminal_modules() -> tuple[ModuleType, ModuleType]:
    try:
        import termios
        import tty
    except ImportError:
        raise ClientError("push-to-talk works on Linux and macOS only") from None
    return termios, tty
