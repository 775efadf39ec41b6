"""The client as its users run it, on real sound plumbing: PortAudio, PulseAudio, the real server and its engines."""

import asyncio
import contextlib
import os
import pty
import sys
import termios
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from voiceagent_client.push import SHORTEST_FRAMES

from benchmarks.pulse_room import Room, missing, pulse_room, started
from tests.support.client_server import Call, RealtimeServer, Reply, tone
from tests.support.llm.server import ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor
from voiceagent.settings import Settings

QUESTION = Path(__file__).parents[2] / "assets" / "demo" / "3-france.wav"
ANSWERS = ("The capital of France is Paris, on the river Seine.", "Many people live there, and more come to see it.")
SECONDS_PER_CHAR = 0.07
RATE, LOUD = 24_000, 1000
ECHO_DB = -15.0
DEADLINE = 40.0


def no_sound() -> str | None:
    if find_spec("sounddevice") is None or find_library("portaudio") is None:
        return "PortAudio is not installed (apt install libportaudio2 libasound2-plugins)"
    if not list(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        return "ALSA has no PulseAudio plugin (apt install libasound2-plugins)"
    return missing()


pytestmark = [pytest.mark.real, pytest.mark.skipif(no_sound() is not None, reason=no_sound() or "")]


class Client:
    """The command-line client in the room."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    async def until(self, start: str) -> str:
        """Reads what is printed on either stream, up to a line that starts so."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while True:
                line = (await self._process.stdout.readline()).decode()
                assert line, f"the client ended after {self.lines}"
                self.lines.append(line.rstrip("\n"))
                if line.startswith(start):
                    return self.lines[-1]

    def count(self, text: str) -> int:
        return sum(text in line for line in self.lines)


@asynccontextmanager
async def talking(room: Room, url: str, *options: str) -> AsyncIterator[Client]:
    command = [sys.executable, "-u", "-m", "voiceagent_client.cli", "--url", f"{url}/v1/realtime", "--text", *options]
    command += ["--input", "pulse", "--output", "pulse"]
    pipe, same = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    async with started(*command, environment=room.environment, stdout=pipe, stderr=same) as process:
        client = Client(process)
        await client.until("connected")
        yield client
    assert process.returncode == 0, "SIGTERM is a clean end"


async def test_a_question_is_answered_and_the_agent_does_not_interrupt_itself_over_a_loudspeaker(
    engines_for: EnginesFor, tmp_path: Path
) -> None:
    pytest.importorskip("pywebrtc_audio", reason="no echo canceller is installed")
    out = tmp_path / "loudspeaker.wav"
    async with (
        ScriptedLlm(ANSWERS) as llm,
        running(Settings(), engines_for(llm.base_url)) as (_, url),
        pulse_room(ECHO_DB) as room,
        talking(room, url) as client,
        room.recorded(out),
    ):
        for answer in ANSWERS:
            await room.say(QUESTION)
            assert "france" in (await client.until("you:")).lower()
            assert await client.until("agent:") == f"agent: {answer}"
            await asyncio.sleep(len(answer) * SECONDS_PER_CHAR)  # it is played to its end
        assert len(llm.requests) == len(ANSWERS), "nobody but the user was answered"
    assert client.count("interrupted") == 0
    assert client.count("you:") == len(ANSWERS)
    with wave.open(str(out)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    assert np.count_nonzero(np.abs(heard) > LOUD) > RATE // 4, "loud samples"


async def test_push_to_talk_from_a_terminal_which_is_afterwards_as_before() -> None:
    async def answer(call: Call) -> None:
        await call.open()
        await call.expect("response.create")
        reply = await Reply(call).start()
        await reply.say("你好。", tone(200))
        await reply.end()
        await call.stay()

    keyboard, terminal = pty.openpty()
    os.set_blocking(keyboard, False)
    before, shown = termios.tcgetattr(terminal), b""

    async def until(words: str) -> None:
        nonlocal shown
        async with asyncio.timeout(DEADLINE):
            while words.encode() not in shown:
                await asyncio.sleep(0.02)
                with contextlib.suppress(BlockingIOError):
                    shown += os.read(keyboard, 65_536)

    try:
        async with pulse_room() as room, RealtimeServer(answer) as server:
            command = (sys.executable, "-m", "voiceagent_client.cli", "--url", server.url, "--push-to-talk")
            environment = room.environment
            async with started(
                *command, environment=environment, stdin=terminal, stdout=terminal, stderr=terminal
            ) as process:
                await until("connected")
                await until("space starts")
                os.write(keyboard, b" ")
                await until("you talk")
                async with asyncio.timeout(DEADLINE):
                    while len(server.calls[0].heard) < SHORTEST_FRAMES + 5:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                os.write(keyboard, b" ")
                await until("agent: 你好。")
            assert process.returncode == 0
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(keyboard)
        os.close(terminal)
