"""Cache of answers: a question that is asked again is answered at once and costs nothing."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from voiceagent import extras
from voiceagent.errors import EngineError
from voiceagent.gateway.cache.question import Private, Question, Skip, is_personal, question_of
from voiceagent.gateway.cache.store import CacheStore, SqliteStore
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, TextDelta
from voiceagent.section import Seconds, Section

logger = logging.getLogger(__name__)

ENDPOINT = "cache"
"""What `Completed.endpoint` says of a kept answer."""
MOST_ANSWER = 4_000
"""Characters of an answer; nobody listens to a longer one twice."""
MOST_WRITES = 64
"""Answers on their way to the store; one more is not kept."""
LOOK_SECONDS = 0.3
"""How long the store may take: a user is waiting."""
QUIET_SECONDS = 60.0
"""A failure is told no more often."""
WEEK = 7 * 86_400.0

_PIECE = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff]{1,4}[^\w\s]*|[^\s\u3040-\u30ff\u3400-\u9fff]+)|\s+")


class CacheSection(Section):
    """Kept answers to questions that stand alone."""

    entries: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """Answers kept of each tenant."""
    seconds: Seconds = WEEK
    """How long they are kept."""
    path: str = ""
    """SQLite file; in memory without one."""
    redis: SecretStr | None = None
    """Address of a Redis, used instead."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.path and self.redis is not None:
            raise ValueError("give path or redis, not both")
        return self


@dataclass(slots=True)
class CacheTotals:
    """Requests since the start: `hit` were answered from the cache, `missed` might have been; `skipped` could not be,
    by reason. `failed` counts calls of the store that went wrong."""

    hit: int = 0
    missed: int = 0
    kept: int = 0
    failed: int = 0
    skipped: dict[Skip, int] = field(default_factory=dict)


class CachedLlm:
    """Answers questions that stand alone from what was answered before to the same tenant under the same
    instructions. A kept answer streams as a model's does. A speculative request reads, and its answer is kept like any
    other if it came to its end: it belongs to the words that were asked, whether or not the turn was over."""

    def __init__(self, engine: LlmEngine, store: CacheStore, private: Private = is_personal) -> None:
        """`private` tells whether a text has personal data."""
        self._engine = engine
        self._store = store
        self._private = private
        self._writes: set[asyncio.Task[None]] = set()
        self._quiet_until = float("-inf")
        self.totals = CacheTotals()

    @property
    def inner(self) -> LlmEngine:
        return self._engine

    @property
    def talk_tokens(self) -> int | None:
        return self._engine.talk_tokens

    async def open(self) -> None:
        await self._store.open()
        try:
            await self._engine.open()
        except BaseException:
            await self.close()
            raise

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does; a cache that fails is only a line in the log."""
        question = question_of(request, self._private)
        if not isinstance(question, Question):
            self.totals.skipped[question] = self.totals.skipped.get(question, 0) + 1
            answer = None
        else:
            answer = await self._find(question)
        if answer is not None:
            for piece in pieces(answer):
                yield TextDelta(piece)
            yield Completed(endpoint=ENDPOINT)
            return
        said: list[str] = []
        async with aclosing(self._engine.reply(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    said.append(event.text)
                elif isinstance(event, Completed) and event.reason == "stop" and isinstance(question, Question):
                    self._keep(question, "".join(said))
                yield event

    async def settled(self) -> None:
        """Wait until what was answered so far has been kept."""
        await asyncio.gather(*self._writes)

    async def forget(self, tenant: str) -> None:
        """All of a tenant's answers. Raises EngineError."""
        await self._store.clear(tenant)

    async def close(self) -> None:
        """What is still on its way to the store arrives first."""
        await self.settled()
        await self._engine.close()
        await self._store.close()

    async def _find(self, question: Question) -> str | None:
        answer = None
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                answer = await self._store.get(question.scope, question.key)
        except (EngineError, TimeoutError) as error:
            self._failed(error)
        if answer is None:
            self.totals.missed += 1
        else:
            self.totals.hit += 1
        return answer

    def _keep(self, question: Question, answer: str) -> None:
        worth = answer.strip() and len(answer) <= MOST_ANSWER and not self._private(answer)
        if worth and len(self._writes) < MOST_WRITES:
            task = asyncio.create_task(self._put(question, answer), name="llm cache")
            self._writes.add(task)
            task.add_done_callback(self._writes.discard)

    async def _put(self, question: Question, answer: str) -> None:
        try:
            await self._store.put(question, answer)
            self.totals.kept += 1
        except EngineError as error:
            self._failed(error)

    def _failed(self, error: EngineError | TimeoutError) -> None:
        self.totals.failed += 1
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            why = error.message if isinstance(error, EngineError) else "it took too long"
            logger.warning("the cache of answers fails: %s", why)


def cached(engine: LlmEngine, settings: CacheSection, private: Private = is_personal) -> CachedLlm:
    """The engine behind the cache of the settings. Raises ConfigError for a Redis address that is none."""
    store: CacheStore
    if settings.redis is not None:
        extras.need("redis", "[llm.cache] redis")
        from voiceagent.gateway.cache.redis import RedisStore  # only who configures it needs the package

        store = RedisStore(settings.redis, settings.entries, settings.seconds)
    else:
        store = SqliteStore(settings.path, settings.entries, settings.seconds)
    return CachedLlm(engine, store, private)


def pieces(answer: str) -> Iterator[str]:
    """A kept answer in pieces of a word, of Chinese up to four characters, as a model sends it."""
    for match in _PIECE.finditer(answer):
        yield match.group()
