"""Python functions as tools: what models are told of them, and what happens to every call."""

import asyncio
import dataclasses
import enum
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, JsonValue

from voiceagent.errors import ConfigError
from voiceagent.llm.base import Caller
from voiceagent.tools.base import ToolError, ToolPolicy
from voiceagent.tools.functions import FunctionTool, PythonSource, described, tool
from voiceagent.tools.settings import PolicySection, PythonSection
from voiceagent.tools.threads import MOST_WAITING, Threads
from voiceagent.tools.toolbox import Toolbox

ME = Caller(session="s1", user="anna", tenant="shop")


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Place:
    city: str
    zip_code: str = ""


class Guest(BaseModel):
    name: str = Field(description="The whole name.")
    age: int | None = None


def book(
    day: date,
    size: Size,
    place: Place,
    guests: list[Guest],
    extras: dict[str, int],
    kind: Literal["room", "suite"] = "room",
    price: float = 0.5,
    breakfast: bool = True,
    note: str | None = None,
    floor: Annotated[int, Field(ge=0, description="From the street up.")] = 1,
    caller: Caller | None = None,
) -> str:
    """Books a room.

    The hotel is small.

    Args:
        day (date): When.
        note: Anything else,
            in the guest's words.
        kind: 房间类型。

    Returns:
        A number.
    """
    assert isinstance(day, date)
    assert isinstance(size, Size)
    assert isinstance(place, Place)
    assert all(isinstance(guest, Guest) for guest in guests)
    assert caller == ME
    return f"{day} {size.value} {place.city} {guests[0].name} {extras} {kind} {price} {breakfast} {note} {floor}"


async def run(function: Callable[..., object], **arguments: JsonValue) -> str:
    threads = Threads(2, "test tool")
    try:
        return await FunctionTool(function, threads).call(arguments, ME)
    finally:
        threads.close()


def test_the_types_are_the_schema_and_the_docstring_the_description() -> None:
    spec = FunctionTool(book, Threads(1, "none")).spec
    assert (spec.name, spec.description) == ("book", "Books a room.\n\nThe hotel is small.")
    schema = spec.parameters
    assert schema is not None
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == [
        *("day", "size", "place", "guests", "extras", "kind", "price", "breakfast", "note", "floor")
    ]
    assert schema["required"] == ["day", "size", "place", "guests", "extras"]
    assert schema["additionalProperties"] is False
    assert properties["day"] == {"type": "string", "format": "date", "description": "When."}
    assert properties["kind"] == {
        "type": "string",
        "enum": ["room", "suite"],
        "default": "room",
        "description": "房间类型。",
    }
    assert properties["note"] == {
        "anyOf": [{"type": "string"}, {"type": "null"}],
        "default": None,
        "description": "Anything else, in the guest's words.",
    }
    assert properties["floor"] == {
        "type": "integer",
        "minimum": 0,
        "default": 1,
        "description": "From the street up.",
    }
    assert properties["guests"] == {"type": "array", "items": {"$ref": "#/$defs/Guest"}}
    assert '"name": {"description": "The whole name.", "type": "string"}' in json.dumps(schema["$defs"])


async def test_arguments_come_as_their_types() -> None:
    told = await run(
        book,
        day="2026-01-02",
        size="large",
        place={"city": "北京"},
        guests=[{"name": "Wáng"}],
        extras={"beds": 1},
        floor=3,
    )
    assert told == "2026-01-02 large 北京 Wáng {'beds': 1} room 0.5 True None 3"


def test_docstrings_in_other_forms() -> None:
    def sphinx(a: int, b: int) -> None:
        """Adds.

        :param a: The first,
            or so.
        :param int b: The second.
        :returns: The sum.
        """

    def chinese(city: str) -> None:
        """查询天气。

        参数：
            city：城市名。
        返回：
            天气。
        """

    def bare() -> None: ...

    def plain(a: int) -> None:
        """Adds: one and
        one."""

    assert described(sphinx) == ("Adds.", {"a": "The first, or so.", "b": "The second."})
    assert described(chinese) == ("查询天气。", {"city": "城市名。"})
    assert described(bare) == ("", {})
    assert described(plain) == ("Adds: one and\none.", {})


