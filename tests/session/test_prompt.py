"""The prompt that is built from a talk."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.llm.base import Message
from voiceagent.memory.base import Entry
from voiceagent.session.prompt import build_messages, estimate_tokens, prompt_tokens, shorten

INSTRUCTIONS = "Answer briefly. 请简短回答。"
TEXT = st.text(max_size=60) | st.text("我们你好吗 ab1.?!\n…", max_size=400) | st.just("word " * 300)
MESSAGES = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "user", "assistant", "system"]), TEXT))
ENTRIES = st.lists(st.builds(Entry, st.text(max_size=5), st.sampled_from(["user", "assistant"]), TEXT, st.just(0.0)))


def user(text: str) -> Message:
    return Message("user", text)


def agent(text: str) -> Message:
    return Message("assistant", text)


def talk(turns: int) -> list[Message]:
    return [message for n in range(turns) for message in (user(f"Question {n:03}?"), agent(f"Answer {n:03}."))]


@given(MESSAGES, ENTRIES, st.integers(1, 30), st.integers(64, 600))
def test_whatever_was_said_the_prompt_is_well_formed_and_within_the_budget(
    turns: list[Message], earlier: list[Entry], turn_limit: int, token_budget: int
) -> None:
    prompt = build_messages(INSTRUCTIONS, earlier, turns, turn_limit=turn_limit, token_budget=token_budget)
    assert prompt_tokens(prompt) - estimate_tokens(INSTRUCTIONS) <= token_budget
    assert prompt[0].role == "system"
    assert prompt[0].content.startswith(INSTRUCTIONS)
    assert all(message.content.strip() for message in prompt)
    said = prompt[1:]
    assert all(one.role != next_.role for one, next_ in pairwise(said))
    newest = [message.content for message in turns if message.role == "user" and message.content.strip()]
    if newest:
        assert any(message.role == "user" and newest[-1][:1].strip() in message.content for message in said)
    assert prompt == build_messages(INSTRUCTIONS, earlier, turns, turn_limit=turn_limit, token_budget=token_budget)


@given(st.lists(st.integers(1, 120), min_size=1, max_size=60), st.integers(1, 25), st.integers(64, 2000))
def test_the_latest_turns_are_kept_whole_as_far_as_the_budget_goes(
    lengths: list[int], turn_limit: int, token_budget: int
) -> None:
    turns = [user("x" * length) if n % 2 == 0 else agent("y" * length) for n, length in enumerate(lengths)]
    said = list(build_messages("", (), turns, turn_limit=turn_limit, token_budget=token_budget))
    said = said[1:] if said[0].role == "system" else said
    kept = sum(message.role == "user" for message in said)
    if kept > 1:
        assert said[1:] == turns[len(turns) - len(said) + 1 :]
        assert said[0].content.endswith(turns[-len(said)].content)
    total = (len(lengths) + 1) // 2
    longest = 2 * 34  # tokens of the longest turn of this test
    if prompt_tokens(turns[-2 * min(turn_limit, total) :]) < token_budget * 0.6 - longest:
        assert kept >= min(turn_limit, total)
    assert kept <= turn_limit + max(1, turn_limit // 4)


def test_a_short_talk_is_all_there_and_only_grows() -> None:
    turns = talk(20)
    for count in range(1, len(turns)):
        before = build_messages(INSTRUCTIONS, (), turns[:count], turn_limit=20, token_budget=3000)
        after = build_messages(INSTRUCTIONS, (), turns[: count + 1], turn_limit=20, token_budget=3000)
        assert after[: len(before)] == before
        assert len(after) == count + 2


@pytest.mark.parametrize("token_budget", [300, 3000])
def test_the_prefix_changes_seldom(token_budget: int) -> None:
    turns = talk(100)
    prompts = [
        build_messages(INSTRUCTIONS, (), turns[:count], turn_limit=20, token_budget=token_budget)
        for count in range(1, len(turns), 2)
    ]
    changes = sum(after[: len(before)] != before for before, after in pairwise(prompts))
    assert changes <= 30
    assert len(prompts[-1]) >= (10 if token_budget == 300 else 40)


def test_what_fell_out_is_summed_up_in_the_users_own_words() -> None:
    turns = [
        user("Hello. My name is Anna. How are you?"),
        agent("Hello Anna."),
        user("我住在北京。今天天气好吗?"),
        *talk(40),
    ]
    system, oldest, *_ = build_messages(INSTRUCTIONS, (), turns, turn_limit=8, token_budget=1000)
    assert system.content == INSTRUCTIONS
    assert "My name is Anna." in oldest.content
    assert "我住在北京。" in oldest.content
    assert "How are you" not in oldest.content
    assert "Hello Anna." not in oldest.content
    assert oldest.content.endswith("\nQuestion 031?")
    assert estimate_tokens(oldest.content) < 1000 // 8 + 10


def test_earlier_talks_come_with_the_instructions_newest_kept() -> None:
    earlier = [Entry(str(n), "user" if n % 2 == 0 else "assistant", f"Said\n{n}", float(n)) for n in range(100)]
    system = build_messages(INSTRUCTIONS, earlier, [user("Hi")], turn_limit=20, token_budget=400)[0].content
    assert "Assistant: Said 99" in system
    assert "User: Said 0" not in system.splitlines()
    assert system.index("Said 98") < system.index("Said 99")
    assert estimate_tokens(system) <= 100 + estimate_tokens(INSTRUCTIONS) + 1


def test_the_newest_turn_alone_over_the_budget_loses_its_middle() -> None:
    text = "First, " + "blah " * 2000 + "and what is my name?"
    said = build_messages("", (), [*talk(3), user(text)], turn_limit=20, token_budget=100)[-1].content
    assert said.startswith("First, blah")
    assert " … " in said
    assert said.endswith("and what is my name?")


def test_unheard_answers_leave_no_trace() -> None:
    turns = [user("One"), agent(""), user("Two"), agent(" \n"), user("Three")]
    assert build_messages("", (), turns, turn_limit=20, token_budget=100) == (user("One\nTwo\nThree"),)


def test_without_anything_there_is_nothing() -> None:
    assert build_messages("", (), [], turn_limit=20, token_budget=100) == ()
    assert build_messages("Be kind.", (), [], turn_limit=20, token_budget=100) == (Message("system", "Be kind."),)
    with pytest.raises(ValueError, match="64"):
        build_messages("", (), [], turn_limit=20, token_budget=63)


@given(st.text(max_size=200) | st.text("🏽é👩‍🚀e\u0301\ud83d\ude00你a ", max_size=100), st.integers(1, 40))
def test_shortening_splits_no_character(text: str, tokens: int) -> None:
    short = shorten(text, tokens)
    assert estimate_tokens(short) <= max(tokens, estimate_tokens(text) if short == text else 0)
    if short != text:
        head, _, tail = short.partition("…")
        assert not unicodedata.category(tail.strip()[:1] or "a").startswith("M")
        assert text.strip().startswith(head.strip()) or "…" in text
        following = text[len(head.rstrip()) :][:1]
        assert not (
            head.rstrip()[-1:] >= "\ud800" and head.rstrip()[-1:] <= "\udbff" and "\udc00" <= following <= "\udfff"
        )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("Hello there", 3), ("你好,世界", 5), ("2024", 2), ("привет", 3), ("🙂", 2), ("a\ud83d", 2)],
)
def test_token_estimates(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
