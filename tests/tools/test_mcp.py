"""Tools of real MCP servers: a process of ours, and streamable HTTP on loopback."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.tools_mcp_server import http_server
from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller
from voiceagent.tools.base import ToolPolicy
from voiceagent.tools.mcp.names import offered
from voiceagent.tools.mcp.source import McpSource
from voiceagent.tools.settings import McpSection, ToolsSection
from voiceagent.tools.toolbox import NAME, Toolbox

ROOT = Path(__file__).parents[2]
ME = Caller(session="s1")
NAMES = {
    *("t_add", "t_slow", "t_refuse", "t_delete", "t_picture", "t_words", "t_crash", "t_learn"),
    *("t_weather_now", "t_tool_bcd6771e"),
}
Run = Callable[..., Awaitable[str]]


def process(log: Path, **section: object) -> McpSection:
    arguments = ("-m", "tests.support.tools_mcp_server", "stdio", str(log))
    given = {"name": "t", "command": sys.executable, "args": arguments, "cwd": ROOT, "retry_seconds": 0.05}
    return McpSection.model_validate(given | section)


@asynccontextmanager
async def opened(section: McpSection) -> AsyncIterator[tuple[McpSource, Run]]:
    """The source and a function that calls a tool and gives what the model is told."""
    source = McpSource(section, wait_seconds=10)
    box = Toolbox([source])
    await box.open()

    async def run(name: str, arguments: str = "{}") -> str:
        tool = box.find(name)
        assert tool is not None, name
        return str(await box.run(tool, arguments, ME))

    try:
        yield source, run
    finally:
        await box.close()


@asynccontextmanager
async def either(way: str, log: Path, **section: object) -> AsyncIterator[tuple[McpSource, Run]]:
    """A server that is reached this way: the kind of connection, and the protocol."""
    kind, mode = way.split()
    if kind == "process":
        async with opened(process(log, mode=mode, **section)) as both:
            yield both
        return
    async with http_server(log) as (url, _):
        given = {"name": "t", "url": url, "mode": mode, "retry_seconds": 0.05}
        async with opened(McpSection.model_validate(given | section)) as both:
            yield both


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["process auto", "process legacy", "http auto", "http legacy"])
async def test_a_server(way: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    policies = {"slow": {"deadline_seconds": 0.3}}
    async with either(way, log, policy={"filler_ms": 50}, policies=policies) as (source, run):
        tools = {tool.spec.name: tool for tool in source.tools()}
        assert set(tools) == NAMES
        assert tools["t_add"].spec.description == "Adds two numbers."
        schema = tools["t_add"].spec.parameters
        assert schema is not None
        assert schema["required"] == ["a", "b"]
        assert tools["t_add"].policy == ToolPolicy(filler_ms=50)
        assert tools["t_slow"].policy == ToolPolicy(0.3, filler_ms=50)
        assert tools["t_delete"].policy.confirm  # the server itself calls it destructive
        # results
        assert await run("t_add", '{"a": 1, "b": 2}') == "3"
        assert await run("t_weather_now", '{"city": "北京"}') == "北京: 晴"
        assert await run("t_tool_bcd6771e") == "三"
        assert await run("t_picture") == "[image, image/png]"
        assert (await run("t_words", '{"count": 9000}')).endswith("word  … (cut)")
        assert "the shop is closed" in await run("t_refuse")
        assert (await run("t_add", '{"a": "x"}')).startswith("error: ")
        assert (await run("t_add", '{"a": [], "b": {"c": null}, "d": 1e300}')).startswith("error: ")
        # many at once
        calls = [run("t_add", f'{{"a": {number}, "b": 0}}') for number in range(20)]
        assert await asyncio.gather(*calls) == [str(number) for number in range(20)]
        # a call that takes too long is cancelled at the server
        assert await run("t_slow", '{"seconds": 60}') == "error: no answer within 0.3 s"
        await until(lambda: log.read_text() == "slow began\nslow cancelled\n")
        # the list changes
        assert await run("t_learn", '{"name": "more"}') == "learnt"
        await until(lambda: {tool.spec.name for tool in source.tools()} == NAMES | {"t_more"})
        assert await run("t_more", '{"a": 2, "b": 2}') == "4"


async def test_a_process_that_dies_is_started_anew(tmp_path: Path) -> None:
    async with opened(process(tmp_path / "log")) as (source, run):
        results = await asyncio.gather(run("t_slow", '{"seconds": 60}'), run("t_crash"))
        assert set(results) == {"error: the connection to the server t was lost"}
        assert await run("t_add", '{"a": 1, "b": 2}') == "error: the server t is not connected"
        assert {tool.spec.name for tool in source.tools()} == NAMES  # they stay on offer
        await until(lambda: source.connected)
        assert await run("t_add", '{"a": 1, "b": 2}') == "3"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_server_by_http_that_goes_and_comes_back(tmp_path: Path, mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    section = McpSection.model_validate(
        {"name": "t", "url": f"http://127.0.0.1:{port}/mcp", "mode": mode, "retry_seconds": 0.05}
    )
    async with opened(section) as (source, run):
        assert source.tools() == ()  # it is not there yet: the start goes on
        async with http_server(tmp_path / "log", port=port):
            await until(lambda: source.connected)
            assert await run("t_add", '{"a": 1, "b": 2}') == "3"
        lost = await run("t_add", '{"a": 1, "b": 2}')
        assert lost in ("error: the connection to the server t was lost", "error: the server t is not connected")
        async with http_server(tmp_path / "log", port=port):
            await until(lambda: source.connected)
            assert await run("t_add", '{"a": 1, "b": 2}') == "3"


async def test_a_server_that_is_restarted_unseen(tmp_path: Path) -> None:
    """The connection seems whole, but the server does not know the session any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with http_server(tmp_path / "log", port=port) as (url, _):
        section = McpSection.model_validate({"name": "t", "url": url, "mode": "legacy", "retry_seconds": 0.05})
        source = McpSource(section)
        await source.open()
    async with http_server(tmp_path / "log", port=port):
        box = Toolbox([source])
        add = box.find("t_add")
        assert add is not None
        assert str(await box.run(add, '{"a": 1, "b": 2}', ME)) == "error: the connection to the server t was lost"
        await until(lambda: source.connected)
        assert await box.run(add, '{"a": 1, "b": 2}', ME) == "3"
        await source.close()