def test_names_that_models_of_pydantic_cannot_have() -> None:
    def odd(json: str, schema: int, _hidden: int, model_config: str, copy: bool = False) -> None: ...

    parameters = FunctionTool(odd, Threads(1, "none")).spec.parameters
    assert parameters is not None
    assert list(parameters["properties"]) == ["json", "schema", "_hidden", "model_config", "copy"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("as it is", "as it is"),
        (None, ""),
        (3, "3"),
        (True, "true"),
        ({"城市": ["北京", 1.5]}, '{"城市":["北京",1.5]}'),
        (Place("Bonn", "1"), '{"city":"Bonn","zip_code":"1"}'),
        (Guest(name="Anna"), '{"name":"Anna","age":null}'),
        (date(2026, 1, 2), '"2026-01-02"'),
        ((1, {2}), "[1,[2]]"),
    ],
)
async def test_results(result: object, told: str) -> None:
    async def later() -> object:
        return result

    assert await run(lambda: result) == told
    assert await run(later) == told


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("secret words"), "ValueError"),
        (ToolError("no such city"), "no such city"),
        (StopIteration("secret"), "RuntimeError"),  # which Python makes of it in a coroutine
        (SystemExit(3), "SystemExit"),
        (asyncio.CancelledError("secret"), "CancelledError"),
        (TimeoutError(), "TimeoutError"),
        (BaseExceptionGroup("secret", [KeyError("secret")]), "ExceptionGroup"),
    ],
)
async def test_what_is_raised_is_told_by_its_class_only(
    raised: BaseException, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    def now() -> None:
        raise raised

    async def later() -> None:
        raise raised

    with pytest.raises(ToolError, match=f"^{told}$"):
        await run(now)
    with pytest.raises(ToolError, match=f"^{told}$"):
        await run(later)
    assert "secret" not in caplog.text


async def test_a_result_that_is_no_json_is_an_error() -> None:
    with pytest.raises(ToolError, match=r"^PydanticSerializationError$"):
        await run(object)
    with pytest.raises(ToolError, match=r"^PydanticSerializationError$"):
        await run(lambda: {"a": object()})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "count: Field required"),
        ({"count": "many"}, "count: Input should be a valid integer"),
        ({"count": 1, "colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"count": 1, "caller": {"user": "eve"}}, "caller: Extra inputs are not permitted"),
        ({"p0": 1}, "count: Field required"),
    ],
)
async def test_wrong_arguments_are_told_to_the_model(arguments: dict[str, JsonValue], told: str) -> None:
    async def order(count: int, caller: Caller) -> str:
        return f"{count} for {caller.user}"

    assert await run(order, count="3") == "3 for anna"
    with pytest.raises(ToolError, match=r"^wrong arguments: ") as raised:
        await run(order, **arguments)
    assert told in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


async def anything(
    place: Place | None = None,
    guests: tuple[Guest, ...] = (),
    kind: Literal["a", "b"] | int | None = None,
    floor: float = 1,
    extras: dict[str, list[int]] | None = None,
) -> dict[str, object]:
    return {"place": place, "guests": guests, "kind": kind, "floor": floor, "extras": extras}


ANYTHING = FunctionTool(anything, Threads(1, "none"))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["day", "size", "place", "guests", "extras", "kind", "floor", "caller", "", "self", "p0"]), JSON
    )
)
async def test_any_arguments_give_a_result_or_a_tool_error(arguments: dict[str, JsonValue]) -> None:
    with suppress(ToolError):
        assert isinstance(await ANYTHING.call(arguments, ME), str)


# -- threads ----------------------------------------------------------------------------------------------------------


async def test_twenty_calls_at_once_on_a_few_threads() -> None:
    most, now, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return number

    threads = Threads(4, "test tool")
    working = FunctionTool(work, threads)
    results = await asyncio.gather(*(Toolbox().run(working, f'{{"number": {n}}}', ME) for n in range(20)))
    threads.close()
    assert results == [str(number) for number in range(20)]
    assert 1 < most <= 4


async def test_functions_that_hang_cost_their_callers_the_deadline_and_nobody_else() -> None:
    release, begun = threading.Event(), 0

    def hang() -> None:
        nonlocal begun
        begun += 1
        release.wait(30)

    async def fine() -> str:
        return "fine"

    threads = Threads(2, "test tool")
    hanging = FunctionTool(hang, threads, policy=ToolPolicy(deadline_seconds=0.2))
    results = await asyncio.gather(*(Toolbox().run(hanging, "{}", ME) for _ in range(5)))
    assert {str(result) for result in results} == {"error: no answer within 0.2 s"}
    assert await FunctionTool(fine, threads).call({}, ME) == "fine"
    assert begun == 2
    release.set()
    assert await FunctionTool(lambda: "again", threads, name="again").call({}, ME) == "again"
    assert begun == 2  # those given up before they began never ran
    threads.close()


async def test_work_without_end_is_refused() -> None:
    release = threading.Event()
    threads = Threads(1, "test tool")
    hanging = FunctionTool(lambda: release.wait(30), threads, name="hang")
    calls = [asyncio.create_task(hanging.call({}, ME)) for _ in range(MOST_WAITING + 50)]
    try:
        done, _ = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(ToolError, match="too many calls"):
            done.pop().result()
    finally:
        release.set()
        threads.close()
        await asyncio.gather(*calls, return_exceptions=True)
    with pytest.raises(ToolError):
        await hanging.call({}, ME)


