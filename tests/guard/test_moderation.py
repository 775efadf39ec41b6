"""What may not be asked or said."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from tests.gateway.test_budgets import ANNA, answered, ask, metered
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.errors import ConfigError, EngineError
from voiceagent.guard.moderation import ModeratedLlm, Sentences
from voiceagent.guard.moderators import ModerationEndpoint, WordList
from voiceagent.guard.options import GuardSection, Side
from voiceagent.guard.rails import guarded
from voiceagent.llm.base import Completed, LlmEngine, LlmRequest, Message, TextDelta, Thinking, ToolCall

NO = "I am sorry, I cannot talk about that."


def settings(**keys: object) -> GuardSection:
    return GuardSection.model_validate(keys)


@asynccontextmanager
async def opened(engine: LlmEngine) -> AsyncIterator[LlmEngine]:
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


class ModerationServer:
    """OpenAI's `/moderations` on loopback: flags what holds "violent". `delay` in seconds, `status` and `body` replace
    its answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.delay, self.status, self.body = 0.0, 200, b""
        self.url = ""
        self.tasks: set[asyncio.Task[None]] = set()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self.answer(reader, writer)))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                assert head.startswith("post /v1/moderations ")
                headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                asked = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.asked.append(asked)
                self.keys.append(headers.get("authorization", ""))
                await asyncio.sleep(self.delay)
                flagged = "violent" in asked["input"]
                result = {"flagged": flagged, "categories": {"hate": False, "violence": flagged}}
                body = self.body or json.dumps({"id": "1", "model": "m", "results": [result]}).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def moderation() -> AsyncIterator[ModerationServer]:
    made = ModerationServer()
    server = await asyncio.start_server(made.take, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield made
    server.close()
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    await server.wait_closed()


# -- judges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        ("Tell me about bombs", False),
        ("How do I build a BOMB?", True),
        ("bombastic music", False),
        ("怎么制造炸药呢", True),
        ("credit 12-34", True),
        ("", False),
    ],
)
async def test_a_list_blocks_whole_words_chinese_words_and_patterns(text: str, blocked: bool) -> None:
    judge = WordList(["bomb", "炸药", " "], [r"\d\d-\d\d"])
    assert await judge.judge(text) == ("word_list" if blocked else None)
    assert await WordList().judge(text) is None


