"""A room without furniture: a PulseAudio server of our own with a virtual loudspeaker and a virtual microphone.

The microphone hears what is played into the room (`Room.say`) and, if wanted, the loudspeaker, weakened and late.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

LOUDSPEAKER, ROOM, MICROPHONE = "loudspeaker", "room", "microphone"
START_SECONDS = 20.0
STOP_SECONDS = 10.0
ECHO_DELAY_MS = 60
PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")


def missing() -> str | None:
    """Why there can be no such room here; None when there can."""
    if not sys.platform.startswith("linux"):
        return "PulseAudio is used on Linux only"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed (apt install pulseaudio pulseaudio-utils)" if absent else None


class Room:
    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        """For a program that is to use this loudspeaker and this microphone."""

    async def say(self, wav: Path) -> None:
        """Plays a recording beside the microphone, to its end."""
        await self._run("paplay", f"--device={ROOM}", str(wav))

    @contextlib.asynccontextmanager
    async def recorded(self, wav: Path) -> AsyncIterator[None]:
        """Records the loudspeaker."""
        arguments = (f"--device={LOUDSPEAKER}.monitor", "--file-format=wav", "--channels=1", "--rate=24000")
        async with started("parec", *arguments, "--latency-msec=20", str(wav), environment=self.environment):
            yield

    async def weaken(self, decibels: float) -> None:
        """How loud the loudspeaker arrives at the microphone."""
        streams = (await self._run("pactl", "list", "short", "sink-inputs")).splitlines()
        loop = next(line.split()[0] for line in streams if "module-loopback" in line)
        await self._run("pactl", "set-sink-input-volume", loop, f"{decibels:g}dB")

    async def _run(self, *command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *command, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"{command[0]}: {complaints.decode(errors='replace').strip()}")
        return out.decode()


@contextlib.asynccontextmanager
async def pulse_room(echo_db: float | None = None) -> AsyncIterator[Room]:
    """`echo_db` None: the microphone does not hear the loudspeaker."""
    with tempfile.TemporaryDirectory(prefix="pulse") as folder:
        environment = _environment(Path(folder))
        command = ["--daemonize=no", "--system=false", "--exit-idle-time=-1", "-n", "--use-pid-file=no"]
        command += ["--realtime=no", "--high-priority=no", "--log-target=stderr"]
        for module in _modules(Path(folder), echo_db is not None):
            command += ["-L", module]
        async with started("pulseaudio", *command, environment=environment) as server:
            room = Room(environment)
            await _ready(room, server)
            if echo_db is not None:
                await room.weaken(echo_db)
            yield room


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "XDG_", "DBUS_"))}
    return kept | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_SERVER": f"unix:{folder}/native",
        "PULSE_SINK": LOUDSPEAKER,
        "PULSE_SOURCE": MICROPHONE,
    }


def _modules(folder: Path, echo: bool) -> Iterator[str]:
    yield f"module-native-protocol-unix socket={folder}/native auth-anonymous=1"
    for sink in (LOUDSPEAKER, ROOM):
        yield f"module-null-sink sink_name={sink} rate=48000 channels=1"
    yield f"module-remap-source source_name={MICROPHONE} master={ROOM}.monitor"
    if echo:
        yield f"module-loopback source={LOUDSPEAKER}.monitor sink={ROOM} latency_msec={ECHO_DELAY_MS}"


async def _ready(room: Room, server: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            await room._run("pactl", "info")
            return
        except RuntimeError:
            if server.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError("PulseAudio did not start") from None
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def started(
    *command: str,
    environment: dict[str, str],
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.DEVNULL,
    stderr: int = asyncio.subprocess.DEVNULL,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that is ended with the block: told to, and made to if it does not listen."""
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdin=stdin, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
