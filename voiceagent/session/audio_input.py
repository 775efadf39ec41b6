"""The session's ear: the client's audio, through voice detection, into utterances that the recogniser makes words."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from voiceagent.asr.base import AsrEngine, AsrHint
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import Refused
from voiceagent.session.options import SessionOptions
from voiceagent.session.turn_events import TurnEvents
from voiceagent.session.user_turn import TurnEndDetector, UserTurn
from voiceagent.turn.endpointing import EndpointingPolicy
from voiceagent.vad.base import WINDOW, VadStream
from voiceagent.vad.segmenter import Segmenter, VoiceStarted

# The latest audio, from which an utterance gets what was said before it was known to be one.


class Preroll:
    """Positions are samples since the talk began."""

    def __init__(self) -> None:
        self._pieces: deque[Pcm] = deque()
        self._samples = 0

    def keep(self, piece: Pcm, least: int) -> None:
        """Take more; at least the last so many samples stay."""
        self._pieces.append(piece)
        self._samples += len(piece)
        while self._pieces and self._samples - len(self._pieces[0]) >= least:
            self._samples -= len(self._pieces.popleft())

    def start(self, position: int) -> int:
        """Where it begins, when it ends at `position`."""
        return position - self._samples

    def after(self, skip: int) -> Iterator[Pcm]:
        """The pieces, but for the first so many samples."""
        for pcm in self._pieces:
            if skip < len(pcm):
                yield pcm[skip:]
            skip = max(0, skip - len(pcm))

    def clear(self) -> None:
        self._pieces.clear()
        self._samples = 0


# What waits to be heard, in the order in which it came.

BACKLOG_SECONDS = 330.0
"""Audio that may wait to be heard: the largest single append of the Realtime protocol (15 MiB of 24 kHz PCM)."""
LEAST_SECONDS = 0.005
"""What a piece counts at least: a million of one sample each would be a minute of audio and 200 MB."""
SLACK = 1e-6
"""Seconds by which sums of lengths may be wrong."""


@dataclass(slots=True)
class AudioChunk:
    """A piece of the user's audio, `rate` in Hz; when it arrived, on the loop's clock; and how many seconds of the
    backlog it takes."""

    pcm: Pcm
    rate: int
    arrived: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CommitRequest:
    item_id: str


@dataclass(frozen=True, slots=True)
class ClearRequest:
    pass


Entry = AudioChunk | CommitRequest | ClearRequest


class AudioQueue:
    """One reader's queue, which joins audio to pieces worth a look: of 50 frames a second only 31 complete a window of
    the voice detector. Bounded by BACKLOG_SECONDS, of which every piece takes some."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._seconds = 0.0
        self._in_hand = 0.0
        self._others = 0
        self._enough = 0.0
        self._filled = asyncio.Event()

    def add(self, pcm: Pcm, rate: int, arrived: float) -> bool:
        """Put audio in; False when that is too much."""
        seconds = max(len(pcm) / rate, LEAST_SECONDS)
        if self._in_hand + self._seconds + seconds > BACKLOG_SECONDS:
            return False
        self._entries.append(AudioChunk(pcm, rate, arrived, seconds))
        self._seconds += seconds
        if self._is_filled():
            self._filled.set()
        return True

    def put(self, entry: CommitRequest | ClearRequest) -> None:
        self._entries.append(entry)
        self._others += 1
        self._filled.set()

    async def get(self, enough: float) -> Entry:
        """The next entry; what was handed out before is done with. Audio is waited for, and joined, until it lasts
        `enough` seconds or something else follows."""
        self._in_hand, self._enough = 0.0, enough - SLACK
        while not self._is_filled():
            self._filled.clear()
            await self._filled.wait()
        entry = self._entries.popleft()
        if not isinstance(entry, AudioChunk):
            self._others -= 1
            return entry
        pieces = [entry.pcm]
        while entry.seconds < self._enough and self._entries:
            following = self._entries[0]
            if not isinstance(following, AudioChunk) or following.rate != entry.rate:
                break
            self._entries.popleft()
            pieces.append(following.pcm)
            entry = AudioChunk(entry.pcm, entry.rate, following.arrived, entry.seconds + following.seconds)
        self._in_hand = entry.seconds
        self._seconds = self._seconds - entry.seconds if self._entries else 0.0
        if len(pieces) > 1:
            entry.pcm = np.concatenate(pieces)
        return entry

    def _is_filled(self) -> bool:
        return bool(self._entries) and (self._others > 0 or self._seconds >= self._enough)


PIECE = EAR_RATE // 10
"""Samples handled at a time: 100 ms, so that a client that sends minutes at once does not hold the loop."""
PARTIAL_SECONDS = 0.4
"""Between two partial transcripts: as often as captions need."""
HELD_BACK = EAR_RATE // 500
"""Samples that resampling may hold back (1 to 2 ms): they are here, and silence too, or the detector will tell."""
MIN_COMMIT_MS = 100
"""The least audio that can be committed by hand, as in the Realtime protocol."""


