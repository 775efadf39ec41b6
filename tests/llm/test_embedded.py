"""EmbeddedLlm: the real model, through its own server."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from voiceagent.errors import ConfigError, EngineError
from voiceagent.llm.base import INSTRUCTIONS, LLM_ENGINES, Completed, LlmRequest, Message, TextDelta
from voiceagent.llm.embedded import EmbeddedLlm, EmbeddedLlmOptions
from voiceagent.llm.slots import Slots
from voiceagent.models.store import ModelStore

SYSTEM = Message("system", INSTRUCTIONS)
STORY = (SYSTEM, Message("user", "Tell me a story about a dragon."))


@pytest.fixture(scope="module")
def llm(models: ModelStore) -> Iterator[EmbeddedLlm]:
    """One engine for all tests, each of which has a loop of its own."""
    engine = EmbeddedLlm(EmbeddedLlmOptions(), models)
    asyncio.run(engine.open())
    yield engine
    asyncio.run(engine.close())


async def answer(llm: EmbeddedLlm, messages: Sequence[Message], max_tokens: int | None = None) -> tuple[str, Completed]:
    *deltas, completed = [event async for event in llm.reply(LlmRequest(tuple(messages), max_tokens))]
    assert isinstance(completed, Completed)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), completed


async def say(llm: EmbeddedLlm, talk: list[Message], text: str) -> tuple[str, Completed]:
    talk.append(Message("user", text))
    words, completed = await answer(llm, talk)
    talk.append(Message("assistant", words))
    return words, completed


@pytest.mark.real
async def test_a_talk_with_an_interruption_and_a_question_that_refers_back(llm: EmbeddedLlm) -> None:
    talk = [SYSTEM]
    assert "Anna" in (await say(llm, talk, "Hello, my name is Anna."))[0]
    story, _ = await say(llm, talk, "Tell me a story about a dragon.")
    assert len(story.split()) > 60
    talk[-1] = Message("assistant", " ".join(story.split()[:12]))  # what was heard of it
    assert "Paris" in (await say(llm, talk, "Sorry, what is the capital of France?"))[0]
    assert "Anna" in (await say(llm, talk, "What is my name?"))[0]


@pytest.mark.real
async def test_talks_at_the_same_time_keep_what_was_read(llm: EmbeddedLlm) -> None:
    talks = {name: [SYSTEM] for name in ("Tom", "Maria", "Sophie")}
    for name, talk in talks.items():
        await say(llm, talk, f"Hello, my name is {name}.")
    for text in ("What is the capital of Japan?", "What do bees make?"):
        for talk in talks.values():
            _, completed = await say(llm, talk, text)
            assert completed.cached_tokens > completed.input_tokens - 40
            assert completed.output_tokens > 0


@pytest.mark.real
async def test_the_first_turn_finds_the_instructions_read_in_every_slot(llm: EmbeddedLlm, models: ModelStore) -> None:
    asked = [answer(llm, (SYSTEM, Message("user", f"What is {n} and {n}?")), max_tokens=3) for n in range(4)]
    for _, completed in await asyncio.gather(*asked):
        assert completed.cached_tokens > completed.input_tokens - 40


@pytest.mark.real
async def test_a_closed_answer_frees_its_slot(llm: EmbeddedLlm) -> None:
    """Were they not freed, the last answer would wait for 4 × 1500 tokens."""

    async def begin() -> None:
        async with aclosing(llm.reply(LlmRequest(STORY, max_tokens=1500))) as events:
            assert isinstance(await anext(events), TextDelta)

    async with asyncio.timeout(15):
        await asyncio.gather(*(begin() for _ in range(4)))
        assert (await answer(llm, STORY, max_tokens=2))[1].output_tokens == 2


@pytest.mark.real
async def test_more_talks_than_slots_wait_their_turn(llm: EmbeddedLlm) -> None:
    asked = [answer(llm, (SYSTEM, Message("user", f"What is {n} and {n}?")), max_tokens=2) for n in range(10)]
    assert all(text for text, _ in await asyncio.gather(*asked))


@pytest.mark.real
async def test_a_context_without_room_for_a_talk_is_refused(models: ModelStore) -> None:
    engine = EmbeddedLlm(EmbeddedLlmOptions(context=512, parallel=1, max_tokens=500, examples=()), models)
    with pytest.raises(ConfigError, match="context"):
        await engine.open()


@pytest.mark.real
async def test_it_is_silent_and_closes_in_the_middle_of_an_answer(
    models: ModelStore, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = EmbeddedLlm(EmbeddedLlmOptions(parallel=1, context=1024, examples=()), models)
    await engine.open()
    stream = engine.reply(LlmRequest(STORY, max_tokens=900))
    assert isinstance(await anext(stream), TextDelta)
    async with asyncio.timeout(10):
        await engine.close()
    with pytest.raises(EngineError):
        assert [event async for event in stream]
    with pytest.raises(EngineError):
        await answer(engine, STORY)
    assert capfd.readouterr() == ("", "")


@pytest.mark.real
async def test_any_gguf_file_will_do_and_a_talk_longer_than_the_context_is_refused(models: ModelStore) -> None:
    (path,) = models.path("smollm2-135m-instruct").glob("*.gguf")
    engine = EmbeddedLlm(EmbeddedLlmOptions(model=str(path), parallel=1, context=512), models)
    await engine.open()
    assert 200 < engine.talk_tokens < 512, "the default model's examples are not another's"
    _, completed = await answer(engine, STORY, max_tokens=4)
    assert completed.reason == "length"
    with pytest.raises(EngineError, match="exceed_context_size") as caught:
        await answer(engine, (SYSTEM, Message("user", "hello " * 600)))
    assert caught.value.code == "context_length"
    await engine.close()


async def test_a_missing_or_broken_model_is_told_with_the_mend(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and no more")
    for model, mend in {
        str(tmp_path / "absent.gguf"): "there is no file",
        str(broken): "cannot be loaded",
        "smollm2-135m-instruct": "fetch",
    }.items():
        engine = EmbeddedLlm(EmbeddedLlmOptions(model=model), ModelStore(tmp_path))
        with pytest.raises(ConfigError, match=mend):
            await engine.open()
        await engine.close()


def test_it_is_found_by_name(tmp_path: Path) -> None:
    assert isinstance(
        LLM_ENGINES.make("[llm]", {"engine": "embedded", "parallel": 2}, ModelStore(tmp_path)), EmbeddedLlm
    )
    with pytest.raises(ConfigError, match="parallel"):
        LLM_ENGINES.make("[llm]", {"engine": "embedded", "parallel": 0}, ModelStore(tmp_path))


def test_a_talk_stays_in_its_slot() -> None:
    slots = Slots(2)

    def take(*texts: str) -> int | None:
        roles = ("system", "user", "assistant", "user", "assistant", "user")
        with slots.taken([Message(role, text) for role, text in zip(roles, texts, strict=False)]) as slot:  # type: ignore[arg-type]
            return slot

    assert take("Be kind.", "I am Anna.") == 0
    assert take("Be kind.", "I am Tom.") == 1
    assert take("Be kind.", "I am Anna.", "Hello Anna.", "How are you?") == 0
    assert take("Be kind.", "I am Tom.", "Hello", "What is the time?") == 1
    assert take("Be kind.", "Hello Anna.", "Hi.") == 0
    assert take("Be kind.", "I am Tom.", "Hello", "What is the time?") == 1


def test_a_busy_slot_is_not_given_twice() -> None:
    slots = Slots(2)
    with slots.taken([Message("user", "one")]) as first, slots.taken([Message("user", "two")]) as second:
        assert {first, second} == {0, 1}
        with slots.taken([Message("user", "three")]) as third:
            assert third is None
    with slots.taken([Message("user", "four")]) as fourth:
        assert fourth == 0
