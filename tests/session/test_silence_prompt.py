"""The prompt of a talk with tools in it: whatever the items and the budget, endpoints accept it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.session.test_tools import legal
from voiceagent.llm.base import Message, ToolCall
from voiceagent.session.conversation import AnyItem, FunctionCall, FunctionOutput, Item, Part
from voiceagent.session.prompt import PENDING, build_messages, fill, messages, prompt_tokens, unknown_names

TEXT = st.text("你好 ab1.?", max_size=40) | st.just("word " * 100)
CALL_IDS = st.sampled_from(["c1", "c2", "c3", ""])


def items(kinds: list[tuple[str, str, str]]) -> list[AnyItem]:
    made: list[AnyItem] = []
    for number, (kind, text, call_id) in enumerate(kinds):
        match kind:
            case "call":
                made.append(FunctionCall(f"i{number}", call_id, "tool", text))
            case "output":
                made.append(FunctionOutput(f"i{number}", call_id, text))
            case "assistant":
                made.append(Item(f"i{number}", "assistant", (Part("audio", text),)))
            case _:
                made.append(Item(f"i{number}", "user", (Part("audio", text),)))
    return made


ITEMS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "call", "output", "call", "output"]), TEXT, CALL_IDS), max_size=25
).map(items)


@given(ITEMS, st.integers(1, 10), st.integers(64, 600))
def test_every_call_has_its_result_and_the_budget_holds(
    talk: list[AnyItem], turn_limit: int, token_budget: int
) -> None:
    told = messages(talk)
    legal(tuple(told))
    prompt = build_messages("Be brief.", (), told, turn_limit=turn_limit, token_budget=token_budget)
    legal(prompt)
    assert prompt_tokens(prompt[1:]) <= token_budget
    assert all(message.content.strip() or message.tool_calls for message in prompt if message.role != "tool")
    for before, message in pairwise(prompt):
        assert before.role != message.role or message.role in ("tool", "assistant")


def said(role: str, text: str) -> Item:
    return Item(text, role, (Part("text", text),))  # type: ignore[arg-type]


def test_a_result_stands_behind_its_call_wherever_it_came() -> None:
    talk: list[AnyItem] = [
        said("user", "Book it."),
        FunctionCall("f1", "c1", "book", "{}"),
        FunctionCall("f2", "c2", "look", "{}"),
        FunctionOutput("o2", "c2", "looked"),
        FunctionCall("f3", "c3", "wait", "{}"),
        said("user", "And?"),
        FunctionOutput("o1", "c1", "booked"),
    ]
    assert messages(talk) == [
        Message("user", "Book it."),
        Message("assistant", "", (ToolCall("c1", "book", "{}"), ToolCall("c2", "look", "{}"))),
        Message("tool", "booked", (), "c1"),
        Message("tool", "looked", (), "c2"),
        Message("assistant", "", (ToolCall("c3", "wait", "{}"),)),
        Message("tool", PENDING, (), "c3"),
        Message("user", "And?"),
    ]


def test_words_before_a_call_are_one_message_with_it() -> None:
    talk: list[AnyItem] = [said("user", "Book."), said("assistant", "I will."), FunctionCall("f1", "c1", "book", "{}")]
    prompt = build_messages("", (), messages(talk), turn_limit=5, token_budget=500)
    assert prompt[1:] == (
        Message("assistant", "I will.", (ToolCall("c1", "book", "{}"),)),
        Message("tool", PENDING, (), "c1"),
    )


def test_words_that_were_never_answered_are_one_message_with_the_next() -> None:
    talk: list[AnyItem] = [said("user", "I want"), said("assistant", ""), said("user", "a taxi."), said("user", "Now.")]
    assert build_messages("", (), messages(talk), turn_limit=5, token_budget=500) == (
        Message("user", "I want\na taxi.\nNow."),
    )


def test_of_a_turn_too_long_the_oldest_calls_go_first_and_whole() -> None:
    talk: list[AnyItem] = [said("user", "Look everywhere.")]
    for number in range(20):
        talk.append(FunctionCall(f"f{number}", f"c{number}", "look", f'{{"at": "place number {number}"}}'))
        talk.append(FunctionOutput(f"o{number}", f"c{number}", f"nothing at {number} " * 20))
    prompt = build_messages("", (), messages(talk), turn_limit=5, token_budget=200)
    assert prompt[0] == Message("user", "Look everywhere.")
    assert prompt[-1].tool_call_id == "c19"
    assert 3 <= len(prompt) < 41
    legal(prompt)
    huge: list[AnyItem] = [FunctionCall("f", "c", "look", "x" * 9000), FunctionOutput("o", "c", "y")]
    assert build_messages("", (), messages(huge), turn_limit=5, token_budget=100) == ()


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("Hello {{name}}!", "Hello Ann!"),
        ("{{ name }}{{x}}{{ y.z }}", "Ann1"),
        ("{name} {{}} {{a b}} {{{name}}}", "{name} {{}} {{a b}} {Ann}"),
        ("{{姓名}}", "安"),
    ],
)
def test_filling(template: str, filled: str) -> None:
    assert fill(template, {"name": "Ann", "x": "1", "姓名": "安"}) == filled


def test_names_nothing_fills() -> None:
    assert unknown_names("{{a}} {{b}} {{ b }}", {"a": ""}) == {"b"}
