"""The sending of a reply: frames at the pace at which they are played, and what was heard of them."""

import asyncio
from contextlib import suppress

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.playout import Playout
from voiceagent.session.conversation import Item, ItemStatus, Part
from voiceagent.session.events import ResponseAudio, ResponseItemAdded, ResponseText
from voiceagent.session.phrases import Phrase
from voiceagent.session.plan import ResponseHost, ResponsePlan
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
    def __init__(
        self, plan: ResponsePlan, *, playout: Playout, timeline: Timeline, spoken: SpokenText, host: ResponseHost
    ) -> None:
        self._spoken = spoken
        self.item_added = False
        self.previous_item_id: str | None = None
        self.final_report: float | None = None
        """Where the client says it stopped playing, in seconds."""
        self._plan = plan
        self._playout = playout
        self._timeline = timeline
        self._host = host
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._paused_at = 0.0
        self._fresh = True
        self._start: float | None = None
        self._sent = 0.0
        self._played_at = 0.0
        """When the client has played what it was sent, by the clock."""
        self._unsaid = ""
        self._report: tuple[float, float] | None = None
        self.lag = 0.0
        """Seconds by which the client plays later than that, by its reports."""

    # -- what comes down the line -----------------------------------------------------------------------------------

    def begin(self, clause: Clause) -> None:
        """A clause begins."""
        if self._plan.modality == "text":
            self._spoken.begin(clause.text)
        self._begin(clause.text)
        if not clause.spoken and self._plan.phrase is None:
            self.say()

    async def phrase(self, phrase: Phrase, *, meanwhile: bool = False) -> None:
        """Something whose sound is ready. What is said `meanwhile` is not yet the answer."""
        pcm = phrase.at(self._plan.rate)
        self._spoken.begin(phrase.text)
        self._spoken.extend(pcm, self._plan.rate)
        self._spoken.finish()
        self._begin(phrase.text)
        await self.send(pcm, meanwhile=meanwhile)
        self._fresh = True  # what comes next may be late

    def say(self) -> None:
        """Tell the text whose audio comes next."""
        if self._unsaid:
            text, self._unsaid = self._unsaid, ""
            self._host.emit(ResponseText(self._plan.response_id, self._plan.item_id, text))

    # -- the pace ---------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return not self._unpaused.is_set()

    def pause(self) -> None:
        self._paused_at = now()
        self._unpaused.clear()

    def resume(self) -> None:
        self._fresh = True
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
        """Seconds until the client has played all it was sent of this; another reply may follow in its buffer."""
        return max(0.0, self._played_at + self.lag - now())

    def flush(self) -> None:
        """The client is told to throw away what it has not played."""
        self._playout.flush(now())

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
        typed reply is heard as it is sent."""
        if self._plan.modality == "text":
            return float("inf")
        if self.final_report is not None:
            return self.final_report
        if self._report is not None:  # no client plays what it was not sent yet
            return min(self._by_report(), max(self.by_clock(), self._report[0]))
        if self.left < TICK:
            return self._sent
        return max(0.0, self.by_clock() - self._playout.held_back)

    def item(self, text: str, status: ItemStatus) -> Item:
        return Item(self._plan.item_id, "assistant", (Part(self._plan.modality, text),), status)

    def by_clock(self) -> float:
        """Seconds of it that a client has played which holds nothing back."""
        return min(self._sent, max(0.0, self._playout.played(now()) - (self._start or 0.0)))

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
            self.previous_item_id = self._host.response_item_added(item, stored=self._plan.stored)
            self._host.emit(ResponseItemAdded(self._plan.response_id, item, self.previous_item_id))
        self._unsaid += text

    async def send(self, pcm: Pcm, *, meanwhile: bool = False) -> None:
        """More of the clause's audio, at the pace at which it is played."""
        for start in range(0, len(pcm), self._plan.frame):
            await self._turn_to_send()
            frame = pcm[start : start + self._plan.frame]
            seconds = len(frame) / self._plan.rate
            if self._start is None:
                self._start = self._playout.sent
            if self._timeline.first_audio is None and not meanwhile:
                self._timeline.first_audio = now()
            self.say()
            self._playout.send(now(), seconds, first=self._fresh)
            self._fresh = False
            self._sent += seconds
            self._played_at = now() + self._playout.remaining(now())
            self._host.emit(ResponseAudio(self._plan.response_id, self._plan.item_id, frame))

    async def _turn_to_send(self) -> None:
        """Wait until the client's lead is used up, and while the reply is paused."""
        while True:
            if self.paused:
                await self._pause()
                continue
            wait = self._playout.wait(now())
            if wait < TICK:
                return
            await asyncio.sleep(wait)

    async def _pause(self) -> None:
        """Wait until it is resumed, or until that is overdue."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._paused_at + PAUSE_SECONDS):
                await self._unpaused.wait()
        if now() >= self._paused_at + PAUSE_SECONDS - TICK:
            self.resume()
