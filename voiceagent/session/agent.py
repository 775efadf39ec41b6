"""The agent's side of a conversation: its replies from the prompt to what was heard of them."""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from voiceagent.audio.pcm import Pcm
from voiceagent.audio.playout import Playout
from voiceagent.audio.reference import Reference
from voiceagent.errors import EngineError, Refused
from voiceagent.llm.base import LlmRequest, Message
from voiceagent.memory import context
from voiceagent.session.clock import now
from voiceagent.session.commands import CreateReply
from voiceagent.session.events import Event, ReplyAudio, ReplyReason, TurnTimed
from voiceagent.session.heard import SpokenText
from voiceagent.session.items import Item
from voiceagent.session.reply import Reply, ReplyPlan
from voiceagent.session.talk import Talk

log = logging.getLogger(__name__)

REPLIES_KEPT = 8
"""Replies of which a late report of what was played is still understood."""
LATELY_CHARS = 100
"""About six seconds of speech: what an echo in the microphone may consist of."""


class Agent:
    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._playout = Playout(talk.shared.settings.playout.lead_ms / 1000)
        self._reference = Reference()
        self._spoken: OrderedDict[str, SpokenText] = OrderedDict()
        self._replies: list[Reply] = []  # the last is the current one; one before it may still be being played

    @property
    def current(self) -> Reply | None:
        """The reply that is being made, sent or played."""
        return self._replies[-1] if self._replies else None

    @property
    def answering(self) -> Reply | None:
        """The reply of which more is to be sent."""
        return self.current if self.current is not None and self.current.active else None

    def prepare(
        self,
        request: CreateReply,
        *,
        user_item_id: str | None = None,
        user_text: str = "",
        failure: EngineError | None = None,
        after: Callable[[], Awaitable[None]] | None = None,
        words: str | None = None,
    ) -> Reply:
        """Begin to make a reply that nobody hears until it is released. `user_text` is a turn that is not yet in the
        conversation; with `failure` the reply is the apology for it. `after` is waited for before the prompt is built
        and may raise EngineError: the user's words may still be on their way. With `words` the model is not asked."""
        talk = self._talk
        options, engines, settings = talk.options, talk.shared.engines, talk.shared.settings
        plan = ReplyPlan(
            reply_id=talk.new_id("resp"),
            item_id=talk.new_id("item"),
            request=LlmRequest(
                self._prompt(request, user_text), request.max_output_tokens or options.max_output_tokens
            ),
            modality=request.modality or options.modality,
            rate=options.output_rate,
            voice=options.voice,
            language=options.language,
            speed=options.speed,
            stored=request.store,
            user_item_id=user_item_id,
            metadata=request.metadata,
        )
        reply = Reply(
            plan,
            llm=engines.llm,
            tts=engines.tts,
            apology=talk.shared.apology,
            playout=self._playout,
            frame_seconds=settings.playout.frame_ms / 1000,
            deadlines=settings.deadlines,
            host=self,
            failure=failure,
            prompt=None if after is None else self._later_prompt(request, after),
            words=words,
        )
        reply.start(talk.tasks)
        return reply

    def say(self, words: str) -> Reply:
        """Say just this, of the agent's own accord."""
        reply = self.prepare(CreateReply(), words=words)
        self.release(reply)
        return reply

    def release(self, reply: Reply) -> None:
        """Let the client have it. Raises Refused while another is being sent."""
        if self.answering is not None:
            raise Refused("conversation_already_has_active_response", "a response is already in progress")
        self._replies.append(reply)
        reply.release()

    def stop(self, reason: ReplyReason) -> None:
        """Not a sample more of anything."""
        for reply in list(self._replies):
            reply.cancel(reason)
        self._reference.clear()

    def playing(self, samples: int) -> Pcm | None:
        """The last so many samples at 16 kHz that the client has played by now; None while it plays nothing."""
        moment = now()
        if self._playout.remaining(moment) == 0.0:
            return None
        return self._reference.played(self._playout.played(moment), samples)

    @property
    def lately_said(self) -> str:
        """What the current reply has said in the last few seconds."""
        if self.current is None:
            return ""
        return self.current.spoken.heard(self.current.heard_seconds)[-LATELY_CHARS:]

    def played(self, item_id: str, audio_end_ms: int) -> None:
        """The client tells how far it played a reply: what was heard, better known than by the playout clock."""
        for reply in self._replies:
            if reply.plan.item_id == item_id:
                reply.reported = audio_end_ms / 1000
        spoken = self._spoken.get(item_id)
        if spoken is not None:
            self._talk.set_text(item_id, spoken.heard(audio_end_ms / 1000), complete=False)

    def _later_prompt(
        self, request: CreateReply, after: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[tuple[Message, ...]]]:
        async def prompt() -> tuple[Message, ...]:
            await after()
            return self._prompt(request, "")

        return prompt

    def _prompt(self, request: CreateReply, user_text: str) -> tuple[Message, ...]:
        talk, memory = self._talk, self._talk.shared.settings.memory
        items = talk.conversation.items if request.input is None else request.input
        turns = [Message(item.role, item.text) for item in items if isinstance(item, Item) and item.text]
        if user_text:
            turns.append(Message("user", user_text))
        return context.build(
            talk.options.instructions if request.instructions is None else request.instructions,
            talk.remembrance.earlier if request.input is None else (),
            turns,
            turn_limit=memory.turns,
            token_budget=min(memory.tokens, talk.shared.engines.llm.talk_tokens or memory.tokens),
        )

    # -- called by replies ------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        if isinstance(event, ReplyAudio):
            rate = self._talk.options.output_rate
            self._reference.sent(event.pcm, rate, self._playout.sent - len(event.pcm) / rate)
        self._talk.emit(event)

    def reply_item_added(self, item: Item, *, stored: bool) -> str | None:
        return self._talk.conversation.add(item) if stored else None

    def reply_heard(self, reply: Reply, item: Item) -> None:
        self._spoken[item.id] = reply.spoken
        if len(self._spoken) > REPLIES_KEPT:
            self._spoken.popitem(last=False)
        if reply.plan.stored:
            self._talk.set_text(item.id, item.text, complete=item.status == "completed", kind=reply.plan.modality)

    def reply_over(self, reply: Reply) -> None:
        if reply.plan.user_item_id is not None:
            self._talk.emit(TurnTimed(reply.plan.user_item_id, reply.plan.reply_id, reply.timeline))
        log.info("session %s: reply %s: %s", self._talk.id, reply.plan.reply_id, reply.timeline.marks())
        self._replies.remove(reply)
        self._talk.touch()
