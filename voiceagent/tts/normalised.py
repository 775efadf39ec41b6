"""A voice that is given what is said instead of what is written."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace

from voiceagent.tts.base import TtsAudio, TtsRequest, WordTiming
from voiceagent.tts.normalise import Spoken, normalise
from voiceagent.tts.wrapper import TtsWrapper


class NormalisedTts(TtsWrapper):
    """Any voice, with its requests normalised before it hears them. The timings of words it gives back are those of the
    written text: who maps what was heard to a transcript needs to know nothing of what was made of "$120.35"."""

    async def speak(self, request: TtsRequest) -> AsyncGenerator[TtsAudio, None]:
        spoken = normalise(request.text, request.language, request.before)
        timings = WrittenTimings(spoken)
        async with aclosing(self.engine.speak(replace(request, text=spoken.text, before=""))) as pieces:
            async for piece in pieces:
                yield replace(piece, words=tuple(timings.push(piece.words))) if piece.words else piece


class WrittenTimings:
    """Turns the timings of spoken words into those of written ones, in their order. A written word that is said with
    several, such as "12:30", is timed from the first to the last of them and told with the last."""

    def __init__(self, spoken: Spoken) -> None:
        self._spoken = spoken
        self._heard = spoken.text.lower()
        self._at = 0
        self._span = 0
        self._start: float | None = None

    def push(self, words: tuple[WordTiming, ...]) -> Iterator[WordTiming]:
        for timing in words:
            yield from self._push(timing)

    def _push(self, timing: WordTiming) -> Iterator[WordTiming]:
        found = self._heard.find(timing.word.lower(), self._at)
        if found < 0:
            yield timing  # the voice has words of its own for it
            return
        self._at = found + len(timing.word)
        places, spans = self._spoken.places, self._spoken.spans
        while self._span < len(places) and places[self._span][1] <= found:
            self._span += 1
            self._start = None
        if self._span == len(places) or self._at <= places[self._span][0]:
            yield timing
            return
        start = self._start = timing.start if self._start is None else self._start
        if any(char.isalnum() for char in self._heard[self._at : places[self._span][1]]):
            return  # more words of it are to come
        span = spans[self._span]
        yield WordTiming(self._spoken.written[span.start : span.end].strip(), start, timing.end)
