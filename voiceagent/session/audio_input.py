"""Audio input: the client's audio, through voice detection, into turns of the user and the events they consist of."""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass

import numpy as np

from voiceagent.asr.base import AsrEngine, AsrHint
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import Refused
from voiceagent.session.options import SessionOptions
from voiceagent.session.timeline import now
from voiceagent.session.user_turn import (
    BufferCleared,
    MicrophoneChanged,
    TurnBegun,
    TurnCommitted,
    TurnDropped,
    TurnEnd,
    TurnEvent,
    TurnPaused,
    TurnVoice,
    UserTurn,
    WindowHeard,
)
from voiceagent.turn.endpointing import Endpointer, endpointing_policy
from voiceagent.turn.options import TurnSection
from voiceagent.vad.base import WINDOW, VadStream
from voiceagent.vad.segmenter import ONSET_WINDOWS, Segmenter, VoiceStarted


class Preroll:
    """The latest audio, from which a turn gets what was said before it was known to be one."""

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
    """What waits to be heard, in the order in which it came.

    The queue of one reader, which joins audio to pieces worth a look: of 50 frames a second only 31 complete a window
    of the voice detector. Bounded by BACKLOG_SECONDS, of which every piece takes some.
    """

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

    @property
    def filled(self) -> bool:
        """Whether anything waits."""
        return bool(self._entries)

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
HELD_BACK = EAR_RATE // 500
"""Samples that resampling may hold back (1 to 2 ms): they are here, and silence too, or the detector will tell."""
STALL_SECONDS = 1.0
"""So long without audio in the middle of a turn is silence: who mutes, or stops at a silence, sends no more. Networks
that hold audio back for longer are rare, and what they bring then is a turn of its own."""
STALL_STEP = 0.1
"""How much silence is heard at a time from then on."""
MIN_COMMIT_MS = 100
"""The least audio that can be committed by hand, as in the Realtime protocol."""


