"""Silence: what the agent does when nobody speaks, by its own settings or at the client's wish."""

import asyncio

from voiceagent.session.audio_input import AudioInput
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import Dialogue, SessionContext
from voiceagent.session.conversation import Item, Part
from voiceagent.session.events import AudioCommitted, IdleTimeoutTriggered
from voiceagent.session.playout import TICK
from voiceagent.session.response_manager import ResponseManager
from voiceagent.session.settings import SilenceSection
from voiceagent.session.timeline import now
from voiceagent.session.turn_manager import TurnManager

LOOK_AGAIN = 0.2
"""Seconds until the next look at a session in which somebody makes a sound."""


class SilencePrompter:
    """Asks whether the user is still there, and in the end says goodbye, as the settings say."""

    def __init__(
        self, context: SessionContext, responses: ResponseManager, turns: TurnManager, settings: SilenceSection
    ) -> None:
        self._context = context
        self._responses = responses
        self._turn_manager = turns
        self._settings = settings
        self._prompts = 0
        self._turns = 0

    async def check(self) -> float | None:
        """Speak when nothing has happened for long enough. Returns the seconds until it is to be checked again, None
        once goodbye has been said and the session is over."""
        settings, context = self._settings, self._context
        if settings.prompt_seconds == 0 or context.options.turn is None or context.options.listen_only:
            return float("inf")
        if context.turns != self._turns:  # the user has spoken since
            self._turns, self._prompts = context.turns, 0
        left = context.active_at + settings.prompt_seconds - now()
        if left > 0:
            return left
        if self._prompts < settings.prompts:
            self._prompts += 1
            self._responses.say(settings.prompt)
            context.touch()
            return settings.prompt_seconds
        goodbye = self._responses.say(settings.goodbye)
        await goodbye.over.wait()
        while self._turn_manager.listening:  # noqa: ASYNC110 - whoever speaks meanwhile is heard
            await asyncio.sleep(LOOK_AGAIN)
        return None if context.turns == self._turns else settings.prompt_seconds


MOST_IN_A_ROW = 3
"""How often the agent speaks up to somebody who never answers: every time costs a request."""
SILENCE = "(silence)"
"""What the model is shown in place of the user's words."""


class IdleTimeout:
    """The Realtime protocol's `idle_timeout_ms`: when nobody has spoken for so long after a response was played, the
    agent speaks up."""

    def __init__(
        self,
        context: SessionContext,
        dialogue: Dialogue,
        responses: ResponseManager,
        audio_input: AudioInput,
        turns: TurnManager,
    ) -> None:
        self._context = context
        self._dialogue = dialogue
        self._responses = responses
        self._audio_input = audio_input
        self._turn_manager = turns
        self._in_a_row = 0
        self._turns = 0
        self._start_ms = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._responses.played_out.wait()
            self._responses.played_out.clear()
            if await self._stays_silent():
                self._speak_up()

    async def _stays_silent(self) -> bool:
        """Wait for the time-out; False when it is off, or when another response was played meanwhile."""
        context = self._context
        self._start_ms, since = self._audio_input.heard_ms, now()
        while not self._responses.played_out.is_set():
            options = context.options
            if options.idle_timeout_ms is None or options.turn is None or options.listen_only:
                return False
            left = max(since, context.active_at) + options.idle_timeout_ms / 1000 - now()
            if context.user_turn is not None or self._responses.busy or self._turn_manager.understanding:
                left = max(left, LOOK_AGAIN)
            if left < TICK:
                return True
            await asyncio.sleep(left)
        return False

    def _speak_up(self) -> None:
        context = self._context
        if context.turns != self._turns:
            self._turns, self._in_a_row = context.turns, 0
        if self._in_a_row >= MOST_IN_A_ROW:
            return
        self._in_a_row += 1
        item_id = context.new_id("item")
        context.emit(IdleTimeoutTriggered(item_id, self._start_ms, self._audio_input.heard_ms))
        context.emit(AudioCommitted(item_id, self._dialogue.conversation.last_id))
        self._dialogue.add(Item(item_id, "user", (Part("audio", ""),)), note=False)
        self._responses.release(self._responses.prepare(CreateResponse(), user_text=SILENCE))
