"""Microphone of a device: when its audio counts, and what it means that it starts and stops."""

from collections.abc import Callable

from voiceagent.audio.opus import DECODED_RATE, OpusDecoder
from voiceagent.audio.pcm import Pcm, from_bytes, silence
from voiceagent.channels.base import Action, Execute
from voiceagent.channels.xiaozhi.hello import Terms
from voiceagent.channels.xiaozhi.loudspeaker import Stamped
from voiceagent.channels.xiaozhi.messages import Mode, unpack
from voiceagent.errors import Refused
from voiceagent.session.commands import AppendAudio, ClearAudio, CommitAudio, CreateResponse, ReportPlayed

OVER_SECONDS = 2
"""Of silence that end a turn: where a device stops listening in the middle of one."""
MIN_PRESS_MS = 120
"""A button held for less was not meant to say anything; the session takes 100 ms for the least."""


class DeviceMicrophone:
    def __init__(self, terms: Terms, played: Callable[[int], Stamped | None], *, wake_audio: bool) -> None:
        """`played` knows the packet with this time stamp. `wake_audio`: the wake word's own sound counts too."""
        self.mode: Mode | None = None
        """None until it has listened for the first time."""
        self._version = terms.version
        self._played = played if terms.aec else None
        self._decoder = OpusDecoder() if terms.pcm_rate is None else None
        self._rate = terms.pcm_rate or DECODED_RATE
        self._wake_audio = wake_audio
        self._listening = False
        self._pressed_ms = 0.0
        self._skip_ms = 0.0

    def hear(self, frame: bytes) -> list[Action]:
        """A binary message. Raises Refused."""
        packet, stamp = unpack(self._version, frame)
        actions: list[Action] = []
        played = self._played(stamp) if self._played is not None and stamp else None
        if played is not None:
            actions.append(Execute(ReportPlayed(played.item_id, played.ms)))
        if not (self._listening or (self.mode is None and self._wake_audio)):
            return actions  # the sound of its wake word, or what was on its way when it stopped listening
        pcm = self._decoded(packet)
        milliseconds = len(pcm) * 1000 / self._rate
        if self._skip_ms > 0:
            self._skip_ms -= milliseconds
            return actions
        self._pressed_ms += milliseconds
        return [*actions, Execute(AppendAudio(pcm, self._rate))]

    def skip(self, milliseconds: int) -> None:
        """What comes next is the rest of a wake word."""
        self._skip_ms = float(milliseconds)

    def start(self, mode: Mode) -> None:
        """The device listens."""
        self.mode, self._listening, self._pressed_ms = mode, True, 0.0

    def stop(self) -> list[Action]:
        """The device has stopped listening: the button is released."""
        if not self._listening:
            return []
        self._listening = False
        if self.mode != "manual":  # whoever speaks has finished
            return [Execute(AppendAudio(silence(OVER_SECONDS * self._rate), self._rate))]
        if self._pressed_ms < MIN_PRESS_MS:
            return [Execute(ClearAudio())]
        return [Execute(CommitAudio()), Execute(CreateResponse())]

    def yield_to_speech(self) -> list[Action]:
        """The device begins to speak, which turns its microphone off, unless it has an echo canceller. It tells when
        it listens again."""
        if not self._listening or self.mode == "realtime":
            return []
        self._listening = False
        return [Execute(ClearAudio())]  # else half a word would wait for the rest of it

    def _decoded(self, packet: bytes) -> Pcm:
        try:
            return from_bytes(packet) if self._decoder is None else self._decoder.decode(packet)
        except ValueError:
            raise Refused("bad_audio", "a packet of audio cannot be decoded") from None