class AudioInput:
    """Positions are samples at EAR_RATE since the session began; all decisions count them, never the clock. The clock
    only tells that a client has stopped sending in the middle of a turn: silence is heard then in place of its audio.

    One segmenter follows the microphone; what it makes of each window serves turns here and barge-in alike.
    """

    def __init__(
        self,
        *,
        vad: VadStream,
        asr: AsrEngine,
        endpointer: Endpointer,
        options: SessionOptions,
        settings: TurnSection,
        asr_deadline: float,
        tasks: asyncio.TaskGroup,
        new_id: Callable[[str], str],
    ) -> None:
        """`asr_deadline`: seconds one recognition may take. `tasks` owns the recognitions."""
        self._vad = vad
        self._asr = asr
        self._endpointer = endpointer
        self._silence_ms = settings.silence_ms
        self._max_turn = int(settings.max_turn_seconds * EAR_RATE)
        self._asr_deadline = asr_deadline
        self._tasks = tasks
        self._new_id = new_id
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
        self._voice_since_cut = 0
        """Samples of the voice that goes on, since it began or since the last turn ended in the middle of it."""
        self._unjudged = silence(0)
        self._vad_is_stale = False
        self._turn: UserTurn | None = None
        self._stalled = False
        """Whether silence is heard in place of the client's audio."""
        self._gaps: list[tuple[int, int]] = []
        """Where such silence began, and its samples with all before it."""
        self._options = options
        self.configure(options)

    # -- from the session, at any time -------------------------------------------------------------------------------

    def configure(self, options: SessionOptions) -> None:
        """The options are new."""
        turn_before, self._options = self._options.turn, options
        if options.turn is not None:
            self._endpointer.policy = endpointing_policy(options.turn, self._silence_ms)
            self._segmenter.threshold = options.turn.threshold
            if turn_before is None:
                self._vad_is_stale = True

    def feed(self, pcm: Pcm, rate: int, arrived: float) -> None:
        """Take more of the user's audio. Raises Refused when far more waits than could be heard in time."""
        if not self._inbox.add(pcm, rate, arrived):
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
    def commits_waiting(self) -> int:
        """How many commits still wait behind the audio before them."""
        return self._commits_waiting

    async def caught_up(self) -> None:
        """Wait until no commit waits."""
        await self._caught_up.wait()

    @property
    def heard_ms(self) -> int:
        """How much of the user's audio was heard so far."""
        return self._sent_by_client(self._position) * 1000 // EAR_RATE

    # -- hearing ----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[TurnEvent, None]:
        """What happens, for ever. Each event is to be handled before the next is asked for: what is decided on a turn
        counts for what comes of it."""
        while True:
            match await self._next():
                case AudioChunk(pcm, rate, arrived):
                    if rate != self._rate:
                        self._resampler, self._rate = Resampler(rate, EAR_RATE, "low"), rate
                        yield MicrophoneChanged(rate)
                    for start in range(0, len(pcm), rate):  # a second at a time: resampling holds the loop
                        samples = self._resampler.push(pcm[start : start + rate])
                        for first in range(0, len(samples), PIECE):
                            if first:
                                await asyncio.sleep(0)
                            piece = samples[first : first + PIECE]
                            self._take(piece)
                            probabilities = await self._detect(piece)
                            for event in self._judge(piece, probabilities, arrived):
                                yield event
                case CommitRequest(item_id):
                    yield self._commit(item_id)
                    self._commits_waiting -= 1
                    if not self._commits_waiting:
                        self._caught_up.set()
                case ClearRequest():
                    turn = self._turn
                    self._forget()
                    if turn is not None:
                        self._endpointer.dropped()
                        yield TurnDropped(turn)
                    yield BufferCleared()

    async def _next(self) -> Entry:
        """The next entry, or silence while a turn is open and the client sends nothing."""
        if self._turn is None or self._options.turn is None:
            self._stalled = False
            return await self._inbox.get(self._worth_a_look())
        seconds = STALL_STEP if self._stalled else STALL_SECONDS
        try:
            async with asyncio.timeout(seconds):
                entry = await self._inbox.get(self._worth_a_look())
        except TimeoutError:
            return await self._stall(seconds)
        self._stalled = False
        return entry

    async def _stall(self, seconds: float) -> AudioChunk:
        """So much silence, after what is left of the audio: too little of it to be looked at alone."""
        rest = await self._inbox.get(0.0) if self._inbox.filled else None
        pcm = rest.pcm if isinstance(rest, AudioChunk) else silence(0)
        rate = rest.rate if isinstance(rest, AudioChunk) else self._rate
        quiet = silence(round(seconds * rate))
        begins = self._position + len(pcm) * EAR_RATE // rate
        before = self._gaps[-1][1] if self._gaps else 0
        self._gaps.append((begins, before + len(quiet) * EAR_RATE // rate))
        self._stalled = True
        return AudioChunk(np.concatenate((pcm, quiet)), rate, now(), 0.0)

    def _sent_by_client(self, position: int) -> int:
        """The same position in what the client has sent."""
        gap = bisect_right(self._gaps, position, key=lambda gap: gap[0]) - 1
        if gap < 0:
            return position
        begins, samples = self._gaps[gap]
        before = self._gaps[gap - 1][1] if gap else 0
        return position - before - min(samples - before, position - begins)

    def _worth_a_look(self) -> float:
        """Seconds of audio after which something can be decided: in a pause any, else what completes a window."""
        pausing = self._turn is not None and self._segmenter.silence_samples > 0
        if self._options.turn is None or pausing:
            return 0.0
        return (WINDOW - len(self._unjudged)) / EAR_RATE

    def _take(self, piece: Pcm) -> None:
        """Keep the audio: for the turn, and for one that may begin in it."""
        self._position += len(piece)
        if self._turn is not None:
            self._turn.push(piece)
        turn = self._options.turn
        keep = EAR_RATE // 2 if turn is None else turn.prefix_ms * EAR_RATE // 1000 + 8 * WINDOW
        self._preroll.keep(piece, keep)

    async def _detect(self, piece: Pcm) -> list[float]:
        """The probability that there is speech in each window that the piece completes."""
        if self._options.turn is None:
            return []
        if self._vad_is_stale:
            self._restart_vad(self._position - len(piece))
        self._unjudged = np.concatenate((self._unjudged, piece))
        return await self._vad.push(piece)

    def _judge(self, piece: Pcm, probabilities: list[float], arrived: float) -> Iterator[TurnEvent]:
        """What comes of a piece of audio and the windows that it completed."""
        if self._options.turn is None and not probabilities:
            if self._turn is None:  # without voice detection everything between two commits is one turn
                yield TurnBegun(self._begin(self._position - len(piece), self._new_id("item")))
        else:
            for probability in probabilities:
                pcm, self._unjudged = self._unjudged[:WINDOW], self._unjudged[WINDOW:]
                yield from self._judge_window(probability, pcm, arrived)
            yield from self._judge_silence()
        if self._turn is not None and self._turn.samples >= self._max_turn:
            yield self._end(self._turn, "longest", self._position)

    def _judge_window(self, probability: float, pcm: Pcm, arrived: float) -> Iterator[TurnEvent]:
        """One window more: has a voice begun, or does it go on?"""
        options = self._options.turn
        if options is None:  # changed while the detector was at work
            return
        window = self._segmenter.hear(probability, pcm)
        begins = isinstance(window.event, VoiceStarted)
        if begins or self._segmenter.silence_samples == 0:
            speech = self._segmenter.speech_samples if begins else WINDOW
            self._voice_since_cut = speech if begins else self._voice_since_cut + speech
            if self._turn is None and self._voice_since_cut >= ONSET_WINDOWS * WINDOW:
                speech = self._voice_since_cut
                start = window.event.sample if isinstance(window.event, VoiceStarted) else window.end - speech
                start = max(0, start - options.prefix_ms * EAR_RATE // 1000)
                yield TurnBegun(self._begin(start, self._new_id("item")))
            if self._turn is not None:
                self._turn.add_speech(speech, arrived)
                yield TurnVoice(self._turn, self._endpointer.went_on())
        yield WindowHeard(window)

    def _judge_silence(self) -> Iterator[TurnEvent]:
        """Is it a pause, or the end of the turn? Counted to the sample: what fills no window yet is silence so far."""
        turn, silent = self._turn, self._segmenter.silence_samples
        if turn is None or self._options.turn is None or silent == 0:
            return
        silent += len(self._unjudged) + HELD_BACK
        if self._endpointer.silence(turn, silent):
            yield TurnPaused(turn)
        if (decision := self._endpointer.decide(turn, silent)) is not None:
            yield self._end(turn, decision, self._segmenter.last_speech_sample or self._position)

    # -- turns ------------------------------------------------------------------------------------------------------

    def _begin(self, start: int, item_id: str) -> UserTurn:
        """Open a turn and give it the audio since `start`, as far as it was kept."""
        hint = AsrHint(self._options.language, self._options.asr_prompt)
        kept_from = self._preroll.start(self._position)
        start = max(start, kept_from)
        heard_from = self._sent_by_client(start)
        turn = UserTurn(item_id, self._asr.stream(hint), heard_from, tasks=self._tasks, deadline=self._asr_deadline)
        for pcm in self._preroll.after(start - kept_from):
            turn.push(pcm)
        self._turn = turn
        return turn

    def _commit(self, item_id: str) -> TurnCommitted:
        """The client ends the turn; if there is none, what was kept is one."""
        turn = self._turn if self._turn is not None else self._begin(0, item_id)
        return self._end(turn, "client", self._position)

    def _end(self, turn: UserTurn, end: TurnEnd, speech_end: int) -> TurnCommitted:
        """Hand the turn on. Its audio is not given to the next one."""
        turn.commit(end)
        if turn.confirmed:
            self._endpointer.ended(turn.speech_ms)
        else:
            self._endpointer.dropped()
        self._forget()
        self._uncommitted_ms = 0.0
        return TurnCommitted(turn, self._sent_by_client(speech_end))

    def _forget(self) -> None:
        """The next turn has nothing of what was heard so far; a voice that goes on begins a turn of its own."""
        self._turn = None
        self._preroll.clear()
        self._voice_since_cut = 0

    def _restart_vad(self, position: int) -> None:
        """Detection begins anew here. Never while the detector is at work: the session may be changed at any time."""
        self._vad_is_stale = False
        self._vad.reset()
        self._segmenter.reset(position)
        self._unjudged = silence(0)
