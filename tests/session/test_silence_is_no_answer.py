"""Answers without a word to say, in virtual time: one is asked for once more, and then apologised for."""

import pytest

from tests.support.session.bench import Answer, bench
from tests.support.session.tools import PlainTool, box, call
from voiceagent.llm.base import Completed, ToolCall
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import FunctionOutput
from voiceagent.session.options import SessionOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

CUT_OFF = ToolCall("c1", "a", '{"city": "Par')
EMPTY = (
    Answer("😀"),
    Answer("..."),
    Answer("***"),
    Answer("\n"),
    Answer("。"),
    Answer("```\ncode\n```"),
    Answer("", thoughts=("Hm.",)),
    Answer("", end=Completed("length")),
    Answer("", calls=(CUT_OFF,), end=Completed("length")),
    Answer("…", calls=(CUT_OFF,), end=Completed("length")),
    Answer("", end=Completed("content_filter")),
)


@pytest.mark.parametrize("empty", EMPTY, ids=lambda answer: f"{answer.text!r} {answer.end.reason}")
async def test_an_answer_without_a_word_is_asked_for_once_more(empty: Answer) -> None:
    async with bench(empty, "Here I am.", toolbox=box(tool := PlainTool("a"))) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, client.text().strip()) == ("completed", "Here I am.")
        assert len(client.model.requests) == 2
        assert client.model.prompt(0) == client.model.prompt(1)
        assert not tool.calls
        await client.until(ev.ResponsePlayed)
        assert len(client.of(ev.ResponseStarted)) == 1


@pytest.mark.parametrize("empty", EMPTY, ids=lambda answer: f"{answer.text!r} {answer.end.reason}")
async def test_a_second_one_is_apologised_for(empty: Answer) -> None:
    async with bench(empty, toolbox=box(PlainTool("a"))) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone)
        assert (done.status, done.error_code) == ("failed", "llm_empty")
        assert len(client.audio())
        assert client.text() == "Sorry."
        assert len(client.model.requests) == 2


async def test_usage_is_that_of_both() -> None:
    async with bench(Answer("😀"), "Here I am.") as client:
        await client.turn()
        usage = (await client.until(ev.ResponseDone)).usage
        assert (usage.input_tokens, usage.output_tokens) == (14, 6)


async def test_an_emoji_is_an_answer_to_a_reader() -> None:
    async with bench("😀", options=SessionOptions(modality="text")) as client:
        await client.turn()
        assert (await client.until(ev.ResponseDone)).status == "completed"
        assert len(client.model.requests) == 1


@pytest.mark.parametrize("empty", [Answer(""), Answer("😀"), Answer("\n", end=Completed("length"))])
async def test_after_words_and_a_call_nothing_need_follow(empty: Answer) -> None:
    answers = Answer("I switch it on.", calls=(call("a"),)), empty
    async with bench(*answers, toolbox=box(PlainTool("a"))) as client:
        await client.turn()
        done = await client.until(ev.ResponseDone, 2)
        assert done.status == ("completed" if empty.end == Answer("").end else "incomplete")
        assert (done.item.text.strip() if done.item else "") == empty.text.strip()
        assert len(client.model.requests) == 2
        assert len(client.audio(1)) == 0


async def test_after_a_silent_call_something_must_follow() -> None:
    answers = Answer("", calls=(call("a"),)), "😀", "It is on."
    async with bench(*answers, toolbox=box(PlainTool("a"))) as client:
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert client.text(1).strip() == "It is on."


async def test_after_words_and_a_call_of_the_clients_nothing_need_follow() -> None:
    spec = PlainTool("a").spec
    answers = Answer("I switch it on.", calls=(call("a"),)), "…"
    async with bench(*answers, options=SessionOptions(tools=(spec,))) as client:
        await client.turn()
        called = await client.until(ev.ToolCalled)
        await client.until(ev.ResponsePlayed)
        client.ask(cmd.CreateItem(FunctionOutput("out", called.call.call_id, "done")))
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone, 2)
        assert (done.status, done.error_code) == ("completed", None)
        assert len(client.audio(1)) == 0
