"""The session's ear: the client's audio, through voice detection, into utterances that the recogniser makes words."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from voiceagent.asr.base import AsrEngine, AsrHint
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import Refused
from voiceagent.session.inbox import Audio, Clear, Commit, Inbox
from voiceagent.session.options import SessionOptions
from voiceagent.session.utterance import Utterance
from voiceagent.turn.endpoint import Endpointer
from voiceagent.turn.smart_turn import SmartTurn
from voiceagent.turn.watch import PauseWatch
from voiceagent.vad.base import WINDOW, VadStream
from voiceagent.vad.segmenter import Onset, Segmenter

PIECE = EAR_RATE // 10
"""Samples handled at a time: 100 ms, so that a client that sends minutes at once does not hold the loop."""
PAUSE_MS = 160
"""Silence after which recognition is finished ahead, in case the turn is over: longer than the gaps inside words."""
PARTIAL_SECONDS = 0.4
"""Between two partial transcripts: as often as captions need."""
UNDECIDED_MS = 800
"""Silence after which a voice that never took the floor is forgotten: longer than the decision on its last words."""
HELD_BACK = EAR_RATE // 500
"""Samples that resampling may hold back (1 to 2 ms): they are here, and silence too, or the detector will tell."""
MIN_COMMIT_MS = 100
"""The least audio that can be committed by hand, as in the Realtime protocol."""


class TurnEvents(Protocol):
    """Whom the listener tells. All calls are plain and quick."""

    def voice_began(self, utterance: Utterance) -> None: ...

    def microphone(self, rate: int) -> None:
        """The client's audio comes at this rate from now on."""
        ...

    def window(self, probability: float, window: Pcm) -> None:
        """Each WINDOW of audio with the probability that it is speech, after what it brought about was told."""
        ...

    def voice_goes_on(self, utterance: Utterance) -> None:
        """More voice, perhaps after a pause."""
        ...

    def voice_paused(self, utterance: Utterance) -> None:
        """Silence for PAUSE_MS."""
        ...

    def words_so_far(self, utterance: Utterance, text: str) -> None: ...

    def cleared(self) -> None:
        """What was appended before the client's request is forgotten."""
        ...

    def turn_ended(self, utterance: Utterance, end: int) -> None:
        """The turn is over; `end` is the position of its last speech. The utterance is now the callee's to close."""
        ...

    def dropped(self, utterance: Utterance) -> None:
        """The utterance does not count. It is now the callee's to close."""
        ...