@pytest.mark.looptime
async def test_an_async_function_is_cancelled_at_its_deadline() -> None:
    ended = 0.0

    @tool(deadline_seconds=7)
    async def slow() -> str:
        nonlocal ended
        try:
            await asyncio.sleep(60)
        finally:
            ended = asyncio.get_running_loop().time()
        return "late"

    start = asyncio.get_running_loop().time()
    assert str(await Toolbox().run(FunctionTool(slow, Threads(1, "none")), "{}", ME)) == "error: no answer within 7 s"
    assert ended - start == pytest.approx(7)


# -- modules ----------------------------------------------------------------------------------------------------------

MODULE = '''
from __future__ import annotations
from dataclasses import dataclass
from voiceagent.tools.functions import tool

@dataclass
class Pizza:
    name: str

@tool(deadline_seconds=3, on_interrupt="keep", confirm=True, filler_ms=100)
def order(pizza: Pizza, count: int = 1) -> str:
    """Orders pizza."""
    return f"{count} {pizza.name}"

@tool
async def menu() -> list[str]:
    """Tells the menu."""
    return ["margherita"]

@tool(name="bill", description="Brings the bill.")
def make_bill() -> None: ...

def unmarked(x: int) -> int:
    return x
'''


MARKED = "from voiceagent.tools.functions import tool\n@tool(name='a')\n"


async def opened(section: PythonSection) -> PythonSource:
    source = PythonSource(section)
    try:
        await source.open()
    finally:
        await source.close()
    return source


async def test_the_marked_functions_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pizzeria.py"
    path.write_text(MODULE, "utf-8")
    source = PythonSource(PythonSection(module=str(path), policies={"menu": PolicySection(filler_ms=0)}))
    box = Toolbox([source])
    await box.open()
    try:
        assert [spec.name for spec in box.specs()] == ["order", "menu", "bill"]
        order, menu, bill = source.tools()
        assert order.policy == ToolPolicy(3, "keep", 100, True)
        assert menu.policy == ToolPolicy(filler_ms=0)
        assert bill.spec.description == "Brings the bill."
        assert await box.run(order, '{"pizza": {"name": "funghi"}}', ME) == "1 funghi"
        assert await box.run(menu, "", ME) == '["margherita"]'
        assert await box.run(bill, "", ME) == ""
    finally:
        await box.close()


async def test_named_functions_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pizzeria_by_name.py").write_text(MODULE, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    policy = PolicySection(deadline_seconds=1)
    source = await opened(
        PythonSection(module="pizzeria_by_name", functions=("unmarked", "order"), prefix="p_", policy=policy)
    )
    assert [tool.spec.name for tool in source.tools()] == ["p_unmarked", "p_order"]
    assert source.tools()[0].policy == ToolPolicy(deadline_seconds=1)
    assert source.tools()[1].policy == ToolPolicy(1, "keep", 100, True)


@pytest.mark.parametrize(
    ("text", "section", "told"),
    [
        (MODULE, {"functions": ("nosuch",)}, "there is no function nosuch"),
        (MODULE, {"policies": {"oder": PolicySection(confirm=True)}}, "policies: there is no tool oder"),
        (f"{MARKED}def f(): ...\n{MARKED}def g(): ...", {}, "two tools are named a"),
        ("x = 1", {}, "mark its functions with @tool"),
        ("raise ValueError('secret')", {}, "it cannot be loaded: ValueError at"),
        ("def broken(:", {}, "it cannot be loaded: SyntaxError"),
        ("import nosuch_package", {}, "it needs the module nosuch_package"),
        ("raise SystemExit", {}, "it cannot be loaded: SystemExit"),
        ("def f(x): ...", {"functions": ("f",)}, "the parameter x has no type"),
        ("def f(*x: int): ...", {"functions": ("f",)}, "a model cannot give *x: int"),
        ("def f(x: 'Nope'): ...", {"functions": ("f",)}, "the types of f cannot be read: NameError"),
        (
            "import threading\ndef f(x: threading.Event): ...",
            {"functions": ("f",)},
            "the parameters of f cannot be told",
        ),
    ],
)
async def test_modules_that_cannot_be_used(tmp_path: Path, text: str, section: dict[str, object], told: str) -> None:
    path = tmp_path / "tools_of_mine.py"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as raised:
        await opened(PythonSection.model_validate({"module": str(path), **section}))
    assert told in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("module", ["nosuch_module", "nosuch.module", "/nosuch/file.py"])
async def test_modules_that_are_not_there(module: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no (module|file)"):
        await opened(PythonSection(module=module))
