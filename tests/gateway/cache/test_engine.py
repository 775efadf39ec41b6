"""Kept answers: when they are given, and when never."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from tests.support.llm.failover import answer
from tests.support.llm.server import Script, ScriptedLlm
from tests.support.llm.wires import Reply
from tests.support.redis_server import RedisServer, hanging, redis_server  # noqa: F401
from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.cache.engine import CachedLlm, CacheSection, cached, pieces
from voiceagent.gateway.cache.question import Question, Scope, question_of
from voiceagent.gateway.cache.store import SqliteStore
from voiceagent.llm.base import Caller, Completed, LlmRequest, Message, TextDelta, ToolSpec
from voiceagent.llm.dialects.openai import OpenAILlm
from voiceagent.models.store import ModelStore

ANNA = Caller(session="s1", tenant="anna", turn=1, alone=True)
ASK = "What is the capital of France?"


def ask(text: str = ASK, caller: Caller = ANNA, system: str = "Be brief.") -> LlmRequest:
    return LlmRequest((Message("system", system), Message("user", text)), caller=caller)


@asynccontextmanager
async def caching(
    script: Script = ("First.", "Second.", "Third."), **options: object
) -> AsyncIterator[tuple[CachedLlm, ScriptedLlm]]:
    """A cache before a model that never says the same twice."""
    async with ScriptedLlm(script) as server:
        model = OpenAILlm(OpenAILlm.Options(base_url=server.base_url), ModelStore(Path("none")))
        llm = cached(model, CacheSection.model_validate(options))
        await llm.open()
        try:
            yield llm, server
        finally:
            await llm.close()


async def says(llm: CachedLlm, request: LlmRequest) -> str:
    """Its answer; what is kept of it has arrived when this returns."""
    said, _ = await answer(llm, request)
    await llm.settled()
    return said


@pytest.mark.parametrize("again", [ASK, "what is the capital of france", "  What is  the CAPITAL of France ?! "])
async def test_the_same_words_however_written_are_answered_at_once(again: str) -> None:
    async with caching(["It is Paris, a city on the Seine."]) as (llm, server):
        await says(llm, ask())
        events = [event async for event in llm.reply(ask(again, replace(ANNA, session="s2")))]
        assert len(server.requests) == 1
        assert len(events) > 5  # it streams
        assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "It is Paris, a city on the Seine."
        assert events[-1] == Completed(endpoint="cache")
        assert (llm.totals.hit, llm.totals.missed, llm.totals.kept) == (1, 1, 1)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (ASK, "Could you tell me the capital of France, please?"),
        ("法国的首都是哪里？", "请问法国的首都是哪里"),
        ("１ＭＢ是多少字节？", "1MB 是多少字节"),
    ],
)
async def test_other_words_of_the_same_meaning(first: str, again: str) -> None:
    async with caching() as (llm, server):
        assert await says(llm, ask(first)) == await says(llm, ask(again)) == "First."
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (ASK, "What is the capital of Germany?"),
        (ASK, "What is not the capital of France?"),
        ("How do I get from A to B?", "How do I get from B to A?"),
        ("What is 5 times 15?", "What is 5 times 50?"),
        ("Who hired Tom?", "Who did Tom hire?"),
        ("法国的首都是哪里？", "德国的首都是哪里？"),
        ("猫比狗大吗？", "狗比猫大吗？"),
        ("Is 1.5 enough?", "Is 15 enough?"),
        ("What is C?", "What is C#?"),
    ],
)
async def test_near_misses_are_asked(first: str, other: str) -> None:
    async with caching() as (llm, _):
        assert await says(llm, ask(first)) == "First."
        assert await says(llm, ask(other)) == "Second."


NEVER: Mapping[str, LlmRequest] = {
    "tools": replace(ask(), tools=(ToolSpec("search"),)),
    "in a talk": LlmRequest((Message("user", "Hi"), Message("assistant", "Hi!"), Message("user", ASK)), caller=ANNA),
    "not alone": ask(caller=replace(ANNA, alone=False)),
    "after a tool": LlmRequest((Message("user", ASK), Message("tool", "x", (), "1")), caller=ANNA),
    "no question": LlmRequest((Message("system", "Greet."),), caller=ANNA),
    "blank": ask("?!"),
    "long": ask("why " * 200),
    "today": ask("What is on TV today?"),
    "current": ask("Who is the current president of France?"),
    "weather": ask("How is the weather in Rome?"),
    "here": ask("Is there a bakery nearby?"),
    "joke": ask("Tell me a joke"),
    "今天": ask("今天有什么安排？"),
    "现在": ask("现在几点了？"),
    "e-mail": ask("Is anna.smith@example.com a good address?"),
    "card": ask("Is 4111 1111 1111 1111 a Visa card?"),
    "phone": ask("13812345678 是哪里的号码？"),
    "name": ask("My name is Anna, what does it mean?"),
    "wife": ask("What should I give my wife for Christmas?"),
    "我叫": ask("我叫小明，这个名字好吗？"),
}


@pytest.mark.parametrize("request_", NEVER.values(), ids=NEVER.keys())
async def test_what_is_never_kept(request_: LlmRequest) -> None:
    async with caching() as (llm, _):
        assert await says(llm, request_) == "First."
        assert await says(llm, request_) == "Second."
        assert sum(llm.totals.skipped.values()) == 2


async def test_answers_with_personal_data_are_not_kept() -> None:
    async with caching(["Write to anna@example.com.", "No."]) as (llm, _):
        await says(llm, ask())
        assert await says(llm, ask()) == "No."


@pytest.mark.parametrize(
    "other",
    [
        ask(caller=replace(ANNA, tenant="bob")),
        ask(caller=replace(ANNA, tenant="")),
        ask(system="Be long."),
        ask(caller=replace(ANNA, language="fr")),
        replace(ask(), max_tokens=5),
        replace(ask(), effort="high"),
    ],
)
async def test_never_across_tenants_instructions_or_languages(other: LlmRequest) -> None:
    async with caching() as (llm, _):
        assert await says(llm, ask()) == "First."
        assert await says(llm, other) == "Second."
        assert await says(llm, ask("Tell me the capital of France")) == "First."


async def test_a_single_question_without_a_session_stands_alone() -> None:
    async with caching() as (llm, _):
        request = ask(caller=Caller(tenant="proxy"))
        assert await says(llm, request) == await says(llm, request) == "First."


@pytest.mark.parametrize(
    "broken",
    [Reply("Paris is", finish_reason="length"), Reply("Paris is", finish_reason="content_filter"), Reply("  ")],
)
async def test_only_whole_answers_are_kept(broken: Reply) -> None:
    async with caching([broken, "Paris."]) as (llm, _):
        await says(llm, ask())
        assert await says(llm, ask()) == "Paris."


async def test_answers_that_break_off_are_not_kept() -> None:
    script: list[Reply | str] = [
        Reply("Paris is it.", reset_after=2),
        Reply("Paris is a city on a river.", token_seconds=0.05),
        "Paris.",
    ]
    async with caching(script) as (llm, server):
        with pytest.raises(EngineError):
            await says(llm, ask())
        async with aclosing(llm.reply(ask())) as events:
            await anext(events)
        await server.disconnected(1)
        assert await says(llm, ask()) == "Paris."


async def test_a_speculative_request_reads_what_is_kept() -> None:
    async with caching() as (llm, _):
        await says(llm, ask())
        assert await says(llm, ask(caller=replace(ANNA, speculative=True))) == "First."


async def test_the_least_used_answers_go_first_and_each_tenant_has_its_own_share() -> None:
    async with caching(lambda messages: messages[-1]["content"].upper(), entries=2) as (llm, server):
        bob = replace(ANNA, tenant="bob")
        await says(llm, ask("zebra", bob))
        for text in ("one fish", "two fish", "one fish", "red fish"):  # now "two fish" is the one not used for longest
            await says(llm, ask(text))
        before = len(server.requests)
        for request in (ask("one fish"), ask("red fish"), ask("zebra", bob)):
            await says(llm, request)
        assert len(server.requests) == before
        await says(llm, ask("two fish"))
        assert len(server.requests) == before + 1


async def test_old_answers_are_asked_again(tmp_path: Path) -> None:
    now = 1_000_000.0
    store = SqliteStore(str(tmp_path / "cache.sqlite"), 10, 60.0, lambda: now)
    question = question_of(ask())
    assert isinstance(question, Question)
    await store.open()
    await store.put(question, "Paris.")
    now += 59
    assert await store.get(question.scope, question.key) == "Paris."
    now += 2
    assert await store.get(question.scope, question.key) is None
    now -= 1000  # the clock was set back
    assert await store.get(question.scope, question.key) is None
    await store.close()


async def test_a_file_outlives_the_process_and_is_shared(tmp_path: Path) -> None:
    path = str(tmp_path / "folder" / "cache.sqlite")
    async with caching(path=path) as (one, _), caching(["Other."], path=path) as (two, _):
        assert await says(one, ask()) == "First."
        assert await says(two, ask("Tell me the capital of France")) == "First."
        assert await says(two, ask("What is the capital of Spain?")) == "Other."
        assert await says(one, ask("Tell me the capital of Spain")) == "Other."
    async with caching(["New."], path=path) as (later, _):
        assert await says(later, ask("Tell me the capital of France")) == "First."
        await later.forget("anna")
        assert await says(later, ask()) == "New."
    assert (tmp_path / "folder" / "cache.sqlite").stat().st_mode & 0o077 == 0


async def test_a_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and not a database at all. " * 10)
    with pytest.raises(ConfigError, match=r"\[llm.cache\] path"):
        async with caching(path=str(path)):
            pass
    assert path.read_text().startswith("These are my notes")


@pytest.mark.parametrize(
    "options",
    [
        {"path": "x", "redis": "redis://localhost"},
        {"entries": 0},
        {"seconds": 0},
    ],
)
def test_slips(options: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        CacheSection.model_validate(options)


@pytest.mark.parametrize(
    "text", ["Paris, of course.\n\n- a\n- b", "你好，世界！Hello 世界 ok", " x ", "a\u3000b 👍🏽 c"]
)
def test_pieces_come_to_the_whole(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(len(piece) < 12 for piece in pieces(text))


async def test_broken_text_does_no_harm() -> None:
    async with caching(["Half a pair."]) as (llm, _):
        request = ask("What is \ud800 this?", replace(ANNA, tenant="\udfff"))
        await says(llm, request)
        assert "Half" in await says(llm, request)


# -- Redis -----------------------------------------------------------------------------------------------------------


async def test_redis_is_shared_by_processes(redis_server: RedisServer) -> None:  # noqa: F811
    where = redis_server.address
    async with caching(redis=where) as (one, _), caching(["Other."], redis=where) as (two, _):
        assert await says(one, ask()) == "First."
        assert await says(two, ask()) == "First."
        assert await says(two, ask("Tell me the capital of France")) == "First."
        assert await says(two, ask(caller=replace(ANNA, tenant="bob"))) == "Other."
        assert two.totals.hit == 2
        await two.forget("anna")
        assert await says(one, ask()) == "Second."
        assert await says(two, ask("Tell me the capital of France")) == "Second."


async def test_redis_forgets_the_least_used(redis_server: RedisServer) -> None:  # noqa: F811
    script = ["One.", "Two.", "Red.", "Two again."]
    async with caching(script, redis=redis_server.address, entries=2) as (llm, server):
        for text in ("one fish", "two fish", "one fish", "red fish", "one fish", "red fish"):
            await says(llm, ask(text))
        assert len(server.requests) == 3
        assert await says(llm, ask("two fish")) == "Two again."


async def test_redis_forgets_what_is_old(redis_server: RedisServer) -> None:  # noqa: F811
    async with caching(redis=redis_server.address, seconds=0.05) as (llm, _):
        assert await says(llm, ask()) == "First."
        await asyncio.sleep(0.1)
        assert await says(llm, ask()) == "Second."


async def test_without_redis_all_goes_on(
    redis_server: RedisServer,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with caching(redis=redis_server.address) as (llm, _):
        redis_server.stop()
        assert await says(llm, ask()) == "First."
        assert await says(llm, ask()) == "Second."
    assert sum("Redis is away" in record.message for record in caplog.records) == 1
    assert not any("France" in record.message for record in caplog.records)


async def test_a_redis_that_hangs_holds_nobody_up_for_long() -> None:
    async with hanging() as port, caching(redis=SecretStr(f"redis://127.0.0.1:{port}/0")) as (llm, _):
        async with asyncio.timeout(5.0):
            assert await says(llm, ask()) == "First."


def test_a_redis_address_that_is_none() -> None:
    model = OpenAILlm(OpenAILlm.Options(base_url="http://127.0.0.1:9/v1"), ModelStore(Path("none")))
    with pytest.raises(ConfigError, match="redis"):
        cached(model, CacheSection(redis=SecretStr("nonsense")))


def test_scopes_tell_tenants_apart() -> None:
    one, other = question_of(ask()), question_of(ask(caller=replace(ANNA, tenant="bob")))
    assert isinstance(one, Question)
    assert isinstance(other, Question)
    assert one.scope != other.scope
    assert one.scope == Scope("anna", one.scope.place)
