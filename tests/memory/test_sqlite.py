"""SqliteMemory and its commands, on real files."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voiceagent.cli.memory import app
from voiceagent.errors import ConfigError, EngineError
from voiceagent.memory.base import Entry
from voiceagent.memory.sqlite import APPLICATION_ID, SCHEMA_VERSION, SqliteMemory, SqliteOptions

HELLO = Entry("item_1", "user", "你好, I am Anna.", 100.5)
ANSWER = Entry("item_2", "assistant", "Hello Anna, nice to meet you!", 101.0)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteMemory]:
    memory = SqliteMemory(SqliteOptions(path=path))
    await memory.open()
    try:
        yield memory
    finally:
        await memory.close()


async def test_entries_outlive_the_process_and_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "memory.db"
    async with opened(path) as memory:
        await memory.remember("anna", HELLO)
        await memory.remember("anna", ANSWER)
        await memory.remember("anna", Entry("item_3", "user", "The clock jumped back.", 3.0))
        await memory.remember("tom", Entry("item_1", "user", "Another's item of that id.", 7.0))
    async with opened(path) as memory:
        assert await memory.recall("anna", 2) == [ANSWER, Entry("item_3", "user", "The clock jumped back.", 3.0)]
        assert len(await memory.recall("anna", 100)) == 3
        assert await memory.recall("nobody", 100) == []
        assert await memory.users() == [("anna", 3, 101.0), ("tom", 1, 7.0)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_an_entry_is_replaced_in_its_place_and_removed_when_empty(tmp_path: Path) -> None:
    async with opened(tmp_path / "memory.db") as memory:
        await memory.remember("anna", ANSWER)
        await memory.remember("anna", HELLO)
        heard = Entry(ANSWER.item_id, "assistant", "Hello Anna,", 102.0)
        await memory.remember("anna", heard)
        assert await memory.recall("anna", 10) == [heard, HELLO]
        await memory.remember("anna", Entry(ANSWER.item_id, "assistant", "", 103.0))
        assert await memory.recall("anna", 10) == [HELLO]


async def test_forgetting_leaves_no_words_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    async with opened(path) as memory:
        await memory.remember("anna", HELLO)
        await memory.remember("anna", ANSWER)
        await memory.remember("tom", HELLO)
        assert await memory.forget("anna") == 2
        assert await memory.forget("anna") == 0
        assert [user for user, _, _ in await memory.users()] == ["tom"]
    assert b"nice to meet you" not in path.read_bytes()


async def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path / "memory.db") as memory:
        await memory.remember("a\ud83d", Entry("i", "user", "b\ud83d", 1.0))
        assert await memory.recall("a\ud83d", 1) == [Entry("i", "user", "b?", 1.0)]


async def test_calls_at_the_same_time_all_count(tmp_path: Path) -> None:
    async with opened(tmp_path / "memory.db") as memory, opened(tmp_path / "memory.db") as other:
        stores = (memory, other)
        entries = [Entry(f"item_{number}", "user", str(number), float(number)) for number in range(40)]
        await asyncio.gather(*(stores[number % 2].remember("u", entry) for number, entry in enumerate(entries)))
        assert sorted(await memory.recall("u", 100), key=lambda entry: entry.at) == entries


def test_several_processes_may_open_and_write_at_once(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from voiceagent.memory.sqlite import SqliteMemory, SqliteOptions; from voiceagent.memory.base import Entry\n"
        "async def main():\n"
        "    memory = SqliteMemory(SqliteOptions(path=sys.argv[1])); await memory.open()\n"
        "    for n in range(20): await memory.remember('u', Entry(sys.argv[2] + str(n), 'user', 'x', 1.0))\n"
        "    await memory.close()\n"
        "asyncio.run(main())"
    )
    path = tmp_path / "memory.db"
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM entry").fetchone() == (60,)
    database.close()


def write_database(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


async def test_unusable_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is no database. " * 100)
    (tmp_path / "folder").mkdir()
    write_database(tmp_path / "other", "CREATE TABLE theirs (x)")
    newer = (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    write_database(tmp_path / "newer", "CREATE TABLE entry (x)", *newer)
    for name, mend in {
        "text": "move it away",
        "folder": "choose another",
        "text/below a file": "choose another",
        "other": "another program",
        "newer": "upgrade voiceagent",
    }.items():
        memory = SqliteMemory(SqliteOptions(path=tmp_path / name))
        with pytest.raises(ConfigError, match=mend):
            await memory.open()
        with pytest.raises(EngineError):
            await memory.users()
        await memory.close()
    write_database(tmp_path / "other", "INSERT INTO theirs VALUES (1)")


async def test_a_file_that_fails_in_use_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    async with opened(path) as memory:
        write_database(path, "DROP TABLE entry")
        with pytest.raises(EngineError) as caught:
            await memory.remember("anna", HELLO)
        assert (caught.value.stage, caught.value.code) == ("memory", "failed")
        assert "Anna" not in caught.value.message


async def test_a_file_that_stays_locked_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceagent.database.BUSY_SECONDS", 0.05)
    path = tmp_path / "memory.db"
    async with opened(path) as memory:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EngineError) as caught:
            await memory.remember("anna", HELLO)
        other.close()
        assert caught.value.code == "timeout"
        await memory.remember("anna", HELLO)


def run(*arguments: str, answer: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, input=answer)
    return result.exit_code, result.output


def test_commands(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")

    async def fill() -> None:
        async with opened(Path(path)) as memory:
            await memory.remember("key:anna", HELLO)
            await memory.remember("key:anna", Entry("item_2", "assistant", "Line one\n\x1b[31mred", 101.0))

    asyncio.run(fill())
    config = tmp_path / "voiceagent.toml"
    config.write_text(f'[memory]\npath = "{path}"\n')

    assert run("list", "--config", str(config)) == run("list", "--path", path)
    code, output = run("list", "--path", path)
    assert code == 0
    assert "key:anna" in output
    code, output = run("show", "key:anna", "--path", path)
    assert "你好, I am Anna." in output
    assert "\x1b" not in output
    assert len(output.splitlines()) == 2
    assert run("show", "nobody", "--path", path)[0] == 1
    assert run("forget", "key:anna", "--path", path, answer="n\n")[0] == 1
    assert "2 entries" in run("forget", "key:anna", "--path", path, answer="y\n")[1]
    assert "0 entries" in run("forget", "key:anna", "--yes", "--config", str(config))[1]
    assert "Nothing" in run("list", "--path", path)[1]


def test_commands_say_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "voiceagent.toml"
    config.write_text("")
    assert "[memory] path" in run("list", "--config", str(config))[1]
    code, output = run("list", "--path", str(tmp_path / "absent.db"))
    assert code == 1
    assert "absent.db" in output
    assert not (tmp_path / "absent.db").exists()
    assert run("list", "--config", str(tmp_path / "absent.toml"))[0] == 1
