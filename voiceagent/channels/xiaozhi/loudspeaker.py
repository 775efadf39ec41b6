"""A device's loudspeaker: the agent's responses as what the firmware takes for one, in the order it needs.

A device takes audio only while it is "speaking", which `tts start` begins and only the server can end: `tts stop`. It
plays what is in its queue of 40 packets to the end even then. `tts stop`, `tts start` and, 20 ms later, `tts stop`
empties that queue, since it is cleared where speaking begins.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from voiceagent.audio.opus import OpusEncoder
from voiceagent.audio.pcm import Pcm, silence, to_bytes
from voiceagent.channels.base import Action, Delay, Frame, Send
from voiceagent.channels.xiaozhi.emotion import emotion_of
from voiceagent.channels.xiaozhi.messages import Version, message, pack, shortened
from voiceagent.session.events import ResponseAudio, ResponseText
from voiceagent.tts.speakable import speakable

RATE = 24_000
"""Hz: what most boards play without resampling."""
FLUSH_SECONDS = 0.02
"""Between the last two messages of a flush: the firmware's main task has seen `tts start` by then."""
STAMPS_KEPT = 64
"""More packets than a device may have that it has not played."""
LAST_STAMP = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Stamped:
    """A packet that was sent: `ms` is where it ends in its item."""

    stamp: int
    item_id: str
    ms: int


class DeviceLoudspeaker:
    """What the device is told of replies. `speaking` mirrors the device's own state."""

    def __init__(self, session_id: str, version: Version, frame_ms: int, *, plain: bool) -> None:
        """`plain`: PCM packets instead of Opus."""
        self.speaking = False
        self.response_id = ""
        """The response that the device was last sent audio of."""
        self.packets = 0
        """Sent since speaking began."""
        self.padded_ms = 0
        """Silence that was added since speaking began, of which the session does not know."""
        self._session_id = session_id
        self._version = version
        self._frame_ms = frame_ms
        self._encoder = None if plain else OpusEncoder(RATE, frame_ms)
        self._samples = RATE * frame_ms // 1000
        self._rest: Pcm = silence(0)
        self._item_id = ""
        self._item_samples = 0
        self._words = ""
        self._subtitles: list[str] = []
        self._stamp = 0
        self._stamps: deque[Stamped] = deque(maxlen=STAMPS_KEPT)

    # -- replies ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new reply is on its way: nothing of it is known yet."""
        self._words, self._subtitles = "", []

    def text(self, event: ResponseText) -> None:
        """What the audio that comes next says."""
        self._words += event.text
        subtitle = shortened(speakable(event.text))
        if subtitle:
            self._subtitles.append(subtitle)

    def audio(self, event: ResponseAudio) -> list[Frame | Action]:
        """Bare frames are audio. What fills no packet waits for more, or for `fill`."""
        told: list[Frame | Action] = []
        if not self.speaking or event.response_id != self.response_id:
            told += self._start(event.response_id)
        told += [Send(self._tts("sentence_start", text=subtitle)) for subtitle in self._subtitles]
        self._subtitles = []
        if event.item_id != self._item_id:
            self._item_id, self._item_samples = event.item_id, 0
        audio = np.concatenate((self._rest, event.pcm))
        whole = len(audio) // self._samples * self._samples
        self._rest = audio[whole:].copy()
        return told + [self._packet(audio[at : at + self._samples]) for at in range(0, whole, self._samples)]

    @property
    def unfilled(self) -> bool:
        """Whether audio waits that fills no packet."""
        return len(self._rest) > 0

    def fill(self) -> list[Frame]:
        """Send what fills no packet, with silence behind it: nothing more comes, or not in time."""
        if not self.unfilled:
            return []
        missing = self._samples - len(self._rest)
        self.padded_ms += missing * 1000 // RATE
        audio, self._rest = np.concatenate((self._rest, silence(missing))), silence(0)
        packet = self._packet(audio)
        self._item_samples -= missing
        return [packet]

    def stop(self) -> list[Action]:
        """All was played: the device listens again, or rests."""
        if not self.speaking:
            return []
        self._leave()
        return [Send(self._tts("stop"))]

    def flush(self) -> list[Action]:
        """Silence at once, whatever the device has in its queue."""
        queued = self.packets > 0
        told = self.stop()
        if told and queued:
            told += [Send(self._tts("start")), Delay(FLUSH_SECONDS), Send(self._tts("stop"))]
        return told

    def stop_frame(self) -> Frame:
        """`tts stop`, whatever the state: a device that does not speak takes no notice."""
        return self._tts("stop")

    def played(self, stamp: int) -> Stamped | None:
        """What the device tells to have just played."""
        return next((sent for sent in self._stamps if sent.stamp == stamp), None)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _start(self, response_id: str) -> list[Action]:
        told: list[Action] = [Send(self._message("llm", emotion=emotion_of(self._words)))]
        self.response_id = response_id
        if not self.speaking:
            self.speaking, self.packets, self.padded_ms = True, 0, 0
            told.append(Send(self._tts("start")))
        return told

    def _leave(self) -> None:
        self.speaking = False
        self._rest = silence(0)
        self._stamps.clear()

    def _packet(self, audio: Pcm) -> bytes:
        packet = to_bytes(audio) if self._encoder is None else self._encoder.encode(audio)
        self.packets += 1
        self._item_samples += len(audio)
        self._stamp = self._stamp + self._frame_ms if self._stamp < LAST_STAMP - self._frame_ms else self._frame_ms
        self._stamps.append(Stamped(self._stamp, self._item_id, self._item_samples * 1000 // RATE))
        return pack(self._version, packet, self._stamp)

    def _tts(self, state: str, **fields: object) -> str:
        return self._message("tts", state=state, **fields)

    def _message(self, kind: str, **fields: object) -> str:
        return message(self._session_id, kind, fields)