class Listener:
    """Positions are samples at EAR_RATE since the talk began; all decisions count them, never the clock."""

    def __init__(
        self,
        *,
        vad: VadStream,
        asr: AsrEngine,
        options: SessionOptions,
        endpointer: Callable[[SessionOptions], Endpointer],
        pauses: PauseWatch,
        model: SmartTurn | None,
        events: TurnEvents,
        tasks: asyncio.TaskGroup,
        new_id: Callable[[str], str],
        deadline: float,
        max_turn_seconds: float,
    ) -> None:
        self._vad = vad
        self._asr = asr
        self._make_endpointer = endpointer
        self._pauses = pauses
        self._model = model
        self._asking: asyncio.Task[None] | None = None
        self._events = events
        self._tasks = tasks
        self._new_id = new_id
        self._deadline = deadline
        self._max_turn = int(max_turn_seconds * EAR_RATE)
        self._inbox = Inbox()
        self._uncommitted_ms = 0.0
        self._commits_waiting = 0
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self._resampler = Resampler(EAR_RATE, EAR_RATE, "low")
        self._rate = EAR_RATE
        self._position = 0
        self._preroll: deque[Pcm] = deque()
        self._preroll_samples = 0
        self._segmenter = Segmenter()
        self._unjudged = silence(0)
        self._vad_is_stale = False
        self._paused = False
        self._utterance: Utterance | None = None
        self._speaking = asyncio.Event()
        self._options = options
        self.configure(options)

    # -- from the session, at any time -------------------------------------------------------------------------------

    def configure(self, options: SessionOptions) -> None:
        turn_before, self._options = self._options.turn, options
        if options.turn is not None:
            self._pauses.endpointer = self._make_endpointer(options)
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
        self._inbox.put(Commit(self._new_id("item")))

    def clear(self) -> None:
        """Forget the audio since the last turn."""
        self._uncommitted_ms = 0.0
        self._inbox.put(Clear())

    @property
    def committing(self) -> bool:
        """Whether a commit still waits behind the audio before it."""
        return self._commits_waiting > 0

    async def caught_up(self) -> None:
        """Wait until no commit waits."""
        await self._caught_up.wait()

    @property
    def utterance(self) -> Utterance | None:
        """The turn being heard."""
        return self._utterance

    # -- tasks ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hear until cancelled."""
        try:
            while True:
                match await self._inbox.get(self._worth_a_look()):
                    case Audio(pcm, rate, arrived):
                        for start in range(0, len(pcm), rate):  # a second at a time: resampling holds the loop
                            await self._hear(self._at_ear_rate(pcm[start : start + rate], rate), arrived)
                    case Commit(item_id):
                        self._commit(item_id)
                    case Clear():
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
        if isinstance(event, Onset) and self._utterance is None:
            self._begin(max(0, event.sample - options.prefix_ms * EAR_RATE // 1000), self._new_id("item"))
            self._events.voice_began(self._require())
        utterance = self._utterance
        if utterance is None:
            return
        if self._segmenter.silence_samples == 0:
            utterance.speech_samples += self._segmenter.speech_samples if isinstance(event, Onset) else WINDOW
            utterance.speech_ended_at = arrived
            if self._paused:
                self._paused = False
                self._stop_asking()
                self._pauses.went_on()
            self._events.voice_goes_on(utterance)

    def _judge_silence(self) -> None:
        """Is it a pause, or the end of the turn? Counted to the sample: what fills no window yet is silence so far."""
        utterance, silent = self._utterance, self._segmenter.silence_samples
        if utterance is None or self._options.turn is None or silent == 0:
            return
        silent += len(self._unjudged) + HELD_BACK
        silence_ms = silent * 1000 // EAR_RATE
        if silence_ms >= PAUSE_MS and not self._paused:
            self._paused = True
            voice = utterance.latest(silent)
            self._pauses.paused(voice, utterance.speech_samples * 1000 / EAR_RATE, utterance.text)
            self._ask(utterance)
            self._events.voice_paused(utterance)
        self._pauses.know(text=utterance.text)
        undecided = 0 if utterance.confirmed else UNDECIDED_MS
        if silence_ms >= undecided and self._pauses.is_over(silence_ms):
            self._end(self._segmenter.last_speech_sample or self._position)

    def _ask(self, utterance: Utterance) -> None:
        """Let the model hear the turn, if there is one: its answer makes the wait shorter or longer."""
        if self._model is not None:
            self._asking = self._tasks.create_task(self._answer(self._model, utterance), name="turn model")

    async def _answer(self, model: SmartTurn, utterance: Utterance) -> None:
        finished = await model.finished(utterance.latest(0))
        if finished is not None and utterance is self._utterance:
            self._pauses.know(finished=finished)

    def _stop_asking(self) -> None:
        """An answer that comes now would be taken for one on the next pause."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    # -- utterances -------------------------------------------------------------------------------------------------

    def _begin(self, start: int, item_id: str) -> None:
        """Open an utterance and give it the audio since `start`, as far as it was kept."""
        hint = AsrHint(self._options.language, self._options.asr_prompt)
        kept_from = self._position - self._preroll_samples
        start = max(start, kept_from)
        self._utterance = Utterance(item_id, self._asr.stream(hint), start, tasks=self._tasks, deadline=self._deadline)
        skip = start - kept_from
        for pcm in self._preroll:
            if skip < len(pcm):
                self._utterance.push(pcm[skip:])
            skip = max(0, skip - len(pcm))
        self._paused = False
        self._speaking.set()

    def _require(self) -> Utterance:
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
        self._stop_asking()
        if utterance.confirmed:
            self._pauses.ended(utterance.speech_samples * 1000 / EAR_RATE)
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
        self._speaking.clear()
        self._paused = False
        self._preroll.clear()
        self._preroll_samples = 0
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
        self._preroll.append(piece)
        self._preroll_samples += len(piece)
        while self._preroll and self._preroll_samples - len(self._preroll[0]) >= keep:
            self._preroll_samples -= len(self._preroll.popleft())