async def test_a_process_that_hangs_holds_up_nobody_and_is_killed(tmp_path: Path) -> None:
    stubborn = process(tmp_path / "log", args=("-m", "tests.support.tools_mcp_server", "stubborn"), connect_seconds=0.5)
    source = McpSource(stubborn, wait_seconds=0.2)
    await source.open()
    assert source.tools() == ()
    assert not source.connected
    children = psutil.Process().children()
    assert children
    await source.close()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


async def test_an_end_in_the_middle_of_everything(tmp_path: Path) -> None:
    async with opened(process(tmp_path / "log")) as (_, run):
        calls = asyncio.gather(*(run("t_slow", '{"seconds": 60}') for _ in range(5)))
        await until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().count("began") == 5)
    assert all(result.startswith("error: ") for result in await calls)
    assert not psutil.Process().children(recursive=True)


async def test_the_environment_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_TO_PASS", "t0ken")
    monkeypatch.setenv("SECRET_TO_KEEP", "s3cret")
    program = "import os, sys; print(sorted(os.environ), file=sys.stderr)"
    errors = tmp_path / "errors"
    section = McpSection.model_validate(
        {
            "name": "t",
            "command": sys.executable,
            "args": ("-c", program),
            "log_file": errors,
            "env": {"MORE": "m0re"},
            "inherit": ("TOKEN_TO_PASS",),
            "retry_seconds": 60,
        }
    )
    async with opened(section) as (source, _):
        assert not source.connected
    names = errors.read_text()
    assert "'MORE'" in names
    assert "'TOKEN_TO_PASS'" in names
    assert "SECRET_TO_KEEP" not in names
    assert "m0re" not in repr(section)


