"""`voiceagent chat` with lines of standard input, in a process of its own."""

from functools import partial
from pathlib import Path

import pytest

from tests.support.command import Command, in_process
from tests.support.llm.server import Reply, ScriptedLlm

AGENT = """
from voiceagent import Agent, tool

@tool
def opening_hours(day: str) -> str:
    "Tells when the bakery is open."
    return "closed"

agent = Agent("You answer for a bakery.", tools=[opening_hours])
"""
CALLS: list[Reply | str] = [Reply("", calls=[("opening_hours", '{"day": "Monday"}')]), "We are closed.", "Bye."]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs a command of `voiceagent` in the test's folder."""
    return partial(in_process, patch=monkeypatch, cwd=tmp_path)


async def test_chat_with_an_agent_shows_answers_and_calls(command: Command, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    async with ScriptedLlm(CALLS) as llm:
        env = {"OPENAI_BASE_URL": llm.base_url}
        run = await command("chat", "agent.py", env=env, stdin="Open on Monday?\n\nBye\n")
    assert run.code == 0, run.error
    call, answer, bye = run.out.splitlines()
    assert call.startswith('tool  opening_hours(day="Monday") -> closed (')
    assert (answer, bye) == ("agent We are closed.", "agent Bye.")


async def test_chat_without_arguments_takes_the_agent_of_the_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(AGENT, "utf-8")
    async with ScriptedLlm(["Hello."]) as llm:
        run = await command("chat", env={"OPENAI_BASE_URL": llm.base_url}, stdin="Hi\n")
        assert llm.requests[0].messages[0]["content"] == "You answer for a bakery."
    assert (run.code, run.out) == (0, "agent Hello.\n")


async def test_chat_with_a_configuration(command: Command, tmp_path: Path) -> None:
    async with ScriptedLlm(["Hello."]) as llm:
        config = tmp_path / "a.toml"
        config.write_text(
            f'[agent]\ninstructions = "Be kind."\n[llm]\nengine = "openai"\nbase_url = "{llm.base_url}"\nmodel = "m"\n'
        )
        run = await command("chat", "--config", str(config), stdin="Hi\n")
        assert llm.requests[0].messages[0]["content"] == "Be kind."
    assert (run.code, run.out) == (0, "agent Hello.\n")


async def test_chat_whose_model_fails_goes_on_and_ends_with_1(command: Command, tmp_path: Path) -> None:
    async with ScriptedLlm([Reply(status=401, error={}), "Hello."]) as llm:
        run = await command("chat", env={"OPENAI_BASE_URL": llm.base_url}, stdin="Hi\nHi\n")
    assert (run.code, run.out) == (1, "agent Hello.\n")
    assert run.error.startswith("error: ")


async def test_chat_with_an_agent_that_is_none_says_so(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "two.py").write_text("from voiceagent import Agent\na = Agent()\nb = Agent()\n")
    (tmp_path / "broken.py").write_text("import nosuchmodule\n")
    for arguments, told in (
        (("none.py",), "there is no file none.py"),
        (("empty.py",), "empty.py must define an Agent; it has none"),
        (("two.py",), "it has 2: name one, as in two.py:a"),
        (("two.py:c",), "two.py has no Agent named c"),
        (("broken.py",), "broken.py cannot be loaded: ModuleNotFoundError"),
        (("two.py:a", "--config", "x.toml"), "name either an agent or a configuration"),
    ):
        run = await command("chat", *arguments)
        assert run.code == 2
        assert told in run.error
        assert "Traceback" not in run.error
