"""Recording of one session: from its events to the lines and the sound on disk. Blocking."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedWriter

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.resample import Resampler
from voiceagent.audio.wav import StereoWav
from voiceagent.recordings import lines
from voiceagent.recordings.axis import Axis
from voiceagent.recordings.lines import Line
from voiceagent.recordings.store import RecordingStore
from voiceagent.recordings.track import RecordedTrack
from voiceagent.session.commands import AppendAudio, Configure, ReportPlayed, TruncateItem
from voiceagent.session.conversation import FunctionCall, FunctionOutput, Item
from voiceagent.session.events import Event, ResponseAudio, ResponseDone, ResponsePlayed, TurnTimed
from voiceagent.session.options import SessionOptions
from voiceagent.session.timeline import MARKS, Timeline

Moment = AppendAudio | Configure | ReportPlayed | TruncateItem | Event | Item | FunctionCall | FunctionOutput
"""What a recording is told: commands that were carried out, events, items as they are noted."""

WIDE_RATE = 24_000
NARROW_RATE = 16_000
"""Hz of the file: the one where either side has so much, the other where both have less (telephones)."""
MOST_BYTES = 4_000_000_000
"""What a WAV file can hold, nearly: eleven hours and a half at 24 kHz."""


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """A session that begins. `started` on the loop's clock, `date` as ISO 8601 says it."""

    session: str
    protocol: str
    tenant: str
    user: str
    started: float
    date: str
    options: SessionOptions


class SessionRecording:
    """Raises OSError from everything."""

    def __init__(self, store: RecordingStore, about: RecordingHeader, *, audio: bool) -> None:
        self._store = store
        self._about = about
        self._audio = audio
        self._output_rate = about.options.output_rate
        self._axis: Axis | None = None
        self._track: RecordedTrack | None = None
        self._wav: StereoWav | None = None
        self._resamplers: dict[str, tuple[int, Resampler]] = {}
        self._written = 0
        self._file: BufferedWriter = store.create(about.session, "jsonl").open("ab")
        self.note(
            about.started,
            {
                "type": "talk",
                "version": lines.VERSION,
                "session": about.session,
                "protocol": about.protocol,
                "tenant": about.tenant,
                "user": about.user,
                "date": about.date,
            },
        )

    def note(self, now: float, line: Line) -> None:
        """Write down that this happens."""
        self._file.write(lines.encode(self._ms(now), line))

    def take(self, now: float, moment: Moment) -> None:
        match moment:
            case AppendAudio(pcm, rate):
                self._hear(now, pcm, rate)
            case Configure(options):
                self._output_rate = options.output_rate
            case ReportPlayed(item_id, audio_ms):
                if self._track is not None:
                    self._track.reported(now, item_id, audio_ms / 1000)
            case TruncateItem(item_id, audio_end_ms):
                if self._track is not None:
                    self._track.stopped(item_id, audio_end_ms / 1000)
            case Item() | FunctionCall() | FunctionOutput():
                line = lines.noted(moment)
                if line is not None:
                    self.note(now, line)
            case ResponseAudio():
                self._say(now, moment)
            case _:
                self._happens(now, moment)

    def flush(self, now: float) -> None:
        """To disk with what will not change any more."""
        if self._track is not None:
            self._write(self._track.ready(now))
        self._file.flush()

    def end(self, now: float, reason: str) -> None:
        """The session is over."""
        if self._track is not None:
            self._write(self._track.finish(now))
        self.note(now, {"type": "end", "reason": reason})
        self.close()
        self._store.finish(self._about.session)

    def close(self) -> None:
        try:
            if self._wav is not None:
                self._wav.close()
        finally:
            self._file.close()

    # -- lines ------------------------------------------------------------------------------------------------------

    def _happens(self, now: float, event: Event) -> None:
        match event:
            case ResponsePlayed(response_id=response_id) | ResponseDone(response_id=response_id, status="cancelled"):
                if self._track is not None:
                    self._track.cut(now, response_id)
            case _:
                pass
        line = lines.told(event)
        if line is None:
            return
        if isinstance(event, TurnTimed):
            line["from"] = self._past_ms(first_mark(event.timeline, now), now)
        self.note(now, line)

    def _ms(self, now: float) -> int:
        """Where on the axis this moment is."""
        if self._axis is None:
            return max(0, round((now - self._about.started) * 1000))
        return self._axis.position(now) * 1000 // self._axis.rate

    def _past_ms(self, moment: float, now: float) -> int:
        if self._axis is None:
            return max(0, round((moment - self._about.started) * 1000))
        return min(self._ms(now), self._axis.past(moment) * 1000 // self._axis.rate)

    # -- sound ------------------------------------------------------------------------------------------------------

    def _hear(self, now: float, pcm: Pcm, rate: int) -> None:
        axis = self._begin(rate)
        if self._track is not None:
            self._track.user(now, self._at_rate("user", pcm, rate))
        else:
            axis.user(now, len(pcm) * axis.rate // rate)

    def _say(self, now: float, event: ResponseAudio) -> None:
        self._begin(0)
        if self._track is not None:
            # A frame is a part of a clause, all of which would be kept with it.
            pcm = self._at_rate("agent", event.pcm.copy(), self._output_rate)
            self._track.agent(now, event.response_id, event.item_id, pcm)

    def _begin(self, rate: int) -> Axis:
        """With the first sound it is known how good it is."""
        if self._axis is None:
            wide = max(rate, self._output_rate) >= WIDE_RATE
            self._axis = Axis(WIDE_RATE if wide else NARROW_RATE, self._about.started)
            if self._audio:
                self._wav = StereoWav(self._store.create(self._about.session, "wav"), self._axis.rate)
                self._track = RecordedTrack(self._axis)
        return self._axis

    def _at_rate(self, side: str, pcm: Pcm, rate: int) -> Pcm:
        assert self._axis is not None
        before, resampler = self._resamplers.get(side, (0, None))
        if resampler is None or before != rate:
            resampler = Resampler(rate, self._axis.rate, "low")
            self._resamplers[side] = (rate, resampler)
        return resampler.push(pcm)

    def _write(self, blocks: Iterable[tuple[Pcm, Pcm]]) -> None:
        assert self._wav is not None
        for user, agent in blocks:
            self._written += user.nbytes + agent.nbytes
            if self._written > MOST_BYTES:
                raise OSError("the file is full")
            self._wav.write(user, agent)


def first_mark(timeline: Timeline, otherwise: float) -> float:
    """When the turn began, on the loop's clock."""
    reached = [at for name in MARKS if (at := getattr(timeline, name)) is not None]
    return min(reached, default=otherwise)
