"""Hearing an utterance with a recogniser that only takes whole pieces: it is given all that was said so far, again and
again, and what has grown long is cut at a pause, so that the cost of one more guess stays bounded."""

import asyncio
import unicodedata
from collections.abc import Sequence

from voiceagent.asr.base import Transcript
from voiceagent.asr.batch import Batcher, DecodeJob
from voiceagent.asr.spoken import SpeechAudio
from voiceagent.audio.pcm import EAR_RATE, Pcm

SHORTEST = EAR_RATE // 10
"""Samples that can hold a word: 100 ms. Moonshine's network fails below 75 ms."""

NOTHING = Transcript("")


class OfflineStream:
    """One utterance. Each of its pieces but the last is closed: decoded once and kept as text."""

    def __init__(self, batcher: Batcher[Pcm], *, longest: int, step: int) -> None:
        """`longest`: samples the open piece may have before it is cut. `step`: samples between two partial guesses."""
        self._batcher = batcher
        self._longest = longest
        self._step = step
        self._open = SpeechAudio()
        self._closed: list[DecodeJob[Pcm]] = []
        self._known = (0, NOTHING)
        """The newest decoding of the open piece, and how many samples it covers."""
        self._pending: tuple[int, DecodeJob[Pcm]] | None = None

    def push(self, pcm: Pcm) -> None:
        self._open.push(pcm)

    async def partial(self) -> str:
        closed = self._cut()
        last = None
        if self._open.samples - self._known[0] >= self._step:
            last = await self._decode_open()
        return (await self._whole(closed, last or self._known[1])).text

    async def finish(self) -> Transcript:
        closed = self._cut()
        for job in closed:
            job.urgent = True
        last = None
        while last is None:  # dropped only when another call on this stream was cancelled
            last = await self._decode_open(urgent=True)
        return await self._whole(closed, last)

    def close(self) -> None:
        for job in self._closed:
            self._batcher.drop(job)
        if self._pending:
            self._batcher.drop(self._pending[1])

    def _cut(self) -> tuple[DecodeJob[Pcm], ...]:
        """Close pieces until the open one is short enough, at places that do not depend on when this runs.
        Returns all that are closed."""
        while self._open.samples > self._longest:
            piece = self._open.cut(self._longest // 2, self._longest - EAR_RATE // 2)
            if self._pending and not self._pending[1].urgent:
                self._batcher.drop(self._pending[1])
            self._known, self._pending = (0, NOTHING), None
            if len(piece):
                self._closed.append(self._batcher.submit(piece, urgent=False))
        return tuple(self._closed)

    async def _decode_open(self, *, urgent: bool = False) -> Transcript | None:
        """The text of the open piece; None if that decoding was overtaken by another."""
        if self._open.samples < SHORTEST or self._open.is_silent():
            return NOTHING
        if self._open.is_covered_by(self._known[0]):
            return self._known[1]
        samples, job = self._join_or_submit(urgent)
        try:
            transcript = await self._batcher.wait(job, urgent=urgent)
        except asyncio.CancelledError:
            self._batcher.drop(job)
            raise
        if transcript is not None and self._pending is not None and self._pending[1] is job:
            self._known, self._pending = (samples, transcript), None
        return transcript

    def _join_or_submit(self, urgent: bool) -> tuple[int, DecodeJob[Pcm]]:
        """A decoding under way that hears all there is, else a new one in place of one that still waits."""
        if self._pending:
            samples, job = self._pending
            alive = not job.settled or isinstance(job.outcome, Transcript)
            if alive and self._open.is_covered_by(samples):
                return self._pending
            if not job.urgent:
                self._batcher.drop(job)
        self._pending = (self._open.samples, self._batcher.submit(self._open.audio(), urgent=urgent))
        return self._pending

    async def _whole(self, closed: Sequence[DecodeJob[Pcm]], last: Transcript) -> Transcript:
        parts = [*[await self._batcher.wait(job) or NOTHING for job in closed], last]
        language = next((part.language for part in parts if part.language), None)
        return Transcript(join([part.text for part in parts]), language)


def join(parts: Sequence[str]) -> str:
    """Texts of neighbouring pieces as one, with a space between unless Chinese or Japanese stands at the seam."""
    text = ""
    for part in parts:
        seam = text[-1:] + part[:1]
        text += part if len(seam) < 2 or any(_unspaced(char) for char in seam) else " " + part
    return text


def _unspaced(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"  # Korean has spaces
