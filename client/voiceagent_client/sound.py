"""Microphone and speaker through PortAudio (the `sounddevice` package)."""

import asyncio
import contextlib
import importlib
from collections import deque
from types import ModuleType
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from voiceagent_client.audio_io import Frame
from voiceagent_client.echo import EchoControl, FarEnd
from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import FRAME, Pcm, silence
from voiceagent_client.playback import Player
from voiceagent_client.resample import CARD_FRAME, CARD_RATE, Resampler

HELD_FRAMES = 50
"""Microphone frames (1 s) that may wait to be sent; then the oldest are lost."""

LATENCY_SECONDS = 0.06
"""Asked of both streams: three blocks. What PortAudio calls low is for some systems a block or less, and crackles."""

SILENT_MICROPHONE = 5.0
"""Seconds without a frame after which the microphone counts as gone."""

NO_PORTAUDIO = (
    "the PortAudio library is missing. Debian, Ubuntu, Raspberry Pi OS: sudo apt install libportaudio2; "
    "macOS: brew install portaudio. Without sound: --wav IN.wav --out OUT.wav"
)

NO_SOUNDDEVICE = "pip install sounddevice, or without sound: --wav IN.wav --out OUT.wav"

Block: TypeAlias = npt.NDArray[np.int16]
"""PortAudio's view of a block: shape (frames, channels)."""

Device = str | int | None
"""A device's number or a part of its name; None is the system's own choice."""


def list_devices() -> str:
    """The devices as a table for people. AudioError: no PortAudio."""
    sd = _portaudio()
    return str(sd.query_devices()) or "no sound devices"


class SoundDevice:
    """A context manager, entered in a running loop. The sound card runs at 48 kHz mono in blocks of 20 ms; both streams
    call from PortAudio's own threads. AudioError when a device is missing or refuses the format."""

    def __init__(
        self,
        player: Player,
        *,
        input_device: Device = None,
        output_device: Device = None,
        echo: EchoControl | None = None,
    ) -> None:
        """`echo` None leaves the microphone as it is, which suits headsets."""
        self._player = player
        self._input_device = input_device
        self._output_device = output_device
        self._echo = echo
        self._far = FarEnd()
        self._to_card, self._to_wire = Resampler(2, 1), Resampler(1, 2)
        self._frames: deque[Frame] = deque(maxlen=HELD_FRAMES)
        self._arrived = asyncio.Event()
        self._streams = contextlib.ExitStack()

    def __enter__(self) -> Self:
        sd = _portaudio()
        loop = asyncio.get_running_loop()

        def capture(data: Block, frames: int, time: object, status: object) -> None:
            frame = Frame(self._to_wire(self._cleaned(data[:, 0].copy())))
            loop.call_soon_threadsafe(self._capture, frame)

        def play(data: Block, frames: int, time: object, status: object) -> None:
            data[:, 0] = self._next_block()

        form = {
            "samplerate": CARD_RATE,
            "blocksize": CARD_FRAME,
            "channels": 1,
            "dtype": "int16",
            "latency": LATENCY_SECONDS,
        }
        with contextlib.ExitStack() as opened:
            try:
                opened.enter_context(sd.OutputStream(device=self._output_device, callback=play, **form))
                opened.enter_context(sd.InputStream(device=self._input_device, callback=capture, **form))
            except (sd.PortAudioError, ValueError) as failed:
                raise AudioError(f"cannot open the sound device ({failed}); see --list-devices") from None
            self._streams = opened.pop_all()
        return self

    def _next_block(self) -> Pcm:
        block = silence(FRAME)
        self._player.read_into(block)
        sound = self._to_card(block)
        self._far.put(sound)
        return sound

    def _cleaned(self, near: Pcm) -> Pcm:
        far = self._far.take()
        return near if self._echo is None else self._echo.clean(near, far)

    def __exit__(self, *_: object) -> None:
        self._streams.close()

    async def read(self) -> Frame:
        if not self._frames:
            self._arrived.clear()
            try:
                async with asyncio.timeout(SILENT_MICROPHONE):
                    await self._arrived.wait()
            except TimeoutError:
                raise AudioError("the microphone has stopped; was it unplugged?") from None
        return self._frames.popleft()

    def _capture(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._arrived.set()


def _portaudio() -> ModuleType:
    """The package, imported only here: without the C library the import itself fails."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise AudioError(f"the sounddevice package is missing: {NO_SOUNDDEVICE}") from None
    except OSError:
        raise AudioError(NO_PORTAUDIO) from None
