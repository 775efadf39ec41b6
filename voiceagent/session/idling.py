"""What a client may ask for about silence: when nobody has spoken for so long after a reply, the agent speaks up."""

import asyncio
from collections.abc import Callable

from voiceagent.session.agent import Agent
from voiceagent.session.clock import now
from voiceagent.session.commands import CreateReply
from voiceagent.session.events import AudioCommitted, IdleTimeout
from voiceagent.session.items import Item, Part
from voiceagent.session.sending import TICK
from voiceagent.session.talk import Talk

MOST_IN_A_ROW = 3
"""How often it speaks up to somebody who never answers: every time costs a request."""
LOOK_AGAIN = 0.2
"""Seconds until the next look at a talk in which somebody makes a sound."""
SILENCE = "(silence)"
"""What the model is told that the user says."""


class Idling:
    def __init__(
        self, talk: Talk, agent: Agent, *, heard_ms: Callable[[], int], understanding: Callable[[], bool]
    ) -> None:
        """`heard_ms`: how much of the user's audio was heard so far. `understanding`: whether words are to come."""
        self._talk = talk
        self._agent = agent
        self._heard_ms = heard_ms
        self._understanding = understanding
        self._in_a_row = 0
        self._turns = 0
        self._start_ms = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._agent.played_out.wait()
            self._agent.played_out.clear()
            if await self._stays_silent():
                self._speak_up()

    async def _stays_silent(self) -> bool:
        """Wait for the time-out; False when it is off, or when another reply was played meanwhile."""
        talk = self._talk
        self._start_ms, since = self._heard_ms(), now()
        while not self._agent.played_out.is_set():
            options = talk.options
            if options.idle_timeout_ms is None or options.turn is None or options.listen_only:
                return False
            left = max(since, talk.active_at) + options.idle_timeout_ms / 1000 - now()
            if talk.voice is not None or self._agent.busy or self._understanding():
                left = max(left, LOOK_AGAIN)
            if left < TICK:
                return True
            await asyncio.sleep(left)
        return False

    def _speak_up(self) -> None:
        talk = self._talk
        if talk.turns != self._turns:
            self._turns, self._in_a_row = talk.turns, 0
        if self._in_a_row >= MOST_IN_A_ROW:
            return
        self._in_a_row += 1
        item_id = talk.new_id("item")
        talk.emit(IdleTimeout(item_id, self._start_ms, self._heard_ms()))
        talk.emit(AudioCommitted(item_id, talk.conversation.last_id))
        talk.add(Item(item_id, "user", (Part("audio", ""),)), note=False)
        self._agent.release(self._agent.prepare(CreateReply(), user_text=SILENCE))
