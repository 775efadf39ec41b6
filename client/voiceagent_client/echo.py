"""What keeps the agent from hearing itself where loudspeaker and microphone share a room."""

import importlib
import threading
from collections import deque
from typing import Literal, Protocol, cast

from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import Pcm, first_audible, silence
from voiceagent_client.resample import CARD_FRAME, CARD_RATE

EchoMode = Literal["auto", "aec", "half-duplex", "off"]
ECHO_MODES: tuple[EchoMode, ...] = ("auto", "aec", "half-duplex", "off")

TAIL_FRAMES = 20
"""400 ms: the microphone stays closed so long after the last audible sample was handed to the loudspeaker, for what
is still in the sound card's buffers and in the room."""

HELD_FRAMES = 100
"""Frames (2 s) of the loudspeaker that may wait for the microphone's; then the oldest are lost."""

SETTLING_FRAMES = 50
"""Over so many frames (1 s) the loudspeaker's lead on the microphone is judged."""

SPARE_FRAMES = 2
"""Frames that may always wait, against a loudspeaker that calls late: sound is on its way for longer than that."""

NO_CANCELLER = "no echo canceller is installed; pip install pywebrtc-audio"


class EchoControl(Protocol):
    """Cleans the microphone of what the loudspeaker plays. All frames are 20 ms at 48 kHz."""

    note: str | None
    """What the user should know of it, once; None for nothing."""

    def clean(self, near: Pcm, far: Pcm) -> Pcm:
        """`near` was heard; `far` was handed to the loudspeaker at about that time, or shortly before."""
        ...


class Canceller(Protocol):
    """The part of `pywebrtc_audio.AudioProcessor` that is used."""

    def process(self, near: Pcm, far: Pcm) -> Pcm: ...


class WebRtcEcho:
    """WebRTC's canceller (AEC3, the `pywebrtc-audio` package): it finds the delay between the two by itself, up to
    about half a second, and lets both talk at once. AudioError where it is not installed."""

    note: str | None = None

    def __init__(self) -> None:
        try:
            package = importlib.import_module("pywebrtc_audio")
        except ImportError:
            raise AudioError(NO_CANCELLER) from None
        processor = package.AudioProcessor(sample_rate=CARD_RATE, echo_cancellation=True, high_pass_filter=True)
        self._canceller = cast(Canceller, processor)

    def clean(self, near: Pcm, far: Pcm) -> Pcm:
        return self._canceller.process(near, far)


class HalfDuplex:
    """Closes the microphone while the loudspeaker sounds, and a little longer. The agent cannot be interrupted."""

    note: str | None = (
        f"{NO_CANCELLER}. Until then the microphone is off while the agent talks (with a headset: --echo off)"
    )

    def __init__(self) -> None:
        self._closed = 0

    def clean(self, near: Pcm, far: Pcm) -> Pcm:
        if first_audible(far) is not None:
            self._closed = TAIL_FRAMES
        elif self._closed:
            self._closed -= 1
        return silence(len(near)) if self._closed else near


def echo_control(mode: EchoMode = "auto") -> EchoControl | None:
    """`auto` is the canceller where it is installed, else half duplex. None for `off`. AudioError for `aec` where none
    is installed."""
    match mode:
        case "off":
            return None
        case "half-duplex":
            return HalfDuplex()
        case "aec":
            return WebRtcEcho()
        case "auto":
            try:
                return WebRtcEcho()
            except AudioError:
                return HalfDuplex()


class FarEnd:
    """The loudspeaker's frames in line for the microphone's; each end in a thread of its own.

    What was handed to the loudspeaker must never be paired with a microphone's frame that heard it already, so the
    line has to be short; but both ends call in bursts, so it swings. What is too much is therefore the shortest it was
    over a second.
    """

    def __init__(self) -> None:
        self._frames: deque[Pcm] = deque(maxlen=HELD_FRAMES)
        self._lock = threading.Lock()
        self._taken = 0
        self._shortest = HELD_FRAMES

    def put(self, frame: Pcm) -> None:
        with self._lock:
            self._frames.append(frame)

    def take(self) -> Pcm:
        """The next one; silence when the loudspeaker has not asked for any."""
        with self._lock:
            frame = self._frames.popleft() if self._frames else silence(CARD_FRAME)
            self._shortest = min(self._shortest, len(self._frames))
            self._taken += 1
            if self._taken == SETTLING_FRAMES:
                for _ in range(self._shortest - SPARE_FRAMES):
                    self._frames.popleft()
                self._taken, self._shortest = 0, HELD_FRAMES
            return frame
