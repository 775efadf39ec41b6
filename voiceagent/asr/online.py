"""Hearing an utterance with a streaming recogniser: the network moves on with the audio."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from voiceagent.asr.base import Transcript
from voiceagent.asr.batch import Batcher, DecodeJob
from voiceagent.asr.recognizers import Online, OnlineInput, decode_online
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence, to_float
from voiceagent.errors import EngineError


@dataclass(slots=True)
class StreamFeed:
    """The network's state for one utterance, and audio it has not been given yet. Made and used in a worker thread."""

    unheard: list[Pcm] = field(default_factory=list)
    state: OnlineInput | None = None


def decode_feeds(recognizer: Online, feeds: list[StreamFeed]) -> list[Transcript]:
    """Give each network state its new audio and move all on together. Blocks."""
    states = []
    for feed in feeds:
        state = feed.state = feed.state or recognizer.create_stream()
        while feed.unheard:
            state.accept_waveform(EAR_RATE, to_float(feed.unheard.pop(0)).tolist())
        states.append(state)
    return decode_online(recognizer, states)


class OnlineStream:
    """One utterance. Only one decoding of it is under way at a time, since the state can be in one thread only."""

    def __init__(self, batcher: Batcher[StreamFeed], *, tail: int) -> None:
        """`tail`: samples of silence after which the network has surely given out its last word."""
        self._batcher = batcher
        self._tail = tail
        self._feed = StreamFeed()
        self._turn = asyncio.Lock()
        self._job: DecodeJob[StreamFeed] | None = None
        self._final: Transcript | None = None

    def push(self, pcm: Pcm) -> None:
        self._feed.unheard.append(pcm)
        self._final = None

    async def partial(self) -> str:
        if self._final is not None:
            return self._final.text
        return (await self._decode(urgent=False)).text

    async def finish(self) -> Transcript:
        """If the user goes on after all, the silence put in here was a pause in the utterance."""
        if self._final is None:
            self._feed.unheard.append(silence(self._tail))
            final = await self._decode(urgent=True)
            if not self._feed.unheard:
                self._final = final
            return final
        return self._final

    def close(self) -> None:
        if self._job:
            self._batcher.drop(self._job)

    async def _decode(self, *, urgent: bool) -> Transcript:
        async with self._turn:
            if self._job:  # left behind by a call that was cancelled, or failed
                with suppress(EngineError):
                    await self._batcher.wait(self._job, urgent=urgent)
            self._job = self._batcher.submit(self._feed, urgent=urgent)
            transcript = await self._batcher.wait(self._job)
            self._job = None
            return transcript or Transcript("")
