"""What fails in a session, in virtual time: one line in the log, one event with its reason, whatever the stage."""

import logging

import pytest

from tests.support.session.bench import Answer, Bench, bench
from tests.support.session.tools import PlainTool, box, call
from voiceagent.errors import EngineError
from voiceagent.memory.base import Entry
from voiceagent.server.metrics import Metrics
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import Item, Part
from voiceagent.settings import Settings
from voiceagent.tools.base import ToolError, ToolPolicy
from voiceagent.turn.options import TurnSection

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)


def refused() -> EngineError:
    error = EngineError("llm", "bad_request", "the language model refuses the request: HTTP 404 (model_not_found)")
    error.endpoint = "near"
    return error


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def counted(client: Bench) -> dict[str, float]:
    metrics = Metrics()
    for event in client.events:
        metrics.observe(event)
    errors = metrics.text()[0].decode().splitlines()
    rows = (line.split() for line in errors if line.startswith("voiceagent_errors_total{"))
    return {name.split('"')[1]: float(number) for name, number in rows}


@pytest.mark.parametrize("speculations", [0, 3])
async def test_a_wrong_model_name_is_one_line(caplog: pytest.LogCaptureFixture, speculations: int) -> None:
    settings = Settings(turn=TurnSection(speculations=speculations))
    async with bench(Answer("", calls=(call("x"),), end=refused()), settings=settings) as client:
        await client.turn()
        await client.until(ev.StageFailed)
        await client.until(ev.ResponsePlayed)
        said = "the language model refuses the request: HTTP 404 (model_not_found)"
        assert client.of(ev.StageFailed) == [ev.StageFailed("llm", "bad_request", said, "near")]
        assert lines(caplog) == [f"session sess_1: llm: bad_request: {said} (endpoint near)"]
        assert counted(client) == {"llm_bad_request": 1}


async def test_a_failed_recognition_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(words=[EngineError("asr", "unauthorized", "the recogniser answered 401")]) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        assert lines(caplog) == ["session sess_1: asr: unauthorized: the recogniser answered 401"]
        assert counted(client) == {"asr_unauthorized": 1}


async def test_a_voice_that_breaks_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with bench("One. Two.") as client:
        client.voice.fail_at = 0
        await client.turn()
        await client.until(ev.ResponsePlayed)
        assert lines(caplog) == ["session sess_1: tts: unavailable: the voice broke"]
        assert counted(client) == {"tts_unavailable": 1}


async def test_a_sentence_that_cannot_be_said_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with bench("The moon goes around the earth. 月亮绕着地球转圈一个月。 It has no air to speak of.") as client:
        client.voice.refuses = "月"
        await client.turn()
        await client.until(ev.ResponsePlayed)
        assert lines(caplog) == ["session sess_1: tts: bad_request: nothing to say in the text"]
        assert counted(client) == {"tts_bad_request": 1}


@pytest.mark.parametrize(
    ("tool", "called", "code"),
    [
        (PlainTool("a", ToolError("your name is Bob")), call("a"), "failed"),
        (PlainTool("a", seconds=60, policy=ToolPolicy(deadline_seconds=1)), call("a"), "timeout"),
        (PlainTool("a"), call("a", "{no json"), "bad_arguments"),
        (PlainTool("b"), call("a"), "unknown"),
    ],
)
async def test_a_failed_tool_is_one_line(
    caplog: pytest.LogCaptureFixture, tool: PlainTool, called: object, code: str
) -> None:
    async with bench(Answer("", calls=(called,)), "Sorry.", toolbox=box(tool)) as client:  # type: ignore[arg-type]
        await client.turn()
        await client.until(ev.ResponsePlayed, 2)
        assert lines(caplog) == [f"session sess_1: tool: {code}: the tool 'a' failed"]
        assert counted(client) == {f"tool_{code}": 1}


class BrokenStore:
    async def recall(self, user: str, limit: int) -> list[Entry]:
        return []

    async def remember(self, user: str, entry: Entry) -> None:
        raise OSError("cannot write 'my name is Bob'")


async def test_a_failed_memory_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with bench("Yes.", store=BrokenStore(), user="bob") as client:  # type: ignore[arg-type]
        await client.turn()
        await client.until(ev.ResponsePlayed)
        assert set(lines(caplog)) == {
            "session sess_1: memory: unavailable: the memory cannot be written (OSError)",
        }
        assert counted(client)["memory_unavailable"] == len(lines(caplog))


@pytest.mark.parametrize("role", ["user", "system"])
async def test_an_item_that_is_cut_is_told_once(role: str) -> None:
    async with bench("Yes.", microphone=False) as client:
        text = "word " * 19_000
        client.ask(cmd.CreateItem(Item("long", role, (Part("text", text),))))  # type: ignore[arg-type]
        client.ask(cmd.CreateItem(Item("short", "assistant", (Part("text", "Well."),))))
        for number in (1, 2):
            client.ask(cmd.CreateResponse())
            await client.until(ev.ResponseDone, number)
        assert client.of(ev.ItemShortened) == [ev.ItemShortened("long", len(text))]


async def test_an_item_that_fits_is_not_told_of() -> None:
    async with bench("Yes.", microphone=False) as client:
        client.ask(cmd.CreateItem(Item("long", "user", (Part("text", "  word\n" * 300),))))
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        assert not client.of(ev.ItemShortened)
