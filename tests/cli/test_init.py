"""`voiceagent init`: the folder it writes works as it is."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.command import python, voiceagent
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.cli.main import app

FILES = ("README.md", "agent.py", "agent.toml", "scenarios/opening-hours.yaml", "test_agent.py")


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_init_writes_a_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "bakery")])
    assert result.exit_code == 0, result.output
    assert files_below(tmp_path / "bakery") == sorted(FILES)


@pytest.mark.parametrize("there", ["agent.toml", "scenarios/opening-hours.yaml"])
def test_init_overwrites_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / there).write_text("mine")
    result = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert result.exit_code == 2
    assert "would be overwritten" in result.output
    assert files_below(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "mine"


async def test_what_init_writes_works_as_written(tmp_path: Path) -> None:
    folder = tmp_path / "bakery"
    call = Reply("", calls=[("opening_hours", '{"day": "monday"}')])

    def answer(messages: list[dict[str, str]]) -> Reply | str:
        return call if "Monday" in messages[-1]["content"] else "We are closed on that day."

    async with ScriptedLlm(answer) as llm:
        env = {"OPENAI_BASE_URL": llm.base_url}
        assert (await voiceagent("init", "bakery", cwd=tmp_path)).code == 0
        test = await python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder, env=env)
        assert test.code == 0, test.out
        assert "2 passed" in test.out
        scenario = folder / "scenarios" / "opening-hours.yaml"
        scenario.write_text(scenario.read_text().replace("# calls", "calls").replace("# answer", "answer"))
        held = await voiceagent("eval", "scenarios", cwd=folder, env=env)
        assert held.code == 0, held.error + held.out
        chat = await voiceagent("chat", cwd=folder, env=env, stdin="Open on Monday?\n")
        assert chat.out.splitlines()[-1] == "agent We are closed on that day."
        check = await voiceagent("config", "check", "agent.toml", cwd=folder)
        assert check.code == 0, check.out + check.error