class AudioInput:
    """Positions are samples at EAR_RATE since the talk began; all decisions count them, never the clock."""

    def __init__(
        self,
        *,
        vad: VadStream,
        asr: AsrEngine,
        options: SessionOptions,
        endpointer: Callable[[SessionOptions], EndpointingPolicy],
        pausing: TurnEndDetector,
        events: TurnEvents,
        tasks: asyncio.TaskGroup,
        new_id: Callable[[str], str],
        deadline: float,
        max_turn_seconds: float,
    ) -> None:
        self._vad = vad
        self._asr = asr
        self._make_endpointer = endpointer
        self._pausing = pausing
        self._events = events
        self._tasks = tasks
        self._new_id = new_id
        self._deadline = deadline
        self._max_turn = int(max_turn_seconds * EAR_RATE)
        self._inbox = AudioQueue()
        self._uncommitted_ms = 0.0
        self._commits_waiting = 0
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self._resampler = Resampler(EAR_RATE, EAR_RATE, "low")
        self._rate = EAR_RATE
        self._position = 0
        self._preroll = Preroll()
        self._segmenter = Segmenter()
        self._unjudged = silence(0)
        self._vad_is_stale = False
        self._utterance: UserTurn | None = None
        self._speaking = asyncio.Event()
        self._options = options
        self.configure(options)

    # -- from the session, at any time -------------------------------------------------------------------------------

    def configure(self, options: SessionOptions) -> None:
        turn_before, self._options = self._options.turn, options
        if options.turn is not None:
            self._pausing.obey(self._make_endpointer(options))
            self._segmenter.threshold = options.turn.threshold
            if turn_before is None:
                self._vad_is_stale = True

    def feed(self, pcm: Pcm, rate: int, now: float) -> None:
        """Take more of the user's audio. Raises Refused when far more waits than could be heard in time."""
        if not self._inbox.add(pcm, rate, now):
            raise Refused("input_audio_buffer_overflow", "audio arrives faster than it can be heard; send slower")
        self._uncommitted_ms += len(pcm) * 1000 / rate

    def commit(self) -> None:
        """End the turn here. Raises Refused below MIN_COMMIT_MS of audio."""
        if self._uncommitted_ms < MIN_COMMIT_MS:
            raise Refused(
                "input_audio_buffer_commit_empty",
                f"the buffer holds {self._uncommitted_ms:.0f} ms of audio, at least {MIN_COMMIT_MS} ms are needed",
            )
        self._uncommitted_ms = 0.0
        self._commits_waiting += 1
        self._caught_up.clear()
        self._inbox.put(CommitRequest(self._new_id("item")))

    def clear(self) -> None:
        """Forget the audio since the last turn."""
        self._uncommitted_ms = 0.0
        self._inbox.put(ClearRequest())

    @property
    def committing(self) -> bool:
        """Whether a commit still waits behind the audio before it."""
        return self._commits_waiting > 0

    async def caught_up(self) -> None:
        """Wait until no commit waits."""
        await self._caught_up.wait()

    @property
    def heard_ms(self) -> int:
        """How much of the user's audio was heard so far."""
        return self._position * 1000 // EAR_RATE

    # -- tasks ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hear until cancelled."""
        try:
            while True:
                match await self._inbox.get(self._worth_a_look()):
                    case AudioChunk(pcm, rate, arrived):
                        for start in range(0, len(pcm), rate):  # a second at a time: resampling holds the loop
                            await self._hear(self._at_ear_rate(pcm[start : start + rate], rate), arrived)
                    case CommitRequest(item_id):
                        self._commit(item_id)
                    case ClearRequest():
                        self._drop()
                        self._events.cleared()
        finally:
            self._drop()

    async def caption(self) -> None:
        """Tell the words so far while the user speaks, until cancelled."""
        while True:
            await self._speaking.wait()
            await asyncio.sleep(PARTIAL_SECONDS)
            utterance = self._utterance
            if utterance is None:
                continue
            if not utterance.confirmed:  # its words are asked for when the decision on it needs them
                continue
            before = utterance.text
            text = await utterance.partial()
            if text != before and utterance is self._utterance:
                self._events.words_so_far(utterance, text)

    # -- hearing ----------------------------------------------------------------------------------------------------

    def _worth_a_look(self) -> float:
        """Seconds of audio after which something can be decided: in a pause any, else what completes a window."""
        pausing = self._utterance is not None and self._segmenter.silence_samples > 0
        if self._options.turn is None or pausing:
            return 0.0
        return (WINDOW - len(self._unjudged)) / EAR_RATE

    def _at_ear_rate(self, pcm: Pcm, rate: int) -> Pcm:
        if rate != self._rate:
            self._resampler, self._rate = Resampler(rate, EAR_RATE, "low"), rate
            self._events.microphone(rate)
        return self._resampler.push(pcm)

    async def _hear(self, pcm: Pcm, arrived: float) -> None:
        for start in range(0, len(pcm), PIECE):
            piece = pcm[start : start + PIECE]
            if start:
                await asyncio.sleep(0)
            self._position += len(piece)
            if self._utterance is not None:
                self._utterance.push(piece)
            self._keep_preroll(piece)
            if self._options.turn is None:
                self._hear_by_hand(piece)
            else:
                if self._vad_is_stale:
                    self._restart_vad(self._position - len(piece))
                self._unjudged = np.concatenate((self._unjudged, piece))
                for probability in await self._vad.push(piece):
                    window, self._unjudged = self._unjudged[:WINDOW], self._unjudged[WINDOW:]
                    self._judge(probability, arrived)
                    self._events.window(probability, window)
                self._judge_silence()
            if self._utterance is not None and self._utterance.samples >= self._max_turn:
                self._end(self._position)

    def _hear_by_hand(self, piece: Pcm) -> None:
        """Without voice detection everything between two commits is one utterance."""
        if self._utterance is None:
            self._begin(self._position - len(piece), self._new_id("item"))
            self._events.voice_began(self._require())

    def _judge(self, probability: float, arrived: float) -> None:
        """One window more: has a voice begun, or does it go on?"""
        options = self._options.turn
        if options is None:  # changed while the detector was at work
            return
        event = self._segmenter.push(probability)
        if isinstance(event, VoiceStarted) and self._utterance is None:
            self._begin(max(0, event.sample - options.prefix_ms * EAR_RATE // 1000), self._new_id("item"))
            self._events.voice_began(self._require())
        utterance = self._utterance
        if utterance is None:
            return
        if self._segmenter.silence_samples == 0:
            utterance.speech_samples += self._segmenter.speech_samples if isinstance(event, VoiceStarted) else WINDOW
            utterance.speech_ended_at = arrived
            self._pausing.went_on()
            self._events.voice_goes_on(utterance)

    def _judge_silence(self) -> None:
        """Is it a pause, or the end of the turn? Counted to the sample: what fills no window yet is silence so far."""
        utterance, silent = self._utterance, self._segmenter.silence_samples
        if utterance is None or self._options.turn is None or silent == 0:
            return
        silent += len(self._unjudged) + HELD_BACK
        if self._pausing.silent(utterance, silent):
            self._events.voice_paused(utterance)
        if self._pausing.is_over(utterance, silent):
            utterance.verdict = self._pausing.why(silent)
            self._end(self._segmenter.last_speech_sample or self._position)

    # -- utterances -------------------------------------------------------------------------------------------------

    def _begin(self, start: int, item_id: str) -> None:
        """Open an utterance and give it the audio since `start`, as far as it was kept."""
        hint = AsrHint(self._options.language, self._options.asr_prompt)
        kept_from = self._preroll.start(self._position)
        start = max(start, kept_from)
        self._utterance = UserTurn(item_id, self._asr.stream(hint), start, tasks=self._tasks, deadline=self._deadline)
        for pcm in self._preroll.after(start - kept_from):
            self._utterance.push(pcm)
        self._pausing.attend(self._utterance)
        self._speaking.set()

    def _require(self) -> UserTurn:
        assert self._utterance is not None
        return self._utterance

    def _commit(self, item_id: str) -> None:
        if self._utterance is None:
            self._begin(0, item_id)
        utterance = self._require()
        utterance.confirmed = utterance.by_hand = True
        self._end(self._position)
        self._commits_waiting -= 1
        if not self._commits_waiting:
            self._caught_up.set()

    def _end(self, end: int) -> None:
        """Hand the turn on. Its audio is not given to the next one."""
        utterance = self._require()
        self._pausing.ended(utterance)
        self._forget()
        self._uncommitted_ms = 0.0
        self._events.turn_ended(utterance, end)

    def _drop(self) -> None:
        utterance = self._utterance
        self._forget()
        if utterance is not None:
            self._events.dropped(utterance)

    def _forget(self) -> None:
        self._utterance = None
        self._pausing.attend(None)
        self._speaking.clear()
        self._preroll.clear()
        self._segmenter.reset(self._segmenter.sample)

    def _restart_vad(self, position: int) -> None:
        """Detection begins anew here. Never while the detector is at work: the session may be changed at any time."""
        self._vad_is_stale = False
        self._vad.reset()
        self._segmenter.reset(position)
        self._unjudged = silence(0)

    def _keep_preroll(self, piece: Pcm) -> None:
        """Keep the latest audio: as much as the prefix asks, and what the detector needs to be sure of an onset."""
        turn = self._options.turn
        keep = EAR_RATE // 2 if turn is None else turn.prefix_ms * EAR_RATE // 1000 + 8 * WINDOW
        self._preroll.keep(piece, keep)
