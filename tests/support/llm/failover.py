"""The failover engine over scripted servers, for tests."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.support.llm.server import Script, ScriptedLlm
from voiceagent.llm.base import Completed, LlmEngine, LlmRequest, Message, TextDelta
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.options import FailoverOptions
from voiceagent.llm.failover.reports import Outcome
from voiceagent.models.store import ModelStore

NAMES = "abcdefgh"
HI = LlmRequest((Message("system", "Be brief."), Message("user", "你好, hello")))


def failover_of(
    urls: Sequence[str], own: Mapping[str, Mapping[str, object]] | None = None, **options: object
) -> FailoverLlm:
    """Endpoints called a, b … at these addresses; `own` are further keys of each. Without checks unless asked for."""
    endpoints = [
        {"name": name, "base_url": url, "api_key": "secret", "model": "m", **(own or {}).get(name, {})}
        for name, url in zip(NAMES, urls, strict=False)
    ]
    failover = options.pop("failover", {})
    assert isinstance(failover, dict)
    settings = {"endpoints": endpoints, "failover": {"check_seconds": 0, **failover}, **options}
    return FailoverLlm(FailoverOptions.model_validate(settings), ModelStore(Path("no models here")))


@asynccontextmanager
async def failover_over(
    *scripts: Script, own: Mapping[str, Mapping[str, object]] | None = None, **options: object
) -> AsyncIterator[tuple[FailoverLlm, list[ScriptedLlm], list[Outcome]]]:
    """The open engine, the servers behind its endpoints in their order, and what became of every attempt."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ScriptedLlm(script)) for script in scripts]
        engine = failover_of([server.base_url for server in servers], own, **options)
        outcomes: list[Outcome] = []
        engine.subscribe(outcomes.append)
        await engine.open()
        try:
            yield engine, servers, outcomes
        finally:
            await engine.close()


async def answer(llm: LlmEngine, request: LlmRequest = HI) -> tuple[str, Completed]:
    *events, completed = [event async for event in llm.reply(request)]
    assert isinstance(completed, Completed)
    return "".join(event.text for event in events if isinstance(event, TextDelta)), completed
