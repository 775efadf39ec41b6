"""A real Asterisk and a real telephone (baresip), each in a folder and on ports of its own."""

import asyncio
import json
import os
import random
import shutil
import socket
import wave
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np

from voiceagent.audio.pcm import Pcm

CONFIGS = Path(__file__).parents[2] / "asterisk"
READY_SECONDS = 60.0
DEADLINE = 40.0
RATE = 8000
HEADER = 44
"""Bytes of a WAV file's header."""
MODULES = ("/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules", "/usr/local/lib/baresip/modules")
"""Where baresip's modules may be."""


def missing() -> str:
    """Why there can be no call; "" when there can."""
    if not os.environ.get("VOICEAGENT_ASTERISK"):
        return "a real Asterisk is tested by `make test-asterisk`"
    absent = [name for name in ("asterisk", "baresip") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def baresip_modules() -> str:
    return next((path for path in MODULES if Path(path).is_dir()), MODULES[0])


def write_config(source: Path, target: Path, values: dict[str, object]) -> None:
    text = source.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.write_text(text)


class Output:
    """What a process says, line by line."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self.lines: list[str] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name="output")

    async def _read(self) -> None:
        while line := await self._stdout.readline():
            self.lines.append(line.decode("utf-8", "replace").rstrip())
            self._changed.set()

    async def until(self, words: str, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not any(words in line for line in self.lines):
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> None:
        await self._task


async def stop(process: Process, output: Output) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    await output.end()


class Asterisk:
    def __init__(self, folder: Path, server: int, audiosocket: int) -> None:
        self._folder = folder
        self.sip = free_port(socket.SOCK_DGRAM)
        self.http = free_port()
        self.ami = free_port()
        rtp = random.randrange(20_000, 29_000, 2)
        self._values: dict[str, object] = {"folder": folder, "server": server, "audiosocket": audiosocket}
        self._values |= {"sip": self.sip, "http": self.http, "ami": self.ami, "rtp": rtp, "rtp_end": rtp + 100}

    @asynccontextmanager
    async def running(self) -> "AsyncIterator[Asterisk]":
        for name in ("lib", "spool", "run", "log"):
            (self._folder / name).mkdir()
        for source in CONFIGS.glob("*.conf"):
            write_config(source, self._folder / source.name, self._values)
        command = ("asterisk", "-C", str(self._folder / "asterisk.conf"), "-f", "-n")
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
        output = Output(process)
        try:
            await output.until("Asterisk Ready", READY_SECONDS)
            yield self
        finally:
            await stop(process, output)
            (self._folder / "console.txt").write_text("\n".join(output.lines))


class Telephone:
    """baresip: says what is in its microphone's file from the moment the call is there, and records both directions."""

    def __init__(self, folder: Path, sip: int) -> None:
        self._folder = folder
        self._sip = sip
        self._control = free_port()
        self._writer: asyncio.StreamWriter | None = None
        self.events: list[str] = []
        self.grown: list[tuple[float, int, int]] = []
        """How far both recordings were at a time of the loop's: samples said and heard."""
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def calling(self, extension: str, microphone: Pcm) -> "AsyncIterator[Telephone]":
        """A call that is there when the block begins."""
        folder = self._folder
        with wave.open(str(folder / "microphone.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes(microphone.tobytes())
        phone = free_port(socket.SOCK_DGRAM)
        values: dict[str, object] = {
            "folder": folder,
            "phone": phone,
            "control": self._control,
            "modules": baresip_modules(),
        }
        write_config(CONFIGS / "baresip.conf", folder / "config", values)
        (folder / "accounts").write_text(f"<sip:4711@127.0.0.1:{phone}>;regint=0;catchall=yes\n")
        process = await asyncio.create_subprocess_exec("baresip", "-f", str(folder), stdout=PIPE, stderr=STDOUT)
        output = Output(process)
        helpers: list[asyncio.Task[None]] = []
        try:
            await output.until("baresip is ready", DEADLINE)
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._control)
            helpers = [asyncio.create_task(work) for work in (self._read(reader), self._watch())]
            await self._say("dial", f"sip:{extension}@127.0.0.1:{self._sip}")
            await self.until("CALL_ESTABLISHED")
            yield self
            if "CALL_CLOSED" not in self.events:
                await self._say("hangup")
                await self.until("CALL_CLOSED")
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if self._writer is not None:
                self._writer.close()
                with suppress(OSError):
                    await self._writer.wait_closed()
            await stop(process, output)

    async def press(self, keys: str) -> None:
        for key in keys:
            await self._say("sndcode", key)
            await asyncio.sleep(0.25)

    async def until(self, event: str) -> None:
        await self.when(lambda: event in self.events)

    async def when(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.05)

    def heard(self) -> Pcm:
        """What came out of the earpiece so far."""
        return self._recorded("dec")

    def said(self) -> Pcm:
        return self._recorded("enc")

    def _recorded(self, kind: str) -> Pcm:
        """Files that are written still: their headers do not know their length yet."""
        [path] = self._folder.glob(f"dump-*-{kind}.wav")
        data = path.read_bytes()[HEADER:]
        return np.frombuffer(data[: len(data) // 2 * 2], "<i2")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        paths: list[Path] = []
        while True:
            await asyncio.sleep(0.005)
            if len(paths) < 2:
                paths = [path for kind in ("enc", "dec") for path in self._folder.glob(f"dump-*-{kind}.wav")]
                continue
            said, heard = (max(0, path.stat().st_size - HEADER) // 2 for path in paths)
            self.grown.append((loop.time(), said, heard))

    def said_at(self, sample: int) -> float:
        """When this sample left the microphone, on the loop's clock."""
        return next(at for at, said, _ in self.grown if said > sample)

    def heard_at(self, sample: int) -> float:
        return next(at for at, _, heard in self.grown if heard > sample)

    async def _say(self, command: str, parameters: str = "") -> None:
        assert self._writer is not None
        text = json.dumps({"command": command, "params": parameters, "token": "t"}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))
        await self._writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Netstrings of JSON."""
        with suppress(EOFError, OSError):
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(length + 1))[:-1])
                if message.get("event"):
                    self.events.append(message["type"])
                    self._changed.set()
