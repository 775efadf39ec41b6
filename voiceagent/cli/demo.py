"""`voiceagent demo`: the real server in a process of its own, and a spoken conversation with it at real-time pace."""

import asyncio
import json
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from voiceagent_client.audio_io import WavDevice
from voiceagent_client.connection import RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.errors import ClientError
from voiceagent_client.happenings import (
    AgentText,
    Happening,
    Interrupted,
    ResponseDone,
    ResponseMeasured,
    ResponsePlayed,
    ResponseStarted,
    SessionError,
    TurnTimings,
    UserText,
)
from voiceagent_client.pcm import Pcm
from voiceagent_client.playback import Player
from voiceagent_client.wav import read_wav, recording
from voiceagent_client.wire import SessionConfig

from voiceagent.agent.running import LISTENING
from voiceagent.assets import ASSETS
from voiceagent.cli.local_engines import environment, local_environment
from voiceagent.errors import ConfigError

TURNS = ASSETS / "demo"
"""The spoken turns that come with the package, and `script.toml` that says what they are."""
START_SECONDS = 300.0
"""How long the server may take to load its models: seconds, but minutes at the first time on a busy machine. One that
fails ends, and is not waited for."""
STOP_SECONDS = 10.0
"""How long it may take to stop."""
ANSWER_SECONDS = 30.0
"""How long an answer may take until it is played to the end."""
PAUSE_SECONDS = 0.6
"""Between the end of an answer and the user's next words."""
MAX_WORD_ERRORS = 0.34
"""Share of the user's words that may be misheard before a turn counts as gone wrong: one word in three."""


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """What the user is to say. `interrupt_after_ms`: cut in when so much of the agent's answer was heard.
    `expect`: a word that must be in the answer."""

    wav: str
    text: str
    interrupt_after_ms: int | None = None
    expect: str | None = None


@dataclass(slots=True)
class DemoTurn:
    """What came of it. Times in milliseconds, from the last speech sample the user sent to the first audible one of the
    agent received; `parts` is the server's own account of them."""

    expected_text: str
    user_text: str = ""
    agent_text: str = ""
    interrupted: bool = False
    response_ms: int | None = None
    parts: dict[str, int] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)


