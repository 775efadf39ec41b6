"""The toolbox: every call comes to an end and to a text, whatever the tool does."""

import asyncio

import pytest

from tests.support.session.tools import PlainSource, PlainTool, box
from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller
from voiceagent.tools.base import ToolError, ToolPolicy
from voiceagent.tools.toolbox import RESULT_CHARS, Failed, Toolbox

pytestmark = pytest.mark.looptime

ME = Caller(session="s", user="u", tenant="t")


async def run(tool: PlainTool, arguments: str = "{}") -> str:
    return str(await Toolbox().run(tool, arguments, ME))


async def test_a_tool_is_called_with_its_arguments_and_its_caller() -> None:
    tool = PlainTool("add", "3")
    assert await run(tool, '{"a": 1, "b": [2]}') == "3"
    assert tool.calls == [{"a": 1, "b": [2]}]
    assert tool.callers == [ME]
    assert await run(tool, "") == "3"
    assert tool.calls[-1] == {}


@pytest.mark.parametrize("arguments", ["[]", "1", '"x"', "null", "{", '{"a": }', "nan" * 9, "[" * 100_000])
async def test_arguments_that_are_no_object_never_reach_the_tool(arguments: str) -> None:
    tool = PlainTool("add")
    assert await run(tool, arguments) == "error: the arguments are not a JSON object"
    assert not tool.calls


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ToolError("no such city"), "error: no such city"),
        (ValueError("secret words"), "error: the tool broke"),
        (SystemExit(3), "error: the tool broke"),
        (asyncio.CancelledError(), "error: the tool broke"),
        (TimeoutError(), "error: the tool broke"),
        (BaseExceptionGroup("many", [GeneratorExit()]), "error: the tool broke"),
        (RecursionError(), "error: the tool broke"),
    ],
)
async def test_whatever_a_tool_raises_becomes_a_text(
    raised: BaseException, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await run(PlainTool("odd", raised)) == told
    assert "secret" not in caplog.text
    assert "odd" in caplog.text


async def test_a_tool_has_its_deadline() -> None:
    tool = PlainTool("slow", seconds=60, policy=ToolPolicy(deadline_seconds=2))
    start = asyncio.get_running_loop().time()
    assert await run(tool) == "error: no answer within 2 s"
    assert asyncio.get_running_loop().time() - start == pytest.approx(2)
    assert tool.cancelled == 1


async def test_a_tool_that_cannot_be_cancelled_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    tool = PlainTool("stubborn", seconds=60, policy=ToolPolicy(deadline_seconds=2), stubborn=30)
    toolbox = box(tool)
    await toolbox.open()
    start = asyncio.get_running_loop().time()
    assert str(await toolbox.run(tool, "{}", ME)) == "error: no answer within 2 s"
    assert asyncio.get_running_loop().time() - start == pytest.approx(3)
    assert "does not end" in caplog.text
    await toolbox.close()  # it is ended again, and given a second
    assert asyncio.get_running_loop().time() - start <= 4
    await asyncio.sleep(30)


async def test_cancelling_a_call_ends_its_work() -> None:
    tool = PlainTool("slow", seconds=60)
    calling = asyncio.create_task(Toolbox().run(tool, "{}", ME))
    await asyncio.sleep(1)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert tool.cancelled == 1


async def test_a_long_result_is_cut() -> None:
    result = await run(PlainTool("long", "x" * 10**6))
    assert RESULT_CHARS < len(result) < RESULT_CHARS + 20
    assert result.endswith("(cut)")


async def test_failed_and_done_are_told_apart() -> None:
    assert isinstance(await Toolbox().run(PlainTool("a", ToolError("x")), "{}", ME), Failed)
    assert await Toolbox().run(PlainTool("a", "error: really"), "{}", ME) == "error: really"


async def test_names_are_unique() -> None:
    toolbox = Toolbox([PlainSource(PlainTool("a")), PlainSource(PlainTool("b"), PlainTool("a"))])
    with pytest.raises(ConfigError, match="'a'"):
        await toolbox.open()
    await toolbox.close()
    with pytest.raises(ConfigError, match="letters"):
        await box(PlainTool("has a blank")).open()


async def test_a_name_taken_later_is_left_out_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second = PlainTool("a", "first"), PlainTool("a", "second")
    late = PlainSource()
    toolbox = Toolbox([PlainSource(first), late])
    await toolbox.open()
    late.offered = (second, PlainTool("b"))
    for _ in range(3):
        assert [spec.name for spec in toolbox.specs()] == ["a", "b"]
    assert toolbox.find("a") is first
    assert toolbox.find("c") is None
    assert [spec.name for spec in toolbox.specs(without=["a"])] == ["b"]
    assert caplog.text.count("cannot be offered") == 1
    await toolbox.close()


async def test_sources_are_opened_and_closed() -> None:
    good, bad = PlainSource(PlainTool("a")), PlainSource(failure=ConfigError("no such server"))
    toolbox = Toolbox([good, bad])
    with pytest.raises(ConfigError, match="no such server"):
        await toolbox.open()
    bad.failure = ValueError("a bug")
    with pytest.raises(ExceptionGroup):
        await toolbox.open()
    assert bool(toolbox)
    assert not Toolbox()
