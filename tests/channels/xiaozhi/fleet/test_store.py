"""The file of devices, and the command line that works on it."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from voiceagent.channels.xiaozhi.fleet import store as xiaozhi_store
from voiceagent.channels.xiaozhi.fleet.store import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    Asking,
    Speaker,
    SpeakerStore,
    StoreError,
)
from voiceagent.cli.main import app
from voiceagent.errors import ConfigError

MAC = "a0:b1:c2:d3:e4:f5"
ASKING = Asking(MAC, "client", board="bread", version="2.4.2")


@asynccontextmanager
async def opened(path: Path | None = None) -> AsyncIterator[SpeakerStore]:
    store = SpeakerStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def ask(store: SpeakerStore, asking: Asking = ASKING, listed: str | None = None) -> tuple[Speaker, int]:
    return await store.ask(asking, with_code=True, listed=listed)


async def test_devices_and_the_secret_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "speakers.db"
    async with opened(path) as store:
        secret = await store.secret()
        speaker, epoch = await ask(store)
        assert (speaker.standing, epoch, len(secret)) == ("unknown", 0, 32)
        assert speaker.code is not None
        assert await store.activate(speaker.code, "acme") == MAC
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with opened(path) as store:
        assert await store.secret() == secret
        again, _ = await ask(store)
        assert (again.standing, again.tenant, again.code) == ("allowed", "acme", None)
        assert [found.device_id for found in await store.speakers("acme")] == [MAC]
        assert await store.speakers("shop") == []
    async with opened() as store:
        assert await store.secret() != secret
        assert await store.find(MAC, "client") is None


async def test_processes_agree_on_one_secret(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as one, opened(tmp_path / "a") as two:
        assert len(set(await asyncio.gather(*(store.secret() for store in (one, two) * 5)))) == 1


async def test_a_code_stays_the_same_and_is_good_once() -> None:
    async with opened() as store:
        codes = {(await ask(store))[0].code for _ in range(5)}
        others = {(await ask(store, Asking(f"m{number}", "c")))[0].code for number in range(50)}
        assert len(codes) == 1
        assert len(others - codes) == 50
        (code,) = codes
        assert code
        assert await store.activate(code, "acme") == MAC
        assert await store.activate(code, "acme") is None
        assert await store.activate("", "acme") is None


async def test_a_code_that_the_device_has_long_ceased_to_say_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as store:
        code = (await ask(store))[0].code or ""
        monkeypatch.setattr(xiaozhi_store, "CODE_SECONDS", -1.0)
        assert await store.activate(code, "acme") is None
        monkeypatch.undo()
        assert await store.activate(code, "acme") == MAC


async def test_activating_a_device_anew_ends_its_former_owner_s_tokens() -> None:
    async with opened() as store:
        first = (await ask(store))[0].code or ""
        await store.activate(first, "acme")
        erased = Asking(MAC, "another client")
        second = (await ask(store, erased))[0]
        assert second.standing == "unknown"
        assert (await ask(store))[0].standing == "allowed"
        await store.activate(second.code or "", "shop")
        assert await ask(store, erased) == (await store.find(MAC, "another client"), 1)
        assert (await ask(store))[0].standing == "unknown"
        assert await store.revoked() == {MAC: 1}


async def test_what_was_revoked_is_seen_once_by_its_own_hand_and_by_another_s(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store, opened(tmp_path / "a") as other:
        assert await store.revoked() == {}
        assert await store.revoked() is None
        assert not await store.forget(MAC)
        assert await store.revoked() == {MAC: 1}
        await other.forget(MAC)
        assert await store.revoked() == {MAC: 2}
        assert await store.revoked() is None


async def test_the_configuration_s_list_binds_the_first_client() -> None:
    async with opened() as store:
        thief = Asking(MAC, "thief")
        assert (await ask(store, listed="acme"))[0].standing == "listed"
        assert (await ask(store, thief, listed="acme"))[0].standing == "unknown"
        assert (await ask(store, listed="acme"))[0].standing == "listed"
        assert (await ask(store))[0].standing == "unknown"  # no longer listed
        await store.allow(MAC, "shop")
        assert (await ask(store, Asking(MAC, "after erasing"), listed="acme"))[0].tenant == "shop"


async def test_a_client_without_an_id_leaves_its_place_to_nobody() -> None:
    async with opened() as store:
        code = (await ask(store, Asking(MAC, "")))[0].code or ""
        await store.activate(code, "acme")
        assert (await ask(store, Asking(MAC, "thief")))[0].standing == "unknown"
        assert (await ask(store, Asking(MAC, "")))[0].standing == "allowed"


async def test_one_tenant_does_not_touch_another_s() -> None:
    async with opened() as store:
        assert await store.allow(MAC, "acme", by="acme")
        assert not await store.allow(MAC, "shop", by="shop")
        assert not await store.forget(MAC, by="shop")
        assert await store.allow(MAC, "acme", by="acme")
        assert await store.forget(MAC, by="acme")


async def test_a_proof_is_of_one_serial_number() -> None:
    async with opened() as store:
        await ask(store, Asking(MAC, "client", serial="SN1"))
        await store.prove(MAC, "client", None)
        assert (await ask(store, Asking(MAC, "client")))[0].proven
        assert (await ask(store, Asking(MAC, "client", serial="SN1")))[0].proven
        assert not (await ask(store, Asking(MAC, "client", serial="SN2")))[0].proven


async def test_strangers_do_not_fill_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xiaozhi_store, "MAX_UNKNOWN", 20)
    monkeypatch.setattr(xiaozhi_store, "CLEAN_EVERY", 10)
    async with opened() as store:
        await store.allow("friend", "acme")
        for number in range(100):
            await ask(store, Asking(f"m{number}", "c"))
        known = [speaker.device_id for speaker in await store.speakers()]
        assert len(known) <= 31
        assert known[0] == "m99"
        assert known[-1] == "friend"


async def test_unusable_files_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is no database. " * 100)
    (tmp_path / "folder").mkdir()
    for name, statements in {
        "other": ("CREATE TABLE theirs (x)",),
        "newer": (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {SCHEMA_VERSION + 1}"),
    }.items():
        database = sqlite3.connect(tmp_path / name)
        for statement in statements:
            database.execute(statement)
        database.commit()
        database.close()
    for name, mend in {
        "text": "move it away",
        "folder": "choose another",
        "text/below a file": "choose another",
        "other": "another program",
        "newer": "upgrade voiceagent",
    }.items():
        store = SpeakerStore(tmp_path / name)
        with pytest.raises(ConfigError, match=mend):
            await store.open()
        with pytest.raises(StoreError):
            await store.speakers()
        await store.close()


# -- the command line -------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["speakers", *arguments])


def test_an_operator_s_day(tmp_path: Path) -> None:
    path = tmp_path / "speakers.db"
    config = tmp_path / "voiceagent.toml"
    config.write_text(f"[xiaozhi]\npath = '{path}'\ntenant = 'toys'\n")
    assert run("list", "--config", str(config)).exit_code == 1

    async def boots() -> Speaker:
        async with opened(path) as store:
            return (await ask(store))[0]

    async def prepare() -> None:
        async with opened(path) as store:
            await ask(store, Asking("11:22", "c"))

    asyncio.run(prepare())
    code = asyncio.run(boots()).code or ""
    listed = run("list", "--path", str(path))
    assert listed.exit_code == 0
    assert f"code {code}" in listed.stdout
    assert "bread 2.4.2" in listed.stdout
    wrong = run("activate", "1234567", "--config", str(config))
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert run("activate", code, "--config", str(config)).stdout == f"{MAC} is activated.\n"
    assert asyncio.run(boots()).tenant == "toys"
    assert run("allow", "11:22", "--path", str(path), "--tenant", "acme").exit_code == 0
    assert run("allow", "not an id", "--path", str(path)).exit_code == 2
    assert run("allow", "11:22", "--path", str(path), "--tenant", "a/b").exit_code == 2
    assert "acme" in run("list", "--path", str(path)).stdout
    assert run("forget", MAC.upper(), "--yes", "--path", str(path)).stdout == f"{MAC} is forgotten.\n"
    assert asyncio.run(boots()).standing == "unknown"
    assert "was not known" in run("forget", "33:44", "-y", "--path", str(path)).stdout
    assert run("forget", MAC, "--path", str(path)).exit_code == 1  # asked, and nobody says yes


def test_without_a_file_it_says_so(tmp_path: Path) -> None:
    config = tmp_path / "voiceagent.toml"
    config.write_text("[xiaozhi]\naccess = 'code'\n")
    told = run("list", "--config", str(config))
    assert told.exit_code == 1
    assert "[xiaozhi] path is empty" in told.stderr
