"""Push-to-talk: a key opens the microphone for one turn of the user's."""

import asyncio
from typing import Literal

from voiceagent_client.conversation import Conversation
from voiceagent_client.microphone import Microphone

PushMode = Literal["hold", "toggle"]
PUSH_MODES: tuple[PushMode, ...] = ("hold", "toggle")

FIRST_REPEAT_SECONDS = 0.75
"""A terminal tells nothing of a key's release, but a held key repeats: for the first time after 250 to 660 ms, by the
system's settings ..."""

NEXT_REPEAT_SECONDS = 0.2
"""... and then 10 to 50 times a second."""

SHORTEST_FRAMES = 10
"""Turns below 200 ms are a slip of the finger: they are dropped, not answered."""


class PushToTalk:
    """`key` is called on the loop when the key is struck; `run` owns the turns that come of it."""

    def __init__(self, mode: PushMode, microphone: Microphone) -> None:
        self._mode = mode
        self._microphone = microphone
        self._struck = asyncio.Event()

    def key(self) -> None:
        self._struck.set()

    async def run(self, conversation: Conversation) -> None:
        """Turn after turn, for ever. The microphone is off in between."""
        self._microphone.on = False
        while True:
            await self._strike(None)
            await conversation.start_turn()
            self._microphone.on = True
            try:
                await self._until_released()
            finally:
                enough = self._microphone.frames_on >= SHORTEST_FRAMES
                self._microphone.on = False
            if enough:
                await conversation.end_turn()

    async def _until_released(self) -> None:
        if self._mode == "toggle":
            await self._strike(None)
            return
        patience = FIRST_REPEAT_SECONDS
        while await self._strike(patience):
            patience = NEXT_REPEAT_SECONDS

    async def _strike(self, seconds: float | None) -> bool:
        """Whether the key was struck within the time; None is for ever."""
        try:
            async with asyncio.timeout(seconds):
                await self._struck.wait()
        except TimeoutError:
            return False
        self._struck.clear()
        return True
