"""Does the agent interrupt itself? `python -m benchmarks.client_echo [--turns N] [--json FILE]`.

The client talks over virtual sound (PulseAudio, PortAudio) with the real server and its engines, in a room in which the
loudspeaker comes back into the microphone 60 ms later and 15 dB weaker. A recorded user asks; whatever else the server
takes for a user is the agent itself. The same again, for fewer turns, without a canceller and in half duplex.

The suppression is that of the echo alone, while the agent talks: what the microphone heard against what was sent. The
model's words are scripted, so that answers are as long every time.
"""

import argparse
import asyncio
import dataclasses
import json
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
from voiceagent_client.connection import RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.echo import EchoControl, EchoMode, echo_control
from voiceagent_client.happenings import Happening
from voiceagent_client.jobs import together
from voiceagent_client.pcm import Pcm, first_audible
from voiceagent_client.playback import Player
from voiceagent_client.sound import SoundDevice

from benchmarks.pulse_room import Room, missing, pulse_room, started
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.engines import Engines
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, TextDelta
from voiceagent.models.store import ModelStore
from voiceagent.server.app import VoiceServer
from voiceagent.server.serve import listen, make_server
from voiceagent.settings import Settings
from voiceagent.tts.hibari import HibariTts
from voiceagent.vad.silero import SileroVad

ECHO_DB = -15.0
TURNS, FEW_TURNS = 20, 3
ERLE_DB = 20.0
"""Target: what is left of an echo of -15 dB is then below the quietest speech."""
DEADLINE = 60.0
PAUSE_SECONDS = 1.0
SECOND = 50
"""Frames."""
ECHO_FRAMES = 15
"""300 ms: so long after the loudspeaker the microphone may still hear it."""
QUESTIONS = sorted((Path(__file__).parent.parent / "assets" / "demo").glob("*.wav"))
ANSWERS = (
    "That is a good question. Let me think about it for a moment. There are three things to say, and I will take them "
    "in their turn. First of all, nobody knows for sure.",
    "Paris is the capital of France. It lies on the river Seine, and more than two million people live there.",
    "Once upon a time there was a small spider. It lived in an old house by the sea, and every night it made a net.",
)


@dataclass(frozen=True, slots=True)
class Result:
    """`self_interruptions`: answers cut off though the user was silent. `phantom_turns`: turns of a user who was not
    there. `heard_db`, `sent_db`: the echo at the microphone and what went to the server of it, against full scale.
    `erle_db`: the one against the other, in the median second; None where nothing was sent."""

    echo: EchoMode
    turns: int
    answered: int
    self_interruptions: int
    phantom_turns: int
    heard_db: float
    sent_db: float
    erle_db: float | None


# -- the client's process ---------------------------------------------------------------------------------------------


Powers = npt.NDArray[np.float64]
"""Of each whole second with echo, against full scale."""


class Measured:
    """An echo control that is watched at work."""

    note: str | None = None

    def __init__(self, control: EchoControl | None) -> None:
        self._control = control
        self._echoing = 0
        self.heard: list[float] = []
        self.sent: list[float] = []

    def clean(self, near: Pcm, far: Pcm) -> Pcm:
        sent = near if self._control is None else self._control.clean(near, far)
        self._echoing = ECHO_FRAMES if first_audible(far) is not None else max(0, self._echoing - 1)
        if self._echoing:
            self.heard.append(power(near))
            self.sent.append(power(sent))
        return sent


def seconds(frames: list[float]) -> list[float]:
    whole = len(frames) // SECOND * SECOND
    return [float(np.mean(frames[start : start + SECOND])) for start in range(0, whole, SECOND)]


def power(pcm: Pcm) -> float:
    return float(np.mean(np.square(pcm / 32768)))


async def client(url: str, echo: EchoMode) -> None:
    """Talks until its standard input is closed; prints what happens as lines of JSON."""
    player, measured = Player(), Measured(echo_control(echo))

    def tell(happening: Happening) -> None:
        print(json.dumps({"kind": type(happening).__name__} | dataclasses.asdict(happening)), flush=True)

    with SoundDevice(player, input_device="pulse", output_device="pulse", echo=measured) as device:
        async with RealtimeConnection(url) as connection:
            await together(Conversation(connection, device, player, tell).run(), input_closed())
    print(json.dumps({"kind": "levels", "heard": seconds(measured.heard), "sent": seconds(measured.sent)}), flush=True)


async def input_closed() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    try:
        await reader.read()
    finally:
        transport.close()


