"""A voice whose failed requests are made once more."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from voiceagent.errors import EngineError
from voiceagent.tts.base import TtsAudio, TtsEngine, TtsRequest
from voiceagent.tts.wrapper import TtsWrapper

RETRIED = frozenset(["unavailable", "timeout", "rate_limited", "bad_response", "no_sound", "failed"])
"""Failures that may pass. What is wrong with the request or the key is wrong the second time, too."""
PAUSE_SECONDS = 0.1
"""Before the second attempt; a server restarting a worker needs a moment, a listener hardly hears one."""
LONGEST_PAUSE = 1.0
"""Seconds of a `retry_after` that a conversation can wait; a longer one is a failure at once."""


class RetriedTts(TtsWrapper):
    """Any voice. A request that fails before any of its sound was there is made once more; afterwards it is not, or the
    listener would hear the clause's beginning twice. The first attempt fails, too, when it has no sound within
    `first_seconds`, so that there is time for a second one within the session's own deadline."""

    def __init__(self, engine: TtsEngine, first_seconds: float) -> None:
        super().__init__(engine)
        self._first_seconds = first_seconds

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        sounded = False
        try:
            async with aclosing(self._first_attempt(request)) as pieces:
                async for piece in pieces:
                    sounded = sounded or len(piece.pcm) > 0
                    yield piece
            return
        except EngineError as error:
            if sounded or error.code not in RETRIED or error.retry_after > LONGEST_PAUSE:
                raise
            pause = max(PAUSE_SECONDS, error.retry_after)
        await asyncio.sleep(pause)
        async with aclosing(self.engine.speak(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def _first_attempt(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        sounded = False
        async with aclosing(self.engine.speak(request)) as pieces:
            while True:
                try:
                    async with asyncio.timeout(None if sounded else self._first_seconds):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise EngineError("tts", "timeout", f"no sound within {self._first_seconds:g} s") from None
                sounded = sounded or len(piece.pcm) > 0
                yield piece
