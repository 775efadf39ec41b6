"""The audit log: a line for each request, whatever becomes of it, and nobody waits for it."""

import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gateway.test_budgets import ANNA, NOON, answered, ask, metered
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.errors import EngineError
from voiceagent.gateway.audit import AuditedLlm, AuditFile, AuditLog, AuditSettings


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(line: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": line})


@asynccontextmanager
async def audited(server: ScriptedLlm, path: Path, content: bool = False) -> AsyncIterator[AuditedLlm]:
    engine = AuditedLlm(metered(server), AuditLog(AuditFile(path)), content, lambda: NOON)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def test_who_what_how_much_and_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.jsonl"
    calls = Reply("Wait", calls=[("look", "{}")])
    replies = [Reply("Very secret", input_tokens=50, cached_tokens=20), calls]
    async with ScriptedLlm(replies) as server, audited(server, path) as engine:
        await answered(engine, ask("What is the password?"))
        await answered(engine, ask(caller=replace(ANNA, speculative=True, turn=3)))
    first, second = lines(path)
    assert first.pop("ms") >= first.pop("first_ms") >= 0  # type: ignore[operator]
    assert first == {
        "at": "2025-03-09T12:00:00.000+00:00",
        "tenant": "anna",
        "user": "u1",
        "session": "s1",
        "turn": 0,
        "outcome": "stop",
        "endpoint": "dear",
        "input_tokens": 50,
        "output_tokens": 2,
        "cached_tokens": 20,
        "cost": 0.00007,
    }
    assert (second["outcome"], second["tools"], second["speculative"], second["turn"]) == (
        "tool_calls",
        ["look"],
        True,
        3,
    )
    assert "secret" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_failures_and_broken_off_answers_have_their_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    replies = [Reply(status=429), Reply("Hello there", stall_after=1)]
    async with ScriptedLlm(replies) as server, audited(server, path) as engine:
        with pytest.raises(EngineError):
            await answered(engine, ask())
        async with aclosing(engine.reply(ask())) as events:
            await anext(events)
    assert [line["outcome"] for line in lines(path)] == ["rate_limited", "cancelled"]
    assert ["first_ms" in line for line in lines(path)] == [False, True]


async def test_words_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with ScriptedLlm(["你好。"]) as server, audited(server, path, content=True) as engine:
        await answered(engine, ask("Hi \ud83d"))
    assert (lines(path)[0]["question"], lines(path)[0]["answer"]) == ("Hi ?", "你好。")


def test_files_are_rotated_by_size_and_the_oldest_goes(tmp_path: Path) -> None:
    sink = AuditFile(tmp_path / "audit.jsonl", megabytes=0.0001, keep=2)
    for number in range(20):
        sink.handle(record(f"line {number:02} " + "x" * 32))
    sink.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    kept = [(tmp_path / name).read_text().splitlines() for name in ("audit.jsonl.2", "audit.jsonl.1", "audit.jsonl")]
    assert [line[:7] for part in kept for line in part] == [f"line {number:02}" for number in range(14, 20)]
    again = AuditFile(tmp_path / "audit.jsonl", megabytes=0.0001, keep=0)
    for _ in range(5):
        again.handle(record("y" * 80))
    again.close()
    assert (tmp_path / "audit.jsonl").read_text() == "y" * 80 + "\n"


class SlowSink(logging.Handler):
    """Writes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.written: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert self.go.wait(10.0)
        self.written.append(record.getMessage())


async def test_a_slow_disk_costs_lines_and_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sink = SlowSink()
    log = AuditLog(sink, waiting=10)
    log.open()
    for number in range(100):
        log.write(str(number))
    sink.go.set()
    await log.close()
    assert len(sink.written) + log.lost == 100
    assert 10 <= len(sink.written) <= 11
    assert len(caplog.records) == 1


async def test_a_full_disk_costs_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    log = AuditLog(AuditFile(tmp_path))  # a folder
    log.open()
    log.write("one")
    log.write("two")
    await log.close()
    await log.close()
    log.write("three")
    assert log.lost == 3
    assert [record.message for record in caplog.records] == ["the audit log loses lines (IsADirectoryError)"]


async def test_settings_choose_the_file_or_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with ScriptedLlm() as server:
        engine = AuditedLlm.by(AuditSettings(), metered(server))
        await engine.open()
        await answered(engine, ask())
        await engine.close()
        engine = AuditedLlm.by(AuditSettings(path=str(tmp_path / "a.jsonl")), metered(server))
        await engine.open()
        await answered(engine, ask())
        await engine.close()
    logged = [record.message for record in caplog.records if record.name == "voiceagent.audit"]
    assert json.loads(logged[0])["tenant"] == "anna"
    assert len(lines(tmp_path / "a.jsonl")) == 1
