"""What a client may ask for about silence: when nobody has spoken for so long after a reply, the agent speaks up."""

import asyncio
from collections.abc import Callable

from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import SessionContext
from voiceagent.session.conversation import Item, Part
from voiceagent.session.events import AudioCommitted, IdleTimeoutTriggered
from voiceagent.session.playout import TICK
from voiceagent.session.response_manager import ResponseManager
from voiceagent.session.timeline import now

# What the agent does about silence: it asks whether the user is still there, and in the end says goodbye.


class SilencePrompter:
    def __init__(self, talk: SessionContext, agent: ResponseManager) -> None:
        self._talk = talk
        self._agent = agent
        self._prompts = 0
        self._turns = 0

    async def check(self) -> float | None:
        """Speak when nothing has happened for long enough. Returns the seconds until it is to be
        asked again, None once goodbye has been said and the talk is over."""
        settings = self._talk.shared.settings.silence
        options = self._talk.options
        if settings.prompt_seconds == 0 or options.turn is None or options.listen_only:
            return float("inf")
        if self._talk.turns != self._turns:  # the user has spoken since
            self._turns, self._prompts = self._talk.turns, 0
        left = self._talk.active_at + settings.prompt_seconds - now()
        if left > 0:
            return left
        if self._prompts < settings.prompts:
            self._prompts += 1
            self._agent.say(settings.prompt)
            self._talk.touch()
            return settings.prompt_seconds
        goodbye = self._agent.say(settings.goodbye)
        await goodbye.over.wait()
        return None if self._talk.turns == self._turns else settings.prompt_seconds


MOST_IN_A_ROW = 3
"""How often it speaks up to somebody who never answers: every time costs a request."""
LOOK_AGAIN = 0.2
"""Seconds until the next look at a talk in which somebody makes a sound."""
SILENCE = "(silence)"
"""What the model is told that the user says."""


class IdleTimeout:
    def __init__(
        self,
        talk: SessionContext,
        agent: ResponseManager,
        *,
        heard_ms: Callable[[], int],
        understanding: Callable[[], bool],
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
        talk.emit(IdleTimeoutTriggered(item_id, self._start_ms, self._heard_ms()))
        talk.emit(AudioCommitted(item_id, talk.conversation.last_id))
        talk.add(Item(item_id, "user", (Part("audio", ""),)), note=False)
        self._agent.release(self._agent.prepare(CreateResponse(), user_text=SILENCE))