def run(config: Path | None, as_json: bool, out: Path, turns: Path | None) -> int:
    """Hold the demo. Exit code 0 when every turn went right, 1 when not. Raises ConfigError."""
    folder = turns or TURNS
    lines = read_script(folder)
    console = Console(stderr=as_json, highlight=False)
    try:
        result = asyncio.run(hold(config, folder, lines, out, console))
    except (ClientError, TimeoutError) as error:
        console.print(f"[red]the demo could not be held:[/] {error}")
        return 1
    if as_json:
        response = sorted(turn.response_ms for turn in result if turn.response_ms is not None)
        median = response[len(response) // 2] if response else None
        print(
            json.dumps(
                {"turns": [asdict(turn) for turn in result], "median_response_ms": median, "wav": str(out)},
                indent=2,
                ensure_ascii=False,
            )
        )
    else:
        for turn in result:
            for trouble in turn.trouble:
                console.print(f"[red]went wrong:[/] {turn.expected_text!r}: {trouble}")
        console.print(f"\nThe whole talk, you on the left and the agent on the right: [bold]{out}[/]")
    return 1 if any(turn.trouble for turn in result) else 0


def read_script(folder: Path) -> list[ScriptLine]:
    path = folder / "script.toml"
    try:
        return [ScriptLine(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["turn"]]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a demo script: {error}") from None


async def hold(
    config: Path | None, folder: Path, lines: list[ScriptLine], out: Path, console: Console
) -> list[DemoTurn]:
    recordings = [read_wav(folder / line.wav) for line in lines]
    out.parent.mkdir(parents=True, exist_ok=True)
    needed = await asyncio.to_thread(environment, config, console)
    surroundings = local_environment(os.environ) if config is None else os.environ
    async with server(config, needed, surroundings) as url:
        console.print(f"server: {url}\n")
        player = Player()
        with recording(out) as recorder:
            device = WavDevice(player, recorder)
            talk = DemoConversation(device, player, console)
            async with RealtimeConnection(url, session=SessionConfig(timings=True)) as connection:
                await Conversation(connection, device, player, talk.notice).run(talk.speak(lines, recordings))
    return talk.turns


class DemoConversation:
    """Speaks the lines, and keeps what came of each."""

    def __init__(self, device: WavDevice, player: Player, console: Console) -> None:
        self.turns: list[DemoTurn] = []
        self._device = device
        self._player = player
        self._console = console
        self._by_response: dict[str, DemoTurn] = {}
        self._by_item: dict[str, DemoTurn] = {}
        self._agent_item = ""
        self._answer_over = asyncio.Event()
        self._answer_begun = asyncio.Event()

    async def speak(self, lines: list[ScriptLine], recordings: list[Pcm]) -> None:
        for line, pcm in zip(lines, recordings, strict=True):
            if self.turns:
                await self._wait_for(line)
            self.turns.append(DemoTurn(line.text))
            self._answer_over.clear()
            self._answer_begun.clear()
            await self._device.say(pcm)
        await self._wait_for(None)
        await asyncio.sleep(PAUSE_SECONDS)
        for turn, line, following in zip(self.turns, lines, [*lines[1:], None], strict=True):
            judge(turn, line, following)

    async def _wait_for(self, line: ScriptLine | None) -> None:
        """Until it is time to say the next line."""
        turn = self.turns[-1]
        if line is not None and line.interrupt_after_ms is not None:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._answer_begun.wait()
                while self._player.played_ms(self._agent_item) < line.interrupt_after_ms:
                    if self._answer_over.is_set():
                        turn.trouble.append("the answer was too short to be interrupted")
                        return
                    await asyncio.sleep(0.02)
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._answer_over.wait()
        except TimeoutError:
            turn.trouble.append(f"no answer within {ANSWER_SECONDS:g} s")
        if line is not None:
            await asyncio.sleep(PAUSE_SECONDS)

    def notice(self, happening: Happening) -> None:
        """What happens belongs to the turn whose response it is of: an interrupted answer ends within the next turn."""
        if not self.turns:
            return
        match happening:
            case UserText(final=True, text=text):
                turn = self.turns[-1]
                turn.user_text = f"{turn.user_text} {text}".strip()
                self._console.print(f"[cyan]you  [/] {text}")
            case ResponseStarted(response_id):
                self._by_response[response_id] = self.turns[-1]
            case AgentText(item_id=item_id, delta=delta, text=text):
                if item_id not in self._by_item:
                    self._by_item[item_id] = self.turns[-1]
                    self._agent_item = item_id
                    self._answer_begun.set()
                self._by_item[item_id].agent_text = text
                if delta.strip():
                    self._console.print(f"[green]agent[/] {delta.strip()}")
            case Interrupted(item_id=item_id, played_ms=played_ms):
                if item_id in self._by_item:
                    self._by_item[item_id].interrupted = True
                self._console.print(f"[yellow]      (interrupted after {played_ms / 1000:.1f} s)[/]")
            case ResponseMeasured(response_id=response_id, response_ms=response_ms):
                self._turn(response_id).response_ms = response_ms
            case TurnTimings(response_id=response_id, parts=parts):
                turn = self._turn(response_id)
                turn.parts = dict(parts)
                self._console.print(f"[dim]      {timing_line(turn)}[/]")
            case ResponseDone(response_id=response_id, status="failed", error=error):
                self._turn(response_id).trouble.append(f"the answer failed: {error}")
            case ResponsePlayed():
                self._answer_over.set()
            case SessionError(code=code, message=message):
                self.turns[-1].trouble.append(f"{code}: {message}")
            case _:
                pass

    def _turn(self, response_id: str) -> DemoTurn:
        return self._by_response.get(response_id, self.turns[-1])


def judge(turn: DemoTurn, line: ScriptLine, next_line: ScriptLine | None) -> None:
    """Note what went wrong."""
    errors = word_errors(line.text, turn.user_text)
    if errors > MAX_WORD_ERRORS:
        turn.trouble.append(f"misheard: {errors:.0%} of the words are wrong")
    if not turn.agent_text:
        turn.trouble.append("no words in the answer")
    if turn.response_ms is None:
        turn.trouble.append("nothing audible was answered")
    if line.expect is not None and line.expect.lower() not in turn.agent_text.lower():
        turn.trouble.append(f"the answer does not say {line.expect!r}")
    should_stop = next_line is not None and next_line.interrupt_after_ms is not None
    if turn.interrupted != should_stop:
        turn.trouble.append("was not interrupted" if should_stop else "was interrupted")


def word_errors(reference: str, hypothesis: str) -> float:
    """Word error rate: edits that turn one into the other, by the number of words of the reference."""
    wanted, heard = words(reference), words(hypothesis)
    row = list(range(len(heard) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / max(1, len(wanted))


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def timing_line(turn: DemoTurn) -> str:
    parts = " + ".join(f"{name.replace('_', ' ')} {ms}" for name, ms in turn.parts.items())
    heard = "?" if turn.response_ms is None else str(turn.response_ms)
    return f"answered in {heard} ms; on the server: {parts}"


@asynccontextmanager
async def server(
    source: Path | str | None, added: Mapping[str, str] | None = None, surroundings: Mapping[str, str] = os.environ
) -> AsyncIterator[str]:
    """`voiceagent serve` in a process of its own on a free port; yields its URL. `source` is a
    configuration file, or the name of an agent. Its environment is `surroundings` with what is `added`."""
    # -P: a folder named voiceagent where the user happens to be, such as a checkout, is not this package.
    command = [sys.executable, "-P", "-m", "voiceagent", "serve", "--port", "0", "--host", "127.0.0.1"]
    if source is not None:
        command += [str(source)] if isinstance(source, str) else ["--config", str(source)]
    environment = {"VOICEAGENT_SERVER__LOG_LEVEL": "warning", **surroundings, **(added or {})}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            line = (await process.stdout.readline()).decode()
        if not line.startswith(LISTENING):
            raise ConfigError("the server did not start (its own message is above)")
        yield line.removeprefix(LISTENING).strip()
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