# -- the talk ---------------------------------------------------------------------------------------------------------


class ScriptedLlm:
    """Gives the answers one after the other."""

    talk_tokens: int | None = None

    def __init__(self) -> None:
        self._answers = cycle(ANSWERS)

    async def open(self) -> None: ...

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        yield TextDelta(next(self._answers))
        yield Completed(input_tokens=50, output_tokens=40)

    async def close(self) -> None: ...


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """The real server on loopback; its URL for clients."""
    models = ModelStore()
    engines = Engines(
        vad=SileroVad(SileroVad.Options(), models),
        asr=SherpaAsr(SherpaAsr.Options(), models),
        llm=ScriptedLlm(),
        tts=HibariTts(HibariTts.Options(), models),
    )
    voice = VoiceServer(Settings(), engines)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(voice)
        task = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(DEADLINE):
                await server.listening.wait()
                await voice.loaded.wait()
            if voice.failure is not None:
                raise voice.failure
            yield server.url
        finally:
            server.should_exit = True
            await task


class Client:
    """The client's process, and all that it told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, object]] = []

    async def until(self, *kinds: str) -> None:
        """Reads on until it tells of one of these. RuntimeError: it has ended. TimeoutError: it did not in time."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while True:
                line = await self._process.stdout.readline()
                if not line:
                    raise RuntimeError("the client has ended")
                self.told.append(json.loads(line))
                if self.told[-1]["kind"] in kinds:
                    return

    async def finish(self) -> tuple[Powers, Powers]:
        """Ends the talk; the echo as heard and as sent."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self.until("levels")
        return np.array(self.told[-1]["heard"]), np.array(self.told[-1]["sent"])

    def count(self, kind: str) -> int:
        return sum(told["kind"] == kind for told in self.told)


async def talk(room: Room, url: str, echo: EchoMode, turns: int) -> Result:
    command = (sys.executable, "-m", "benchmarks.client_echo", "--client", url, "--echo", echo)
    pipe = asyncio.subprocess.PIPE
    async with started(*command, environment=room.environment, stdin=pipe, stdout=pipe) as process:
        user = Client(process)
        await user.until("SessionStarted")
        answered = 0
        for _, question in zip(range(turns), cycle(QUESTIONS), strict=False):
            await room.say(question)
            try:
                await user.until("ResponsePlayed")
                answered += 1
            except TimeoutError:
                continue
            await asyncio.sleep(PAUSE_SECONDS)
        heard, sent = await user.finish()
    return Result(
        echo=echo,
        turns=turns,
        answered=answered,
        self_interruptions=user.count("Interrupted"),
        phantom_turns=user.count("UserSpeechStarted") - turns,
        heard_db=decibels(heard.mean()),
        sent_db=decibels(sent.mean()),
        erle_db=decibels(float(np.median(heard / sent))) if len(sent) and sent.all() else None,
    )


def decibels(power: float) -> float:
    return round(10 * math.log10(power + 1e-12), 1)


async def measure(turns: int) -> list[Result]:
    """Prints the table as it goes. The first result is the canceller's."""
    plan: tuple[tuple[EchoMode, int], ...] = (("aec", turns), ("half-duplex", FEW_TURNS), ("off", FEW_TURNS))
    results = []
    print("echo         turns answered  cut by itself  phantom turns  echo heard  echo sent")
    async with serving() as url:
        for echo, count in plan:
            async with pulse_room(ECHO_DB) as room:
                result = await talk(room, url, echo, count)
            results.append(result)
            print(
                f"{result.echo:12} {result.turns:5} {result.answered:8} {result.self_interruptions:14} "
                f"{result.phantom_turns:14} {result.heard_db:8} dB {result.sent_db:7} dB",
                flush=True,
            )
    return results


def good(aec: Result) -> bool:
    whole = aec.answered == aec.turns and aec.self_interruptions == aec.phantom_turns == 0
    return whole and aec.erle_db is not None and aec.erle_db >= ERLE_DB


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--client", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--echo", default="aec", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.client is not None:
        asyncio.run(client(options.client, options.echo))
        return 0
    if (reason := missing()) is not None:
        print(f"cannot be measured here: {reason}")
        return 1
    results = asyncio.run(measure(options.turns))
    aec = results[0]
    print(f"suppression (ERLE, median second): {aec.erle_db} dB, target {ERLE_DB:g} dB; targets of the rest: 0")
    if options.json is not None:
        options.json.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=2) + "\n")
    return 0 if good(aec) else 1


if __name__ == "__main__":
    sys.exit(main())
