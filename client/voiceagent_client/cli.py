"""`voiceagent-client`: talk with a Realtime server from a terminal, by microphone or by WAV files."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voiceagent_client.audio_io import WavDevice
from voiceagent_client.captions import caption, timing, trouble
from voiceagent_client.connection import RealtimeConnection
from voiceagent_client.conversation import Conversation
from voiceagent_client.endpoint import LOOPBACK, Endpoint
from voiceagent_client.errors import ClientError
from voiceagent_client.happenings import Happening, SessionStarted
from voiceagent_client.playback import Player
from voiceagent_client.script import Script
from voiceagent_client.sound import Device, SoundDevice, list_devices
from voiceagent_client.wav import read_wav, recording
from voiceagent_client.wire import SessionConfig

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
    text: bool = False
    timings: bool = False
    list_devices: bool = False
    input_device: Device = None
    output_device: Device = None
    wav: list[Path] = field(default_factory=list)
    out: Path | None = None
    timeout: float = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done (Ctrl-C is how a talk by microphone ends), 1 failed, 130 Ctrl-C while playing files;
    argparse exits with 2 on wrong usage."""
    options = _arguments(argv)
    try:
        if options.list_devices:
            print(list_devices())
        else:
            asyncio.run(_talk(options))
    except KeyboardInterrupt:
        return INTERRUPTED if options.wav else 0
    except (ClientError, OSError) as failed:  # OSError: the recording's disk is full
        print(f"voiceagent-client: {failed}", file=sys.stderr)
        return FAILED
    return 0


async def _talk(options: Options) -> None:
    if options.wav:
        await _talk_by_files(options)
    else:
        await _talk_by_sound(options)


async def _talk_by_files(options: Options) -> None:
    recordings = [read_wav(path) for path in options.wav]
    player = Player()
    with contextlib.ExitStack() as files:
        recorder = None if options.out is None else files.enter_context(recording(options.out))
        device = WavDevice(player, recorder)
        script = Script(device, recordings, timeout=options.timeout)

        def notice(happening: Happening) -> None:
            script.notice(happening)
            _show(happening, options)

        async with _connection(options) as connection:
            await Conversation(connection, device, player, notice).run(script.run())


async def _talk_by_sound(options: Options) -> None:
    player = Player()
    with SoundDevice(player, input_device=options.input_device, output_device=options.output_device) as device:
        async with _connection(options) as connection:
            print("Speak; Ctrl-C ends the talk.", file=sys.stderr)
            await Conversation(connection, device, player, lambda happening: _show(happening, options)).run()


def _connection(options: Options) -> RealtimeConnection:
    query = {} if options.model is None else {"model": options.model}
    session = SessionConfig(options.instructions, options.voice, options.language, timings=options.timings)
    return RealtimeConnection(options.url, key=_key(options), query=query, session=session)


def _key(options: Options) -> str | None:
    """OpenAI's key, which many have in their environment, goes to OpenAI and to this machine, not to anybody
    else's server."""
    host = Endpoint.of(options.url, None, {}).host
    known = host in LOOPBACK or host == "openai.com" or host.endswith(".openai.com")
    return options.key or os.environ.get(KEY_VARIABLE) or (os.environ.get(OPENAI_KEY_VARIABLE) if known else None)


def _show(happening: Happening, options: Options) -> None:
    words = caption(happening) if options.text else None
    times = timing(happening) if options.text or options.timings else None
    for line in (words, times):
        if line is not None:
            print(_printable(line), flush=True)
    problem = "connected" if isinstance(happening, SessionStarted) else trouble(happening)
    if problem is not None:
        print(_printable(problem), file=sys.stderr, flush=True)


def _printable(line: str) -> str:
    """Without the control characters by which a server could steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in line)


def _device(text: str) -> Device:
    return int(text) if text.isdecimal() else text


def _arguments(argv: Sequence[str] | None) -> Options:
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
    parser.add_argument("--text", action="store_true", help="print what both say")
    parser.add_argument("--timings", action="store_true", help="print where the time went (voiceagent servers)")
    sound = parser.add_argument_group("sound")
    sound.add_argument("--list-devices", action="store_true", help="list microphones and speakers, and exit")
    sound.add_argument("--input-device", type=_device, help="microphone: its number or a part of its name")
    sound.add_argument("--output-device", type=_device, help="speaker: its number or a part of its name")
    files = parser.add_argument_group("files, for machines without sound")
    files.add_argument("--wav", type=Path, nargs="+", metavar="IN.wav", help="speak these, each after the last answer")
    files.add_argument("--out", type=Path, metavar="OUT.wav", help="record the talk: user left, agent right")
    files.add_argument("--timeout", type=float, help="seconds to wait for each answer (30)")
    options = parser.parse_args(argv, Options())
    if options.out is not None and not options.wav:
        parser.error("--out records a talk by files; it needs --wav")
    return options


if __name__ == "__main__":
    sys.exit(main())
