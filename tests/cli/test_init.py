"""`voiceagent init`: the folder it writes works as it is."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.command import ROOT, python, voiceagent
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.assets import ASSETS
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


@pytest.mark.parametrize("page", ["first-agent.md", "first-agent.zh.md"])
def test_tutorial_shows_what_init_writes(page: str) -> None:
    text = (ROOT / "docs" / "tutorial" / page).read_text("utf-8")
    blocks = dict(re.findall(r"```python title=\"(\w+\.py)\"\n(.*?)```", text, re.DOTALL))
    template = {path.name: path.read_text("utf-8") for path in (ASSETS / "template").glob("*.py")}
    without_docstring = template["agent.py"].split('"""\n\n', 1)[1]
    assert blocks["agent.py"] == without_docstring
    shown = [line.strip() for line in blocks["test_agent.py"].splitlines() if line.strip()]
    assert [line for line in shown if line not in template["test_agent.py"] and "import agent" not in line] == []
    extra = re.findall(r"```python\n( +assert .*?)```", text, re.DOTALL)[0]
    assert all(f"# {line.strip()}" in template["test_agent.py"] for line in extra.splitlines())
    commands = re.findall(r"^voiceagent .*$", text, re.MULTILINE)
    assert commands == [
        "voiceagent init bakery",
        "voiceagent chat",
        "voiceagent serve agent.py --open --reload",
        "voiceagent eval scenarios",
    ]
