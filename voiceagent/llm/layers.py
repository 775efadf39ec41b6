"""Layers: language models that ask another one, such as guard rails, tracing, budgets or an audit log."""

import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from voiceagent.llm.base import LlmEngine, LlmEvent, LlmRequest

_CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


@runtime_checkable
class Layered(Protocol):
    """An LlmEngine with another one inside, which it opens and closes with itself."""

    @property
    def inner(self) -> LlmEngine: ...


@runtime_checkable
class Enclosing(Protocol):
    """An LlmEngine with a layer that lies outside of those which are put around engines, such as an audit log that
    shows what guard rails refused."""

    def enclose(self, put_around: Callable[[LlmEngine], LlmEngine]) -> None:
        """Put them inside that layer. Once, before it is opened."""
        ...


class LlmLayer:
    """The base of a layer that only changes `reply`: all else is the inner engine's."""

    def __init__(self, inner: LlmEngine) -> None:
        self._inner = inner

    @property
    def inner(self) -> LlmEngine:
        return self._inner

    @property
    def talk_tokens(self) -> int | None:
        return self._inner.talk_tokens

    async def open(self) -> None:
        """Raises ConfigError as the inner engine does."""
        await self._inner.open()

    def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the inner engine does."""
        return self._inner.reply(request)

    async def close(self) -> None:
        await self._inner.close()


def layers(engine: LlmEngine) -> Iterator[LlmEngine]:
    """The engine and all that lie within it, from the outermost to the one that asks an endpoint."""
    yield engine
    while isinstance(engine, Layered):
        engine = engine.inner
        yield engine


def put_around(engine: LlmEngine, layer: Callable[[LlmEngine], LlmEngine]) -> LlmEngine:
    """The engine within what `layer` puts around it; an engine that encloses it does so itself."""
    if isinstance(engine, Enclosing):
        engine.enclose(layer)
        return engine
    return layer(engine)


def last_words(request: LlmRequest) -> str:
    """What the user said last, "" where the conversation has nothing of the user's."""
    return next((message.content for message in reversed(request.messages) if message.role == "user"), "")


def sentence_for(request: LlmRequest, sentences: Mapping[str, str]) -> str:
    """What is said instead of an answer: of `sentences` by language (not empty), the one of the caller's language
    (zh-CN, then zh); where that is not known, Chinese if the user wrote Chinese; else English, else the first."""
    language = (request.caller.language or "").lower()
    if not language:
        language = "zh" if _CHINESE.search(last_words(request)) else "en"
    lower = {name.lower(): sentence for name, sentence in sentences.items()}
    return lower.get(language) or lower.get(language.split("-")[0]) or lower.get("en") or next(iter(lower.values()))