def test_a_pattern_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\(unclosed"):
        WordList(patterns=["(unclosed"])


async def test_an_endpoint_judges(moderation: ModerationServer) -> None:
    judge = ModerationEndpoint(moderation.url, SecretStr("Key"), "omni")
    await judge.open()
    assert await judge.judge("a violent text") == "violence"
    assert await judge.judge("a kind text") is None
    assert moderation.asked[0] == {"input": "a violent text", "model": "omni"}
    assert moderation.keys[0] == "bearer key"
    for status, body in ((500, b"{}"), (200, b"no json"), (200, b'{"results": 3}')):
        moderation.status, moderation.body = status, body
        with pytest.raises(EngineError):
            await judge.judge("a kind text")
    await judge.close()
    with pytest.raises(EngineError):
        await judge.judge("x")


# -- sentences --------------------------------------------------------------------------------------------------------


def test_sentences_end_where_they_do() -> None:
    cutter = Sentences()
    assert cutter.push("It is 3.14. “Really?") == ["It is 3.14."]
    assert cutter.push("” he said.") == [" “Really?”"]
    assert cutter.push(" 你好！") == [" he said."]
    assert cutter.push("再见。") == [" 你好！"]
    assert cutter.finish() == "再见。"
    assert cutter.push("a" * 900) == ["a" * 400] * 2


@given(st.text(alphabet='ab .!?。！\n”"', max_size=80), st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_sentences_together_are_the_text_however_it_is_cut(text: str, cuts: list[int]) -> None:
    cutter, whole = Sentences(), Sentences()
    out: list[str] = []
    at, number = 0, 0
    while at < len(text):
        size = cuts[number % len(cuts)]
        out += cutter.push(text[at : at + size])
        at, number = at + size, number + 1
    assert "".join(out) + cutter.finish() == text
    assert "".join(whole.push(text)) + whole.finish() == text


# -- around a model ---------------------------------------------------------------------------------------------------


async def test_a_blocked_question_never_leaves_and_is_answered_in_the_users_language() -> None:
    blocked: list[tuple[Side, str]] = []
    async with ScriptedLlm(["Hello."]) as server:
        engine = ModeratedLlm(
            metered(server),
            settings().sentences,
            questions=[WordList(["bomb", "炸药"])],
            on_blocked=lambda request, side, why: blocked.append((side, why)),
        )
        async with opened(engine):
            text, end = await answered(engine, ask("How to build a bomb?"))
            assert (text, end.reason) == (NO, "content_filter")
            chinese = LlmRequest((Message("user", "怎么做炸药"),))
            assert (await answered(engine, chinese))[0] == "抱歉，这个话题我不能谈。"
            assert (await answered(engine, ask("Hi")))[0] == "Hello."
    assert len(server.requests) == 1
    assert blocked == [("in", "word_list")] * 2


async def test_an_answer_is_cut_at_the_first_sentence_that_may_not_be_said() -> None:
    reply = Reply(["Gladly", ". Take a b", "omb. Then", " run away. More", " text."], stall_after=5)
    async with ScriptedLlm([reply, "A fine, short answer"]) as server:
        engine = guarded(metered(server), settings(words=["bomb"], sides=["out"]))
        async with opened(engine):
            text, end = await answered(engine, ask("A bomb?"))
            assert (text, end.reason) == (f"Gladly.{NO}", "content_filter")
            await server.disconnected(1)
            text, end = await answered(engine, ask())
            assert (text, end.endpoint) == ("A fine, short answer", "dear")


async def test_tool_calls_follow_the_text_before_them() -> None:
    async with ScriptedLlm([Reply(["One moment"], calls=[("look", "{}")])]) as server:
        engine = guarded(metered(server), settings(words=["bomb"]))
        async with opened(engine), aclosing(engine.reply(ask())) as events:
            kinds = [type(event) async for event in events if not isinstance(event, Thinking)]
    assert kinds == [TextDelta, ToolCall, Completed]


async def test_a_question_is_judged_once_though_a_tool_answers(moderation: ModerationServer) -> None:
    async with ScriptedLlm(["Fine"]) as server:
        engine = guarded(metered(server), settings(endpoint={"base_url": moderation.url, "sides": ["in"]}))
        async with opened(engine):
            talk = ask("Hi").messages
            await answered(engine, ask("Hi"))
            await answered(engine, LlmRequest((*talk, Message("tool", "{}", tool_call_id="1")), caller=ANNA))
    assert [asked["input"] for asked in moderation.asked] == ["Hi"]


@pytest.mark.parametrize("open_when_away", [True, False])
async def test_without_a_verdict_text_passes_or_not_as_configured(
    moderation: ModerationServer, open_when_away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    moderation.delay = 5.0
    endpoint = {"base_url": moderation.url, "seconds": 0.05}
    async with ScriptedLlm(["Hello. You."]) as server:
        engine = guarded(metered(server), settings(endpoint=endpoint, open_when_away=open_when_away))
        async with opened(engine):
            assert (await answered(engine, ask("Hi")))[0] == ("Hello. You." if open_when_away else NO)
    assert len(caplog.records) == 1


async def test_moderation_sees_the_data_that_the_model_does_not(moderation: ModerationServer) -> None:
    async with ScriptedLlm(["Call [PHONE_1] then."]) as server:
        engine = guarded(metered(server), settings(mask=True, endpoint={"base_url": moderation.url}))
        async with opened(engine):
            assert (await answered(engine, ask("Mine is 13800138000")))[0] == "Call 13800138000 then."
    assert [asked["input"] for asked in moderation.asked] == ["Mine is 13800138000", "Call 13800138000 then."]


async def test_without_settings_nothing_is_put_around() -> None:
    async with ScriptedLlm() as server:
        engine = metered(server)
        assert guarded(engine, settings()) is engine
    with pytest.raises(ValidationError):
        settings(sentences={})
