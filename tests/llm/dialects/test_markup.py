"""What models write into their text that nobody should hear, whole and in any split."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.llm.vendors import HI, VENDORS, Vendor, events, talking
from tests.support.llm.wires import Reply
from voiceagent.llm.base import Completed, LlmRequest, TextDelta, Thinking, ToolCall
from voiceagent.llm.dialects.markup import Habits, MarkupFilter

CALL = ("weather", {"city": "Oslo"})
JSON = '{"name": "weather", "arguments": {"city": "Oslo"}}'
HARMONY = (
    "<|channel|>analysis<|message|>Weather.<|end|><|start|>assistant<|channel|>final<|message|>It is fine.<|return|>"
)
DEEPSEEK = (
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
    '{"city": "Oslo"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
KIMI = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>"
    '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>'
)


def filtered(pieces: list[str], habits: Habits | None = None) -> tuple[str, str, list[tuple[str, object]]]:
    """What is spoken, what is thought, and the calls."""
    found = MarkupFilter(habits)
    parts = [*map(found.push, pieces), found.finish()]
    calls = [(call.name, json.loads(call.arguments)) for call in found.calls]
    return "".join(part.spoken for part in parts), "".join(part.thought for part in parts), calls


THOUGHTS = {
    "<think>hm</think>Fine.": "Fine.",
    "<thinking>hm</thinking>\n\nFine.": "Fine.",
    "<thought>hm</thought>Fine.": "Fine.",
    "<reasoning>hm</reasoning>\nFine.": "Fine.",
    "<THINK>hm</THINK>Fine.": "Fine.",
    '<thinking effort="low">hm</thinking>Fine.': "Fine.",
    "<seed:think>hm</seed:think>Fine.": "Fine.",
    "[THINK]hm[/THINK]Fine.": "Fine.",
    "◁think▷hm◁/think▷Fine.": "Fine.",
    "<|begin_of_thought|>hm<|end_of_thought|>Fine.": "Fine.",
    "<think>hm</think><answer>Fine.</answer>": "Fine.",
    "<think>hm": "",
    "Well. <thinking>hm</thinking> Fine.": "Well. Fine.",
    HARMONY: "It is fine.",
    "<|channel|>final<|message|>It is fine.": "It is fine.",
    "analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Fine.": "Fine.",
    "analysisThe weather.assistantfinalFine.": "Fine.",
    "<|channel>thought\nhm<channel|>Fine.": "Fine.",
    "<|start_header_id|>assistant<|end_header_id|>\n\nFine.<|eot_id|>": "Fine.",
}
MARKS = {
    "Fine.<|im_end|>": "Fine.",
    "<|im_start|>assistant\nFine.<|im_end|>\n<|im_start|>user\nAnd now?": "Fine.",
    "Fine.<|eot_id|>": "Fine.",
    "Fine.<|endoftext|>": "Fine.",
    "Fine.</s>": "Fine.",
    "<s>Fine.": "Fine.",
    "Fine.<end_of_turn>": "Fine.",
    "<start_of_turn>model\nFine.<end_of_turn>": "Fine.",
    "Fine.<｜end▁of▁sentence｜>": "Fine.",
    "Fine.[/INST]": "Fine.",
    "Fine.<tool_response>made up</tool_response>": "Fine.",
}
PLAIN = (
    "a <b and c> d",
    "2 < 3 and 4 > 3",
    "I think <3 is a heart.",
    "See [1] and [link](x).",
    "[laughs] Fine.",
    '{"a": 1} is JSON.',
    '{"name": "Ann"} is a person.',
    "Use `x` here.",
    "```python\nprint(1)\n```\nDone.",
    '```json\n{"city": "Oslo"}\n```\nDone.',
    "The user manual is here.",
    "Okay, it is fine.",
    "use <td> and <i>",
    "<",
    "end <",
    "",
)
CALLS = (
    f"<tool_call>\n{JSON}\n</tool_call>",
    f"<tool_call>{JSON}",
    f"<tool_calls><tool_call>{JSON}</tool_call></tool_calls>",
    f"<function_call>{JSON}</function_call>",
    '<function=weather>{"city": "Oslo"}</function>',
    "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
    '<function_calls><invoke name="weather"><parameter name="city">Oslo</parameter></invoke></function_calls>',
    "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>",
    f"```json\n{JSON}\n```",
    f"```tool_call\n{JSON}\n```",
    '```tool_code\nprint(weather(city="Oslo"))\n```',
    f"```\n{JSON}\n```",
    f"```xml\n<tool_call>\n{JSON}\n</tool_call>\n```",
    JSON,
    '{"name": "weather", "parameters": {"city": "Oslo"}}',
    '[{"name": "weather", "arguments": {"city": "Oslo"}}]',
    '{"type": "function", "function": {"name": "weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}}',
    '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "Oslo"}}]',
    '[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}',
    '<|python_tag|>{"name": "weather", "parameters": {"city": "Oslo"}}<|eom_id|>',
    f"<|tool_call|>{JSON}<|/tool_call|>",
    DEEPSEEK,
    KIMI,
    '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "Oslo"}<|call|>',
    '<|start|>assistant<|channel|>commentary to=functions.weather<|message|>{"city": "Oslo"}',
)


@pytest.mark.parametrize(("text", "spoken"), [*THOUGHTS.items(), *MARKS.items(), *((text, text) for text in PLAIN)])
def test_marks_are_left_out_and_all_else_stays(text: str, spoken: str) -> None:
    for pieces in ([text], list(text)):
        assert filtered(pieces)[::2] == (spoken, [])


@pytest.mark.parametrize("text", CALLS)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("Let me see. ", "")])
def test_calls_written_as_text_are_read(text: str, before: str, after: str) -> None:
    if before and text[0] in "{[" and not text.startswith("[TOOL"):
        pytest.skip("bare JSON is a call only where it is all of the answer")
    for pieces in ([before + text + after], list(before + text + after)):
        spoken, thought, calls = filtered(pieces)
        assert (spoken.strip(), thought, calls) == (before.strip(), "", [CALL])


@given(text=st.sampled_from([*THOUGHTS, *MARKS, *PLAIN, *CALLS]), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_every_split_gives_the_same(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    assert filtered([text[start:end] for start, end in itertools.pairwise(edges)]) == filtered([text])


@given(
    st.lists(
        st.sampled_from(
            ["<think>", "<tool_call>", "{", "}", '"name": "weather"', "</tool_call>", "<|im_end|>", "<|channel|>",
             "```", "final", "<|message|>", "[TOOL_CALLS]", "\n", "Fine.", "<", "|>", "</s>", "json"]
        ),
        max_size=14,
    )
)  # fmt: skip
def test_whatever_a_model_writes_is_read_to_its_end(parts: list[str]) -> None:
    spoken, *_ = filtered(parts)
    assert not {"<think>", "<tool_call>", "<|im_end|>", "<|channel|>"} & {spoken}


def test_text_goes_on_at_once_where_nothing_can_become_of_it() -> None:
    found = MarkupFilter()
    assert found.push("Fine") == ("Fine", "")
    assert found.push(" <") == (" ", "")
    assert found.push("b>") == ("<b>", "")
    assert found.push(" 1 [") == (" 1 ", "")
    assert found.push("x]") == ("[x]", "")


def test_thoughts_without_their_opening_are_known_from_the_first_answer_on() -> None:
    habits = Habits()
    assert filtered(["It rains", " there.", "</think>", "\n\nFine."], habits)[0] == "It rains there.Fine."
    assert filtered(["It rains", " there.", "</think>", "\n\nFine."], habits)[:2] == ("Fine.", "It rains there.")
    assert filtered(["Fine", " today."], habits)[:2] == ("Fine today.", "")  # said at its end, and no longer waited for
    found = MarkupFilter(habits)
    assert found.push("Fine") == ("Fine", "")


@pytest.mark.parametrize(
    "text",
    [
        "Okay, the user greets me. I answer.</think>Fine.",
        "The user says hi.\n</think>\n\nFine.",
        "好的，用户在打招呼。</think>Fine.",
        "Hmm, the user wants it.</thinking>Fine.",
    ],
)
def test_a_beginning_that_speaks_of_the_user_waits_for_its_end(text: str) -> None:
    assert filtered(list(text))[0] == "Fine."


def test_a_thought_in_one_piece_with_its_end_is_not_spoken() -> None:
    assert filtered(["It rains.</think>Fine."])[:2] == ("Fine.", "It rains.")


def test_thoughts_in_a_field_of_their_own_leave_the_text_alone() -> None:
    found = MarkupFilter(Habits(begins_in_thought=True))
    found.thought_apart()
    assert found.push("Fine.") == ("Fine.", "")


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.mark.parametrize("text", CALLS)
async def test_a_written_call_is_made_in_every_dialect(vendor: Vendor, text: str) -> None:
    async with talking(vendor, [Reply(list(text))]) as (llm, _):
        found = await events(llm)
    assert [event for event in found if isinstance(event, ToolCall)] == [
        ToolCall("call", "weather", '{"city": "Oslo"}')
    ]
    assert not [event for event in found if isinstance(event, TextDelta) and event.text.strip()]
    assert isinstance(end := found[-1], Completed)
    assert end.reason == "tool_calls"


@pytest.mark.parametrize(
    "text",
    ["<tool_call>{JSON</tool_call>", "```tool_call\noops\n```", JSON.replace("weather", "other"), "<tool_call>{"],
)
async def test_a_written_call_of_nothing_that_exists_is_left_out(vendor: Vendor, text: str) -> None:
    async with talking(vendor, [Reply(["Well. ", *text]), Reply(list(text))]) as (llm, _):
        found = await events(llm)
        assert [event for event in found if isinstance(event, ToolCall)] == []
        if text[0] != "{":
            assert [event for event in found if isinstance(event, TextDelta)] == [TextDelta("Well. ")]
        assert not [event for event in await events(llm) if isinstance(event, TextDelta | ToolCall)]


@pytest.mark.parametrize(
    "request_", [LlmRequest(HI.messages), LlmRequest(HI.messages, tools=HI.tools, tool_choice="none")]
)
async def test_a_written_call_needs_a_tool_on_offer(vendor: Vendor, request_: LlmRequest) -> None:
    async with talking(vendor, [Reply(["Well. ", f"<tool_call>{JSON}</tool_call>"])]) as (llm, _):
        found = await events(llm, request_)
    assert [event for event in found if not isinstance(event, Completed)] == [TextDelta("Well. ")]


async def test_a_call_that_is_also_made_is_not_made_twice(vendor: Vendor) -> None:
    reply = Reply([f"<tool_call>{JSON}</tool_call>"], calls=[("weather", '{"city":"Oslo"}')])
    async with talking(vendor, [reply]) as (llm, _):
        assert len([event for event in await events(llm) if isinstance(event, ToolCall)]) == 1


async def test_thoughts_are_not_spoken_in_any_dialect(vendor: Vendor) -> None:
    script = [Reply(list(text)) for text in (*THOUGHTS, *MARKS)]
    async with talking(vendor, script) as (llm, _):
        for spoken in (*THOUGHTS.values(), *MARKS.values()):
            found = await events(llm)
            assert "".join(event.text for event in found if isinstance(event, TextDelta)) == spoken
            assert all(not isinstance(event, Thinking) or "Fine" not in event.text for event in found)
