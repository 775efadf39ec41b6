"""`voiceagent-client`: talk with a Realtime server from a terminal, by microphone or by WAV files."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voiceagent_client.audio_io import WavDevice
from voiceagent_client.connection import RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.echo import ECHO_MODES, EchoMode, echo_control
from voiceagent_client.endpoint import LOOPBACK, Endpoint
from voiceagent_client.errors import ClientError
from voiceagent_client.happenings import Happening
from voiceagent_client.microphone import Microphone
from voiceagent_client.playback import PREBUFFER_MS, Player
from voiceagent_client.push import PUSH_MODES, PushMode
from voiceagent_client.screen import Screen
from voiceagent_client.script import Script
from voiceagent_client.sound import Device, SoundDevice, list_devices
from voiceagent_client.talk import Booth, by_push, by_wake_word, hands_free
from voiceagent_client.wake import DEFAULT_WORD, WakeWord
from voiceagent_client.wav import read_wav, recording
from voiceagent_client.wire import Json, SessionConfig

DEFAULT_URL = "ws://127.0.0.1:8000/v1/realtime"
KEY_VARIABLE = "VOICEAGENT_API_KEY"
OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"

FAILED, INTERRUPTED = 1, 130


@dataclass(slots=True)
class Options:
    """The command line; argparse fills it in."""

    url: str = DEFAULT_URL
    key: str | None = field(default=None, repr=False)
    model: str | None = None
    instructions: str | None = None
    voice: str | None = None
    language: str | None = None
    text: bool | None = None
    timings: bool = False
    list_devices: bool = False
    input_device: Device = None
    output_device: Device = None
    echo: EchoMode = "auto"
    buffer: int = PREBUFFER_MS
    push_to_talk: PushMode | None = None
    wake: str | None = None
    awake: float = 10.0
    wav: list[Path] = field(default_factory=list)
    out: Path | None = None
    timeout: float = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done (a talk by microphone ends by Ctrl-C or SIGTERM), 1 failed, 130 Ctrl-C while playing files;
    argparse exits with 2 on wrong usage."""
    options = _arguments(argv)
    try:
        if options.list_devices:
            print(list_devices())
        else:
            asyncio.run(_talk(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED if options.wav else 0
    except (ClientError, OSError) as failed:  # OSError: the recording's disk is full
        print(f"voiceagent-client: {failed}", file=sys.stderr)
        return FAILED
    return 0


async def _talk(options: Options) -> None:
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if options.wav:
        await _talk_by_files(options)
    else:
        await _talk_by_sound(options)


async def _talk_by_files(options: Options) -> None:
    recordings = [read_wav(path) for path in options.wav]
    player = Player(prebuffer_ms=options.buffer)
    screen = Screen(text=bool(options.text), timings=options.timings)
    with contextlib.ExitStack() as files:
        recorder = None if options.out is None else files.enter_context(recording(options.out))
        device = WavDevice(player, recorder)
        script = Script(device, recordings, timeout=options.timeout)

        def notice(happening: Happening) -> None:
            script.notice(happening)
            screen.show(happening)

        async with _connection(options) as connection:
            await Conversation(connection, device, player, notice).run(script.run())


async def _talk_by_sound(options: Options) -> None:
    # captions go to a terminal unasked, but not into a service's journal
    text = sys.stdout.isatty() if options.text is None else options.text
    screen = Screen(text=text, timings=options.timings, live=True)
    word = None if options.wake is None else WakeWord(options.wake)
    by_hand = options.push_to_talk is not None and options.echo == "auto"  # the agent is silent in the user's turns
    echo = echo_control("off" if by_hand else options.echo)
    player = Player(prebuffer_ms=options.buffer)
    devices = {"input_device": options.input_device, "output_device": options.output_device}
    with SoundDevice(player, **devices, echo=echo) as device:
        if echo is not None and echo.note is not None:
            screen.say(echo.note)
        screen.say("Ctrl-C ends the talk.")
        booth = Booth(lambda: _connection(options), Microphone(device), player, screen)
        if options.push_to_talk is not None:
            await by_push(booth, options.push_to_talk)
        elif word is not None:
            await by_wake_word(booth, word, options.awake)
        else:
            await hands_free(booth)


def _connection(options: Options) -> RealtimeConnection:
    query = {} if options.model is None else {"model": options.model}
    by_hand: dict[str, Json] = {"audio": {"input": {"turn_detection": None}}}
    session = SessionConfig(
        options.instructions,
        options.voice,
        options.language,
        timings=options.timings,
        extra={} if options.push_to_talk is None else by_hand,
    )
    return RealtimeConnection(options.url, key=_key(options), query=query, session=session)


def _key(options: Options) -> str | None:
    """OpenAI's key, which many have in their environment, goes to OpenAI and to this machine, not to anybody
    else's server."""
    host = Endpoint.of(options.url, None, {}).host
    known = host in LOOPBACK or host == "openai.com" or host.endswith(".openai.com")
    return options.key or os.environ.get(KEY_VARIABLE) or (os.environ.get(OPENAI_KEY_VARIABLE) if known else None)


def _device(text: str) -> Device:
    return int(text) if text.isdecimal() else text


def _milliseconds(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 2000:
        raise argparse.ArgumentTypeError("must be 0 to 2000")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be 1 to 3600")
    return value


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="voiceagent-client",
        description="Talk with an OpenAI-Realtime-compatible voice server, by microphone and speaker or by WAV files.",
    )
    parser.add_argument("--url", help=f"WebSocket address of the server ({DEFAULT_URL})")
    parser.add_argument("--key", help=f"API key; better in the environment, as {KEY_VARIABLE}")
    parser.add_argument("--model", help="model to ask the server for")
    parser.add_argument("--instructions", help="what the agent is and how it should behave")
    parser.add_argument("--voice", help="the agent's voice")
    parser.add_argument("--language", help="the user's language, such as en or zh")
    parser.add_argument(
        "--text",
        action=argparse.BooleanOptionalAction,
        help="print what both say; by microphone, a terminal gets it unless --no-text",
    )
    parser.add_argument("--timings", action="store_true", help="print where the time went (voiceagent servers)")
    sound = parser.add_argument_group("sound")
    sound.add_argument("--list-devices", action="store_true", help="list microphones and speakers, and exit")
    for way, what in (("input", "microphone"), ("output", "loudspeaker")):
        names, place = (f"--{way}", f"--{way}-device"), f"{way}_device"
        sound.add_argument(*names, dest=place, type=_device, help=f"{what}: its number or a part of its name")
    sound.add_argument("--echo", choices=ECHO_MODES, help="echo cancellation; off suits headsets (auto)")
    sound.add_argument("--buffer", type=_milliseconds, metavar="MS", help=f"jitter buffer ({PREBUFFER_MS})")
    mode = sound.add_mutually_exclusive_group()
    mode.add_argument(
        "--push-to-talk",
        nargs="?",
        const="toggle",
        choices=PUSH_MODES,
        help="the space bar begins and ends your turn (toggle), or is held during it (hold)",
    )
    mode.add_argument(
        "--wake",
        nargs="?",
        const=DEFAULT_WORD,
        metavar="WORD",
        help=f"sleep until this is said: {DEFAULT_WORD}, alexa, ..., or a model file",
    )
    sound.add_argument("--awake", type=_seconds, metavar="SECONDS", help="of silence before it sleeps again (10)")
    files = parser.add_argument_group("files, for machines without sound")
    files.add_argument("--wav", type=Path, nargs="+", metavar="IN.wav", help="speak these, each after the last answer")
    files.add_argument("--out", type=Path, metavar="OUT.wav", help="record the talk: user left, agent right")
    files.add_argument("--timeout", type=float, help="seconds to wait for each answer (30)")
    return parser


def _arguments(argv: Sequence[str] | None) -> Options:
    command = parser()
    options = command.parse_args(argv, Options())
    if options.out is not None and not options.wav:
        command.error("--out records a talk by files; it needs --wav")
    return options


if __name__ == "__main__":
    sys.exit(main())
