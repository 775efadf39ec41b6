"""The agent's side of a conversation: its replies from the prompt to what was heard of them."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.playout import Playout
from voiceagent.audio.reference import PlaybackReference
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import LlmRequest, ToolCall
from voiceagent.session import prompt
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import SessionContext
from voiceagent.session.conversation import FunctionCall, Item
from voiceagent.session.events import Event, ResponseAudio, ResponseReason, TurnTimed
from voiceagent.session.filler import FillerSpeech
from voiceagent.session.phrases import Phrase
from voiceagent.session.plan import ResponsePlan
from voiceagent.session.response import Response
from voiceagent.session.spoken_text import SpokenText
from voiceagent.session.timeline import now
from voiceagent.session.tool_calls import ToolCalls

log = logging.getLogger(__name__)

REPLIES_KEPT = 8
"""Replies of which a late report of what was played is still understood."""
LATELY_CHARS = 100
"""About six seconds of speech: what an echo in the microphone may consist of."""


class ResponseManager:
    def __init__(self, talk: SessionContext) -> None:
        self._talk = talk
        self._playout = Playout(self._lead, talk.shared.settings.playout.held_back_ms / 1000)
        self._reference = PlaybackReference()
        self._spoken: OrderedDict[str, SpokenText] = OrderedDict()
        self._replies: list[Response] = []  # the last is the current one; one before it may still be being played
        self._next: Response | None = None  # the answer to a tool's result, until it can be released
        self.calls = ToolCalls(talk, follow_up=self._follow_up, filler=self._fill)
        self.filling = FillerSpeech(talk)
        self.played_out = asyncio.Event()
        """Set when the client has played a reply to its end."""

    @property
    def current(self) -> Response | None:
        """The reply that is being made, sent or played."""
        return self._replies[-1] if self._replies else None

    @property
    def answering(self) -> Response | None:
        """The reply of which more is to be sent."""
        return self.current if self.current is not None and self.current.active else None

    @property
    def answering_results(self) -> bool:
        """Whether the answer to what was called is being sent, or is about to be."""
        return self._next is not None or (self.answering is not None and self.answering.plan.rounds > 0)

    @property
    def busy(self) -> bool:
        """Whether it talks, or is about to: a voice does not have the floor for nothing."""
        return bool(self._replies) or self._next is not None or self.calls.running

    @property
    def protected(self) -> bool:
        """Whether it says something that no voice may interrupt."""
        return any(reply.plan.protected for reply in self._replies)

    def configure(self) -> None:
        """The options have changed."""
        self._playout.lead = self._lead
        self.filling.prepare()

    # -- replies ----------------------------------------------------------------------------------------------------

    def prepare(
        self,
        request: CreateResponse,
        *,
        user_item_id: str | None = None,
        user_text: str = "",
        speculative: bool = False,
        failure: EngineError | None = None,
        after: Callable[[], Awaitable[None]] | None = None,
        phrase: Phrase | None = None,
        rounds: int = 0,
    ) -> Response:
        """Begin to make a reply that nobody hears until it is released. `user_text` is a turn that is not yet in the
        conversation. `after` is waited for before the prompt is built and may raise EngineError: the user's words may
        still be on their way. For the others see `ResponsePlan`."""
        talk = self._talk
        options, settings = talk.options, talk.shared.settings
        asks = request.words is None and phrase is None and failure is None
        modality = request.modality or options.modality
        frame_ms = options.frame_ms or settings.playout.frame_ms
        plan = ResponsePlan(
            response_id=talk.new_id("resp"),
            item_id=talk.new_id("item"),
            asked=request,
            ask=self._asking(request, user_text, speculative, after, asks),
            modality=modality,
            rate=options.output_rate,
            frame=max(1, options.output_rate * frame_ms // 1000),
            max_tokens=request.max_output_tokens or options.max_output_tokens,
            voice=options.voice,
            language=options.language,
            speed=options.speed,
            user_item_id=user_item_id,
            rounds=rounds,
            client_tools=frozenset(tool.name for tool in prompt.offer(talk, request).client),
            phrase=phrase,
            failure=failure,
            filler_seconds=self.filling.after if asks and modality == "audio" else None,
        )
        reply = Response(
            plan,
            engines=talk.shared.engines,
            apology=talk.shared.apology,
            playout=self._playout,
            deadlines=settings.deadlines,
            host=self,
        )
        reply.start(talk.tasks)
        return reply

    def say(self, words: str) -> Response:
        """Say just this, of the agent's own accord."""
        reply = self.prepare(CreateResponse(words=words))
        self.release(reply)
        return reply

    def release(self, reply: Response) -> None:
        """Let the client have it. Raises Refused while another is being sent."""
        if self.answering is not None:
            raise Refused("conversation_already_has_active_response", "a response is already in progress")
        self._replies.append(reply)
        reply.release()
        if self._talk.voice is not None and not self._talk.user_speaks and not self.protected:
            reply.pause()  # somebody may be about to take the floor

    async def silent(self) -> None:
        """Wait until nothing more is to be sent."""
        while self.answering is not None:
            await self.answering.done.wait()

    def stop(self, reason: ResponseReason) -> None:
        """Not a sample more of anything, and no result is waited for."""
        for reply in (*self._replies, *filter(None, (self._next,))):
            reply.cancel(reason)
        self._next = None
        self.calls.interrupt()
        self._reference.clear()

    def _asking(
        self,
        request: CreateResponse,
        user_text: str,
        speculative: bool,
        after: Callable[[], Awaitable[None]] | None,
        asks: bool,
    ) -> Callable[[], Awaitable[LlmRequest]]:
        """Without anything to wait for, what is asked is the talk as it is now."""
        talk = self._talk
        at_once = None
        if asks and after is None:
            at_once = prompt.build(talk, request, user_text=user_text, speculative=speculative)

        async def ask() -> LlmRequest:
            if after is not None:
                await after()
            return at_once or prompt.build(talk, request)

        return ask

    @property
    def _lead(self) -> float:
        lead_ms = self._talk.options.lead_ms
        return (self._talk.shared.settings.playout.lead_ms if lead_ms is None else lead_ms) / 1000

    # -- tools ------------------------------------------------------------------------------------------------------

    def _follow_up(self, request: CreateResponse, called: Response, late: bool) -> None:
        """Answer the results of what a reply called. If that one was silent, this is the answer to the turn; not
        so when it is `late`, the client having had to agree first."""
        of_turn = not late and called.timeline.first_audio is None
        user_item_id = called.plan.user_item_id if of_turn else None
        reply = self.prepare(request, user_item_id=user_item_id, rounds=called.plan.rounds + 1)
        if not late:
            reply.timeline.take_turn(called.timeline)
        self._next = reply
        self._talk.tasks.create_task(self._deliver(reply), name="follow-up")

    async def _deliver(self, reply: Response) -> None:
        """Release it once nothing else is being sent, unless the user has the floor by then: the answer to that turn
        will be to the results too."""
        await self.silent()
        if self._next is not reply:  # all was stopped meanwhile
            return
        self._next = None
        if self._talk.user_speaks:
            reply.cancel("turn_detected")
        else:
            self.release(reply)

    def _fill(self) -> None:
        """Say something while tools run, if nobody else says anything."""
        filler = self.filling.next() if self._talk.voice is None and self.current is None else None
        if filler is not None:
            reply = self.prepare(CreateResponse(), phrase=filler)
            self._talk.fills(reply.plan.item_id, filler.text)
            self.release(reply)

    # -- what was heard ---------------------------------------------------------------------------------------------

    def playing(self, samples: int) -> Pcm | None:
        """The last so many samples at 16 kHz that the client has played by now; None while it plays nothing."""
        moment = now()
        if self._playout.remaining(moment) == 0.0:
            return None
        lag = self.current.lag if self.current is not None else 0.0
        return self._reference.played(self._playout.played(moment) - lag, samples)

    @property
    def lately_said(self) -> str:
        """What the current reply has said in the last few seconds."""
        if self.current is None:
            return ""
        return self.current.spoken.heard(self.current.sounded_seconds)[-LATELY_CHARS:]

    def playing_reported(self, item_id: str, audio_ms: int) -> None:
        """The client has played so much of a reply by now, and goes on. What it reports of one that is over comes too
        late: after a flush all marks come back at once."""
        for reply in self._replies:
            if reply.plan.item_id == item_id:
                reply.report_played(audio_ms / 1000)

    def played(self, item_id: str, audio_end_ms: int) -> None:
        """The client tells how far it played a reply: what was heard, better known than by the playout clock."""
        for reply in self._replies:
            if reply.plan.item_id == item_id:
                reply.report_stopped(audio_end_ms / 1000)
        spoken = self._spoken.get(item_id)
        if spoken is not None:
            self._talk.set_text(item_id, spoken.heard(audio_end_ms / 1000), complete=False)

    # -- called by replies ------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        if isinstance(event, ResponseAudio):
            rate = self._talk.options.output_rate
            self._reference.sent(event.pcm, rate, self._playout.sent - len(event.pcm) / rate)
        self._talk.emit(event)

    def response_item_added(self, item: Item, *, stored: bool) -> str | None:
        return self._talk.conversation.add(item) if stored else None

    def response_filler(self, reply: Response) -> Phrase | None:
        filler = self.filling.next()
        if filler is not None:
            self._talk.fills(reply.plan.item_id, filler.text)
        return filler

    def response_called(self, reply: Response, calls: Sequence[ToolCall]) -> tuple[FunctionCall, ...]:
        return self.calls.begin(reply, calls)

    def response_heard(self, reply: Response, item: Item) -> None:
        self._spoken[item.id] = reply.spoken
        if len(self._spoken) > REPLIES_KEPT:
            self._spoken.popitem(last=False)
        if reply.plan.stored:
            self._talk.set_text(item.id, item.text, complete=item.status == "completed", kind=reply.plan.modality)

    def response_over(self, reply: Response) -> None:
        plan, timeline = reply.plan, reply.timeline
        if plan.user_item_id is not None and not self._hands_on(reply):
            self._talk.emit(TurnTimed(plan.user_item_id, plan.response_id, timeline))
        log.info("session %s: reply %s: %s", self._talk.id, plan.response_id, timeline.marks())
        self._replies.remove(reply)
        self._talk.touch()
        if timeline.heard is not None:
            self.played_out.set()

    def _hands_on(self, reply: Response) -> bool:
        """Whether the turn's answer is still to come: the reply was silent, and what it called is the server's."""
        mine = any(call.name not in reply.plan.client_tools for call in reply.calls)
        return mine and reply.timeline.first_audio is None
