"""Speaks recordings as a user would: each when the answer to the one before has been heard."""

import asyncio
from collections.abc import Sequence

from voiceagent_client.audio_io import WavDevice
from voiceagent_client.errors import NoAnswer
from voiceagent_client.happenings import Happening, ResponsePlayed
from voiceagent_client.pcm import Pcm

PAUSE_SECONDS = 0.5
"""Between the end of an answer and the user's next words, and before hanging up."""


class Script:
    """For `Conversation.run(script.run())`; the conversation's happenings must be passed on to `notice`."""

    def __init__(self, device: WavDevice, recordings: Sequence[Pcm], *, timeout: float = 30.0) -> None:
        """`timeout` seconds may pass from the end of a recording until its answer is played to the end."""
        self._device = device
        self._recordings = recordings
        self._timeout = timeout
        self._answer: ResponsePlayed | None = None
        self._answered = asyncio.Event()

    def notice(self, happening: Happening) -> None:
        if isinstance(happening, ResponsePlayed):
            self._answer = happening
            self._answered.set()

    async def run(self) -> None:
        """NoAnswer: a recording was not answered in time, or the response failed."""
        for number, recording in enumerate(self._recordings, start=1):
            await self._device.say(recording)
            self._answered.clear()
            try:
                async with asyncio.timeout(self._timeout):
                    await self._answered.wait()
            except TimeoutError:
                raise NoAnswer(f"recording {number} was not answered within {self._timeout:g} s") from None
            if self._answer is not None and self._answer.status == "failed":
                raise NoAnswer(f"the server failed to answer recording {number}")
            await asyncio.sleep(PAUSE_SECONDS)
