"""The configured tools: in the settings, on the command line, and spoken of over the Realtime socket."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak
from tests.support.wire_client import client_of
from voiceagent.cli.main import app
from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller
from voiceagent.settings import load
from voiceagent.tools.base import ToolPolicy
from voiceagent.tools.build import make_sources, make_toolbox
from voiceagent.tools.settings import PolicySection, ToolsSection

ROOT = Path(__file__).parents[2]
TOOLS = '''
from voiceagent.llm.base import Caller
from voiceagent.tools.functions import tool

@tool(filler_ms=0)
async def weather(city: str, caller: Caller) -> str:
    """Tells the weather."""
    return f"It rains in {city}."

@tool(confirm=True, deadline_seconds=3)
def order(count: int) -> None:
    """Orders pizza.
    At once."""
'''


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "tools_of_mine.py").write_text(TOOLS, "utf-8")
    path = tmp_path / "agent.toml"
    path.write_text(
        f"""
[[tools.python]]
module = {json.dumps(str(tmp_path / "tools_of_mine.py"))}
policies.order.filler_ms = 0

[[tools.webhook]]
name = "ring"
description = "Rings the bell."
url = "http://127.0.0.1:9/ring"
secret = "s3cret"
policy.on_interrupt = "keep"
parameters.properties.times.type = "integer"
""",
        "utf-8",
    )
    return path


@pytest.fixture
def plain_logging() -> Iterator[None]:
    """The command line quietens other people's loggers."""
    names = ("mcp", "client")
    before = [logging.getLogger(name).level for name in names]
    yield
    for name, level in zip(names, before, strict=True):
        logging.getLogger(name).setLevel(level)


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["tools", *arguments, "--config", str(config)], env={"COLUMNS": "200"})


def test_the_settings(config: Path) -> None:
    tools = load(config).tools
    assert [source.label for source in make_sources(tools)] == [str(config.parent / "tools_of_mine.py"), "127.0.0.1"]
    assert "s3cret" not in repr(tools)
    assert tools.webhook[0].policy.over(ToolPolicy(filler_ms=1)) == ToolPolicy(on_interrupt="keep", filler_ms=1)
    assert not make_toolbox(ToolsSection())
    assert PolicySection().over(ToolPolicy(confirm=True)) == ToolPolicy(confirm=True)


async def test_two_tools_of_one_name(config: Path) -> None:
    tools = load(config).tools
    box = make_toolbox(tools.model_copy(update={"python": tools.python * 2}))
    with pytest.raises(ConfigError, match="two tools are named 'weather'"):
        await box.open()
    await box.close()


async def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "guides" / "python" / "tools.md").read_text("utf-8")
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "pizzeria.py"
    path.write_text(python, "utf-8")
    box = make_toolbox(ToolsSection.model_validate({"python": [{"module": str(path)}]}))
    await box.open()
    try:
        assert [spec.name for spec in box.specs()] == ["menu", "order"]
        order = box.find("order")
        assert order is not None
        told = await box.run(order, '{"pizza": "funghi", "count": 2}', Caller(user="anna"))
        assert told == '{"pizza":"funghi","count":2,"minutes":20}'
        assert "at most ten" in str(await box.run(order, '{"pizza": "funghi", "count": 11}', Caller(user="anna")))
    finally:
        await box.close()


def test_the_package_is_loaded_at_the_start_for_the_servers_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r"\[tools\] client_mcp needs the package mcp"):
        asyncio.run(make_toolbox(ToolsSection(client_mcp=True)).open())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tools]\nthreads = 0", "tools.threads"),
        ("[[tools.mcp]]\nname = 'a'", "give either command or url"),
        ("[[tools.webhook]]\nname = 'a'\ndescription = 'A.'\nurl = 'nowhere'", "tools.webhook.0.url"),
        ("[[tools.python]]\nmodule = 'nosuch_module'", "there is no module nosuch_module"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, told: str, plain_logging: None) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text, "utf-8")
    result = run(path, "list")
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_list(config: Path, plain_logging: None) -> None:
    result = run(config, "list")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["weather", "15", "s", "cancel", "none", "no", "Tells", "the", "weather."] in [
        [word for word in words if "/" not in word] for words in lines
    ]
    assert ["ring", "127.0.0.1", "15", "s", "keep", "after", "700", "ms", "no", "Rings", "the", "bell."] in lines
    empty = config.parent / "empty.toml"
    empty.write_text("", "utf-8")
    assert "There are no tools" in run(empty, "list").stdout


def test_a_server_that_is_away_is_told(tmp_path: Path, plain_logging: None) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("[[tools.mcp]]\nname = 'gone'\nurl = 'http://127.0.0.1:9/mcp'", "utf-8")
    result = run(path, "list")
    assert result.exit_code == 1
    assert "The MCP server gone is not connected." in result.stderr


def test_a_call(config: Path, plain_logging: None) -> None:
    result = run(config, "call", "weather", '{"city": "北京"}')
    assert (result.exit_code, result.stdout) == (0, "It rains in 北京.\n")
    wrong = run(config, "call", "weather", "{}")
    assert (wrong.exit_code, wrong.stdout) == (1, "error: wrong arguments: city: Field required\n")
    unknown = run(config, "call", "nosuch")
    assert unknown.exit_code == 1
    assert "there is no tool nosuch" in unknown.stderr


def test_a_function_that_hangs_does_not_keep_the_process(config: Path) -> None:
    (config.parent / "tools_of_mine.py").write_text(
        "import time\nfrom voiceagent.tools.functions import tool\n"
        "@tool(deadline_seconds=0.1)\ndef order() -> None:\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "voiceagent", "tools", "call", "order", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "error: no answer within 0.1 s\n")


@pytest.mark.real
async def test_an_agent_calls_a_tool_and_speaks_of_the_result(
    config: Path, tmp_path: Path, engines_for: EnginesFor, speak: Speak
) -> None:
    """From the user's voice to the agent's, with functions of a file and a real MCP server."""
    settings = load(config)
    mcp = {
        "name": "calc",
        "command": sys.executable,
        "cwd": ROOT,
        "args": ("-m", "tests.support.tools_mcp_server", "stdio", str(tmp_path / "log")),
    }
    both = ToolsSection.model_validate({"python": settings.tools.python, "mcp": [mcp]})
    settings = settings.model_copy(update={"tools": both})
    calls = [("weather", '{"city": "Bonn"}'), ("calc_add", '{"a": 1, "b": 2}')]
    script: list[Reply | str] = [Reply("Let me look.", calls=calls), "It rains in Bonn, and it is three."]
    async with (
        ScriptedLlm(script) as llm,
        running(settings, engines_for(llm.base_url)) as (_, url),
        client_of(url) as client,
    ):
        await client.turn(speak("What is the weather in Bonn?"))
        await client.until("response.done", 2)
        said = [event["transcript"] for event in client.of("response.output_audio_transcript.done")]
        assert said == ["Let me look.", "It rains in Bonn, and it is three."]
        assert len(client.of("response.output_audio.delta")) > 2
    first, second = llm.requests
    offered = {tool["function"]["name"] for tool in first.body["tools"]}  # type: ignore[attr-defined]
    assert {"weather", "order", "calc_add", "calc_slow"} <= offered
    results = {message["tool_call_id"]: message["content"] for message in second.messages if message["role"] == "tool"}
    assert sorted(results.values()) == ["3", "It rains in Bonn."]
    await asyncio.get_running_loop().shutdown_default_executor()
