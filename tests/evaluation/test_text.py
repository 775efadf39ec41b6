"""Text scenarios: what must come of a turn in writing, and the command that holds them."""

import json
from functools import partial
from pathlib import Path

import pytest

from tests.support.command import Command, in_process
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.agent.chat import ChatCall, ChatReply, ChatTimings
from voiceagent.errors import ConfigError
from voiceagent.evaluation.text import ExpectedCall, TextExpect, read, shortcomings

SCENARIO = """
name: monday
modality: text
turns:
  - say: Hello!
  - say: When are you open on Monday?
    expect:
      answer: [closed, Monday]
      not_answer: open
      calls: [{name: opening_hours, arguments: {day: monday}}]
"""
AGENT = """
from voiceagent import Agent, tool

@tool
def opening_hours(day: str) -> str:
    "Tells when the bakery is open."
    return "closed"

baker = Agent("You answer for a bakery.", tools=[opening_hours])
"""
ANSWERED = ChatReply(
    "We are closed on Monday.",
    (ChatCall("opening_hours", {"day": "Monday ", "week": 1, "tags": ["A"]}, "closed"),),
    ChatTimings(100, 900),
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command of `voiceagent` in the test's folder."""
    return partial(in_process, patch=monkeypatch, cwd=tmp_path)


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        (TextExpect(), []),
        (TextExpect(answer="CLOSED on"), []),
        (TextExpect(answer="open"), ["the answer does not say 'open'"]),
        (TextExpect(not_answer=["closed", "open"]), ["the answer says 'closed'"]),
        (TextExpect(calls=[ExpectedCall("opening_hours", {"day": "monday", "tags": ["a"]})]), []),
        (TextExpect(calls=[]), ["called opening_hours instead of nothing"]),
        (TextExpect(calls=[ExpectedCall("order")]), ["called opening_hours instead of order"]),
        (
            TextExpect(calls=[ExpectedCall("opening_hours", {"day": "Sunday", "week": True, "hour": 3})]),
            [
                "called opening_hours with day 'Monday ' instead of 'Sunday'",
                "called opening_hours with week 1 instead of True",
                "called opening_hours with hour None instead of 3",
            ],
        ),
        (TextExpect(max_response_ms=800), ["answered after 900 ms, more than 800"]),
    ],
)
def test_shortcomings_of_an_answer(expect: TextExpect, found: list[str]) -> None:
    assert shortcomings(ANSWERED, expect) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a\nmodality: text\nturns: []", "turns"),
        ("name: a\nmodality: text\nturns: [{say: Hi, expect: {cals: []}}]", "cals"),
        ("name: a\nmodality: text\nturns: [{say: Hi, meanwhile: []}]", "meanwhile"),
    ],
)
def test_wrong_file_says_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read(path)


def test_scenario_with_audio_is_none_in_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: a\nturns: [{say: Hi}]")
    assert read(path) is None


@pytest.mark.parametrize("right", [True, False])
async def test_command_holds_scenarios_and_shows_the_answer_where_it_fails(
    command: Command, tmp_path: Path, right: bool
) -> None:
    (tmp_path / "monday.yaml").write_text(SCENARIO)
    (tmp_path / "bakery.py").write_text(AGENT)
    call = Reply("", calls=[("opening_hours", '{"day": "Monday"}')])
    last = "Closed on Monday." if right else "We are open."
    async with ScriptedLlm(["Hello.", call, last]) as llm:
        env = {"OPENAI_BASE_URL": llm.base_url}
        arguments = ("eval", "monday.yaml", "--agent", "bakery.py", "--json", "out.json")
        run = await command(*arguments, env=env)
    result = json.loads((tmp_path / "out.json").read_text())
    assert run.code == (0 if right else 1), run.error
    assert result["passed"] is right
    assert [turn["answer"] for turn in result["text"][0]["turns"]] == ["Hello.", last]
    assert result["text"][0]["turns"][1]["calls"][0]["arguments"] == {"day": "Monday"}
    assert ("the answer was: We are open." in run.out) is not right


async def test_command_says_when_the_model_fails(command: Command, tmp_path: Path) -> None:
    (tmp_path / "monday.yaml").write_text(SCENARIO)
    async with ScriptedLlm([Reply(status=401, error={})]) as llm:
        run = await command("eval", "monday.yaml", env={"OPENAI_BASE_URL": llm.base_url})
    assert run.code == 1
    assert "monday: 'Hello!'" in run.out
