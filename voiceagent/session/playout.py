"""Playout of a response: its audio is sent at the pace at which the client plays it, and what was heard is known."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.playout import Playout
from voiceagent.session.context import Dialogue
from voiceagent.session.conversation import Item, ItemStatus, Part
from voiceagent.session.events import Event, ResponseAudio, ResponseItemAdded, ResponseText
from voiceagent.session.generation import ResponsePlan
from voiceagent.session.phrases import Phrase
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import Timeline, now
from voiceagent.tts.clauses import Clause

PAUSE_SECONDS = 1.0
"""How long a pause lasts without a further sign of the user's voice: then no audio comes that could end it."""
TICK = 1e-6
"""Seconds that are not worth waiting for: what rounding leaves over of two equal times."""
MOST_LAG = 2.0
"""Seconds by which a client may play later than the playout clock thinks, before it is taken to be stuck."""


class ResponsePlayout:
    """The last station of a response. `clock` is the session's playout clock, which all its responses share."""

    def __init__(
        self,
        plan: ResponsePlan,
        *,
        clock: Playout,
        timeline: Timeline,
        spoken: SpokenText,
        dialogue: Dialogue,
        emit: Callable[[Event], None],
    ) -> None:
        self.item_added = False
        self.previous_item_id: str | None = None
        self.final_report: float | None = None
        """Where the client says it stopped playing, in seconds."""
        self.lag = 0.0
        """Seconds by which the client plays later than the clock thinks, by its reports."""
        self._plan = plan
        self._clock = clock
        self._timeline = timeline
        self._spoken = spoken
        self._dialogue = dialogue
        self._emit = emit
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._paused_at = 0.0
        self._begins_anew = True
        """Whether the next frame begins the response or follows a pause: the client has run dry on purpose."""
        self._start: float | None = None
        self._sent = 0.0
        self._played_at = 0.0
        """When the client has played what it was sent, by the clock."""
        self._text_due = ""
        self._report: tuple[float, float] | None = None

    # -- from the stations before -----------------------------------------------------------------------------------

    def begin(self, clause: Clause) -> None:
        """The audio of this clause comes next, or there is none."""
        if self._plan.modality == "text":
            self._spoken.begin(clause.text)
        self._begin(clause.text)
        if not clause.spoken and self._plan.phrase is None:
            self.flush_text()

    async def phrase(self, phrase: Phrase, *, meanwhile: bool = False) -> None:
        """Something whose sound is ready. What is said `meanwhile` is not yet the answer."""
        pcm = phrase.at(self._plan.rate)
        self._spoken.begin(phrase.text)
        self._spoken.extend(pcm, self._plan.rate)
        self._spoken.finish()
        self._begin(phrase.text)
        await self.send(pcm, meanwhile=meanwhile)
        self._begins_anew = True  # what comes next may be late

    def flush_text(self) -> None:
        """Send the text whose audio comes next."""
        if self._text_due:
            text, self._text_due = self._text_due, ""
            self._emit(ResponseText(self._plan.response_id, self._plan.item_id, text))

    def leave_out(self) -> None:
        """The text that was to be sent with its audio has none."""
        self._text_due = ""

    # -- the pace ---------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return not self._unpaused.is_set()

    def pause(self) -> None:
        self._paused_at = now()
        self._unpaused.clear()

    def resume(self) -> None:
        self._begins_anew = True
        self._unpaused.set()

    async def played_out(self) -> None:
        """Wait until the client has played all it was sent, as late as its reports say it is."""
        while True:
            left = self.left
            if left < TICK:
                return
            await asyncio.sleep(left)

    @property
    def left(self) -> float:
        """Seconds until the client has played all it was sent of this; another response may follow in its buffer."""
        return max(0.0, self._played_at + self.lag - now())

    def flush(self) -> None:
        """The client throws away what it has not played."""
        self._clock.flush(now())

    # -- what was heard ---------------------------------------------------------------------------------------------

    @property
    def audible(self) -> bool:
        """Whether any sound of it was sent."""
        return self._start is not None

    def report(self, seconds: float) -> None:
        """The client has played so much of it by now, and goes on."""
        self._report = (seconds, now())
        self.lag = min(MOST_LAG, max(0.0, self.by_clock() - seconds))

    def played(self) -> float:
        """Seconds of it that the client has played: by its own report where there is one, else by the playout clock. A
        typed response is heard as it is sent."""
        if self._plan.modality == "text":
            return float("inf")
        if self.final_report is not None:
            return self.final_report
        if self._report is not None:  # no client plays what it was not sent yet
            return min(self._by_report(), max(self.by_clock(), self._report[0]))
        if self.left < TICK:
            return self._sent
        return max(0.0, self.by_clock() - self._clock.held_back)

    def item(self, text: str, status: ItemStatus) -> Item:
        return Item(self._plan.item_id, "assistant", (Part(self._plan.modality, text),), status)

    def by_clock(self) -> float:
        """Seconds of it that a client has played which holds nothing back."""
        return min(self._sent, max(0.0, self._clock.played(now()) - (self._start or 0.0)))

    def _by_report(self) -> float:
        """The last report and the time since, up to what was sent."""
        assert self._report is not None
        seconds, at = self._report
        return min(max(self._sent, seconds), seconds + now() - at)

    # -- frames -----------------------------------------------------------------------------------------------------

    def _begin(self, text: str) -> None:
        if not self.item_added:
            self.item_added = True
            item = Item(self._plan.item_id, "assistant", (), "in_progress")
            if self._plan.stored:
                self.previous_item_id = self._dialogue.conversation.add(item)
            self._emit(ResponseItemAdded(self._plan.response_id, item, self.previous_item_id))
        self._text_due += text

    async def send(self, pcm: Pcm, *, meanwhile: bool = False) -> None:
        """More of the clause's audio, at the pace at which it is played."""
        for start in range(0, len(pcm), self._plan.frame):
            await self._wait_for_room()
            frame = pcm[start : start + self._plan.frame]
            seconds = len(frame) / self._plan.rate
            if self._start is None:
                self._start = self._clock.sent
            if self._timeline.first_audio is None and not meanwhile:
                self._timeline.first_audio = now()
            self.flush_text()
            self._clock.send(now(), seconds, first=self._begins_anew)
            self._begins_anew = False
            self._sent += seconds
            self._played_at = now() + self._clock.remaining(now())
            self._emit(ResponseAudio(self._plan.response_id, self._plan.item_id, frame))

    async def _wait_for_room(self) -> None:
        """Wait until the client's lead is used up, and while the response is paused."""
        while True:
            if self.paused:
                await self._wait_for_resume()
                continue
            wait = self._clock.wait(now())
            if wait < TICK:
                return
            await asyncio.sleep(wait)

    async def _wait_for_resume(self) -> None:
        """Wait until it is resumed, or until that is overdue."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._paused_at + PAUSE_SECONDS):
                await self._unpaused.wait()
        if now() >= self._paused_at + PAUSE_SECONDS - TICK:
            self.resume()
