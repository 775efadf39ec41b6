"""Moderation layer: what may not be asked is not sent to the model, what may not be said is not spoken."""

import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from voiceagent.errors import EngineError
from voiceagent.guard.moderators import Moderator
from voiceagent.guard.options import Side
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, TextDelta, ToolCall
from voiceagent.llm.layers import LlmLayer, last_words, sentence_for

logger = logging.getLogger(__name__)

LONGEST = 400
"""Characters after which text without an end of a sentence is judged."""
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？；…]+[”’」』）】]*|\n")

OnBlocked = Callable[[LlmRequest, Side, str], None]
"""Called with the request, the side and the moderator's word for why."""


class Sentences:
    """Cuts text that arrives in pieces into sentences; together they are exactly what was pushed."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, delta: str) -> list[str]:
        """The sentences that are now complete."""
        self._held += delta
        out: list[str] = []
        while (cut := self._cut()) > 0:
            out.append(self._held[:cut])
            self._held = self._held[cut:]
        return out

    def finish(self) -> str:
        held, self._held = self._held, ""
        return held

    def _cut(self) -> int:
        """Where the first sentence ends, 0 where none does yet. A closing mark may still follow at the very end."""
        end = next((match.end() for match in _END.finditer(self._held)), 0)
        if end and (end < len(self._held) or self._held[end - 1] == "\n"):
            return end
        return LONGEST if len(self._held) >= LONGEST else 0


class ModeratedLlm(LlmLayer):
    """An LlmEngine whose question is judged before the engine sees it, and whose answer sentence by sentence before
    anybody does. From the first sentence that is blocked on, a sentence of ours is said instead of the rest; the reason
    is then "content_filter".

    A moderator without a verdict lets the text pass if `open_when_away`, else it blocks."""

    def __init__(
        self,
        engine: LlmEngine,
        sentences: Mapping[str, str],
        questions: Sequence[Moderator] = (),
        answers: Sequence[Moderator] = (),
        open_when_away: bool = True,
        on_blocked: OnBlocked | None = None,
    ) -> None:
        """`sentences` by language, not empty. A moderator may be among both `questions` and `answers`."""
        super().__init__(engine)
        self._sentences = sentences
        self._questions, self._answers = tuple(questions), tuple(answers)
        self._open_when_away = open_when_away
        self._on_blocked = on_blocked
        self._away = False

    async def open(self) -> None:
        try:
            for moderator in self._moderators():
                await moderator.open()
            await self._inner.open()
        except BaseException:
            await self.close()
            raise

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does."""
        if await self._blocked(request, "in", _question(request)):
            yield TextDelta(sentence_for(request, self._sentences))
            yield Completed("content_filter")
            return
        if not self._answers:
            async with aclosing(self._inner.reply(request)) as events:
                async for event in events:
                    yield event
            return
        async with aclosing(self._judged(request)) as events:
            async for event in events:
                yield event

    async def close(self) -> None:
        await self._inner.close()
        for moderator in self._moderators():
            await moderator.close()

    async def _judged(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """The answer, as far as it may be said."""
        cutter = Sentences()
        async with aclosing(self._inner.reply(request)) as events:
            async for event in events:
                sentences: list[str] = []
                if isinstance(event, TextDelta):
                    sentences = cutter.push(event.text)
                elif isinstance(event, Completed | ToolCall):
                    sentences = [cutter.finish()]
                for sentence in sentences:
                    if await self._blocked(request, "out", sentence):
                        yield TextDelta(sentence_for(request, self._sentences))
                        yield Completed("content_filter")
                        return
                    if sentence:
                        yield TextDelta(sentence)
                if not isinstance(event, TextDelta):
                    yield event

    async def _blocked(self, request: LlmRequest, side: Side, text: str) -> bool:
        if not text.strip():
            return False
        for moderator in self._questions if side == "in" else self._answers:
            try:
                reason = await moderator.judge(text)
            except EngineError as error:
                if not self._away:
                    logger.warning("%s: text %s", error.message, "passes" if self._open_when_away else "is blocked")
                self._away = True
                reason = None if self._open_when_away else "no_verdict"
            else:
                self._away = False
            if reason is not None:
                if self._on_blocked is not None:
                    self._on_blocked(request, side, reason)
                return True
        return False

    def _moderators(self) -> list[Moderator]:
        return list(dict.fromkeys((*self._questions, *self._answers)))


def _question(request: LlmRequest) -> str:
    """What the user said last; "" when a tool has answered since, because then it was judged before."""
    if request.messages and request.messages[-1].role == "tool":
        return ""
    return last_words(request)