async def test_only_the_tools_that_are_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = {"allowed": ("add", "delete", "nosuch"), "prefix": "", "policies": {"delete": {"confirm": False}}}
    async with either("http auto", tmp_path / "log", **given) as (source, run):
        assert [tool.spec.name for tool in source.tools()] == ["add", "delete"]
        assert not source.tools()[1].policy.confirm
        assert await run("add", '{"a": 1, "b": 2}') == "3"
    assert "it has no tool 'nosuch'" in caplog.text


async def test_headers_and_words_stay_out_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "voiceagent")
    async with http_server(tmp_path / "log") as (url, seen):
        section = McpSection.model_validate({"name": "t", "url": url, "headers": {"Authorization": "Bearer s3cret"}})
        async with opened(section) as (_, run):
            assert await run("t_weather_now", '{"city": "Bonn"}') == "Bonn: 晴"
    assert all(headers["authorization"] == "Bearer s3cret" for headers in seen)
    assert "MCP server t: connected" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("voiceagent")]
    assert not [line for line in ours if "s3cret" in line or "Bonn" in line]


async def test_a_server_that_speaks_nonsense(tmp_path: Path) -> None:
    """Whatever comes by HTTP, the source goes on; it is not connected."""

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = os.urandom(300)
        with_length = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        await reader.readuntil(b"\r\n\r\n")
        writer.write(with_length.encode() + body)
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    async with (
        server,
        opened(McpSection.model_validate({"name": "t", "url": url, "retry_seconds": 0.05})) as (source, _),
    ):
        await asyncio.sleep(0.3)
        assert not source.connected
        assert source.tools() == ()


async def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(
        ConfigError, match=re.escape("[tools] mcp t needs the package mcp: pip install 'voiceagent[mcp]'")
    ):
        await McpSource(McpSection(name="t", command="server")).open()


async def test_a_variable_that_is_not_set() -> None:
    with pytest.raises(ConfigError, match="the environment has no NOSUCH_VARIABLE"):
        await McpSource(McpSection(name="t", command="server", inherit=("NOSUCH_VARIABLE",))).open()


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"command": "a", "url": "http://h/"},
        {"command": "a", "headers": {"X": "y"}},
        {"url": "http://h/", "args": ["x"]},
        {"url": "h"},
        {"command": "a", "name": "two words"},
        {"command": "a", "prefix": "é"},
    ],
)
def test_what_cannot_be_configured(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        McpSection.model_validate({"name": "t", **section})


def test_two_servers_of_one_name() -> None:
    with pytest.raises(ValidationError, match="two MCP servers have one name"):
        ToolsSection.model_validate({"mcp": [{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]})


# -- names ------------------------------------------------------------------------------------------------------------


def test_names() -> None:
    names = offered(["add", "a.b", "a_b", "查", "x" * 80], "s_", taken={"s_add"})
    assert names["s_a_b"] == "a_b"
    assert "s_add" not in names
    assert set(names.values()) == {"add", "a.b", "a_b", "查", "x" * 80}
    assert offered(["a.b"]) == {"a_b": "a.b"}


@given(st.lists(st.text(min_size=1, max_size=100), max_size=20), st.sampled_from(["", "s_", "x" * 32]), st.randoms())
def test_any_names_become_names_that_endpoints_take(names: list[str], prefix: str, random: object) -> None:
    found = offered(names, prefix)
    assert all(NAME.fullmatch(name) for name in found)
    assert set(found.values()) == set(names)
    assert offered(reversed(names), prefix) == found  # whatever the order
