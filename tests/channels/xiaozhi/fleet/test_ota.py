"""Devices boot against the running server: what they are told, and that they can talk with it."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.running import running
from tests.support.session.bench import Answer, NoiseVoice, ScriptedModel, WordsAsr
from tests.support.xiaozhi.boot import CLIENT_ID, Flash, ask, boot
from tests.support.xiaozhi.device import Device, Json
from tests.support.xiaozhi.room import LevelVad
from tests.support.xiaozhi.socket import MAC, headers, speaker
from voiceagent.channels.xiaozhi.fleet.store import SpeakerStore
from voiceagent.channels.xiaozhi.settings import FirmwareSection, NodeSection, XiaozhiSection
from voiceagent.engines import Engines
from voiceagent.server.app import VoiceServer
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import Settings

SECRET = SecretStr("a secret that all nodes share")
ADMIN = SecretStr("the key of the operator")
ACME = LimitSection(
    api_keys=(ApiKey(name="acme", key=SecretStr("acme-key")), ApiKey(name="shop", key=SecretStr("s-k")))
)
SERIAL, BURNT = "SN-0001", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"


@asynccontextmanager
async def serving(
    section: XiaozhiSection | None = None, limits: LimitSection | None = None
) -> AsyncIterator[tuple[VoiceServer, str, httpx.AsyncClient]]:
    """The server, its address by HTTP, and a client."""
    engines = Engines(LevelVad(), WordsAsr(("Hello.",)), ScriptedModel([Answer("Yes.")] * 9), NoiseVoice())
    settings = Settings(xiaozhi=section or XiaozhiSection(), limits=limits or LimitSection())
    async with running(settings, engines) as (voice, url), httpx.AsyncClient(timeout=20) as http:
        yield voice, url.replace("ws://", "http://"), http


async def talks(base: str, token: str, client_id: str = CLIENT_ID, mac: str = MAC) -> int:
    """The status that the WebSocket's handshake is answered with."""
    given = {**headers(device_id=mac, token=token), "Client-Id": client_id}
    try:
        async with connect(base.replace("http", "ws") + "/xiaozhi/v1/", additional_headers=given):
            return 101
    except InvalidStatus as denied:
        return denied.response.status_code


# -- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/xiaozhi/ota", "/xiaozhi/ota/"])
async def test_both_addresses_answer_what_the_firmware_needs(path: str) -> None:
    async with serving() as (_, base, http):
        response = await http.post(base + path, headers=Flash().headers(), json=Flash().body())
        assert response.status_code == 200
        assert response.headers["content-length"] == str(len(response.content))
        answer = response.json()
        assert set(answer) == {"websocket", "server_time", "firmware"}
        assert list(answer["websocket"]) == ["url", "token", "version"]
        assert answer["websocket"]["url"] == f"{base.replace('http', 'ws')}/xiaozhi/v1/?chip=esp32s3"
        assert 40 < len(answer["websocket"]["token"]) < 120
        assert answer["websocket"]["version"] == 1
        assert answer["firmware"] == {"version": "2.4.2", "url": ""}
        assert abs(answer["server_time"]["timestamp"] - time.time() * 1000) < 600_000
        assert -840 <= answer["server_time"]["timezone_offset"] <= 840


async def test_a_device_boots_and_talks() -> None:
    section = XiaozhiSection(framing=2, on_wake="text", secret=SECRET, timezone="Asia/Shanghai")
    async with serving(section) as (_, base, http):
        booted = await boot(http, f"{base}/xiaozhi/ota/", Flash(chip="esp32c3"))
        assert booted.activated
        assert booted.version == 2
        assert cast(Json, booted.answers[0]["server_time"])["timezone_offset"] == 480
        device = Device(version=booted.version)
        given = {**headers(booted.version, token=booted.token), "Client-Id": CLIENT_ID}
        async with speaker(booted.url, device, path="", given=given) as there:
            device.wake("hi esp")
            await there.until("tts.stop")
            assert device.played_seconds > 0.2
            assert device.most_queued <= 3


@pytest.mark.parametrize(
    ("public_url", "told"),
    [
        ("https://voice.example", "wss://voice.example/xiaozhi/v1/"),
        ("http://192.168.1.5:8000/", "ws://192.168.1.5:8000/xiaozhi/v1/"),
        ("https://voice.example/eu", "wss://voice.example/eu/xiaozhi/v1/"),
    ],
)
async def test_the_public_address_is_what_devices_are_told(public_url: str, told: str) -> None:
    async with serving(XiaozhiSection(public_url=public_url)) as (_, base, http):
        answer = await ask(http, f"{base}/xiaozhi/ota", Flash(chip=""))
        assert cast(Json, answer["websocket"])["url"] == told


async def test_without_one_it_is_where_the_device_asked_unless_it_could_not_connect_there() -> None:
    async with serving() as (_, base, http):
        here = base.removeprefix("http://")
        for host, told in {
            "speaker.local:8000": "speaker.local:8000",
            "192.168.1.5": "192.168.1.5",
            "[::1]:8000": here,
            "evil.example/x?y=": here,
            "me@evil.example": here,
        }.items():
            given = {**Flash().headers(), "Host": host}
            answer = (await http.post(f"{base}/xiaozhi/ota", headers=given, json={"chip_model_name": "a/b?c"})).json()
            assert answer["websocket"]["url"] == f"ws://{told}/xiaozhi/v1/"


async def test_a_version_that_would_crash_the_firmware_is_never_sent() -> None:
    async with serving() as (_, base, http):
        given = {**Flash().headers(), "User-Agent": "board/abc"}
        for version in ("v1.2", "1.2-beta", "1..2", "", "1.99999999999", "一.二"):
            told = {"application": {"version": version}}
            answer = (await http.post(f"{base}/xiaozhi/ota", headers=given, json=told)).json()
            assert "firmware" not in answer
            assert answer["websocket"]["url"]


async def test_people_who_look_with_a_browser_are_told_where_devices_go() -> None:
    async with serving() as (_, base, http):
        page = await http.get(f"{base}/xiaozhi/ota/")
        assert page.status_code == 200
        assert f"{base.replace('http', 'ws')}/xiaozhi/v1/" in page.text


# -- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_is_for_one_device_and_one_client() -> None:
    async with serving(XiaozhiSection(access="code", secret=SECRET, admin_key=ADMIN)) as (_, base, http):
        await let_in(http, base, MAC)
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
        assert await talks(base, token) == 101
        assert await talks(base, token, mac=MAC.upper()) == 101
        assert await talks(base, token, mac="11:22:33:44:55:66") == 401
        assert await talks(base, token, client_id="another") == 401
        broken = [token[:-2], token + "A", token.replace(".0.", ".1."), token.split(".")[0], "", "nonsense", "xz.0.."]
        for wrong in broken:
            assert await talks(base, wrong) == 401, wrong
        query = httpx.QueryParams({"device-id": MAC, "client-id": CLIENT_ID, "authorization": f"Bearer {token}"})
        async with connect(f"{base.replace('http', 'ws')}/xiaozhi/v1/?{query}"):  # as a browser's page would
            pass


async def test_a_token_outlives_the_server_and_a_new_secret(tmp_path: Path) -> None:
    file = str(tmp_path / "speakers.db")
    async with serving(XiaozhiSection(access="code", path=file, admin_key=ADMIN)) as (_, base, http):
        await let_in(http, base, MAC)
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
    async with serving(XiaozhiSection(access="code", path=file)) as (_, base, _):
        assert await talks(base, token) == 101
    old, new = SecretStr("the old secret of ours"), SecretStr("the new secret of ours")
    async with serving(XiaozhiSection(secret=old)) as (_, base, http):
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
    async with serving(XiaozhiSection(access="list", secret=new, old_secrets=(old,))) as (_, base, _):
        assert await talks(base, token) == 101
    async with serving(XiaozhiSection(access="list", secret=new)) as (_, base, _):
        assert await talks(base, token) == 401


async def test_an_open_house_lets_everyone_in_but_a_token_of_its_own_has_to_be_right() -> None:
    async with serving() as (_, base, http):
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
        assert [await talks(base, shown) for shown in (token, "", "of-another-server")] == [101, 101, 101]
        assert [await talks(base, shown) for shown in (token[:-3], token + "=")] == [401, 401]
        assert await talks(base, token, client_id="another") == 401


async def test_where_api_keys_are_configured_a_device_is_not_let_in_by_asking() -> None:
    async with serving(limits=ACME) as (_, base, http):
        booted = await boot(http, f"{base}/xiaozhi/ota", Flash())
        assert not booted.activated
        assert booted.token == ""
        assert await talks(base, "") == 401
        assert await talks(base, "acme-key") == 101
    async with serving(XiaozhiSection(access="open", tenant="toys"), limits=ACME) as (_, base, http):
        booted = await boot(http, f"{base}/xiaozhi/ota", Flash())
        assert [await talks(base, shown) for shown in (booted.token, "", "wrong")] == [101, 401, 401]


async def test_a_token_opens_nothing_but_talks() -> None:
    async with serving(XiaozhiSection(access="open"), limits=ACME) as (_, base, http):
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
        given = {"Authorization": f"Bearer {token}", "Device-Id": MAC, "Client-Id": CLIENT_ID}
        for key in (token, "acme-key", "x"):
            photo = await http.post(f"{base}/xiaozhi/vision", headers={**given, "Authorization": f"Bearer {key}"})
            assert photo.status_code == 401
        assert (await http.get(f"{base}/xiaozhi/speakers", headers=given)).status_code == 401
        with pytest.raises(InvalidStatus):
            async with connect(base.replace("http", "ws") + "/v1/realtime", additional_headers=given):
                pass


async def test_a_revoked_token_is_refused_and_the_next_boot_gives_a_new_one(tmp_path: Path) -> None:
    """The command line works on the file while the server runs."""
    section = XiaozhiSection(access="list", path=str(tmp_path / "speakers.db"))
    async with serving(section) as (_, base, http):
        async with opened(tmp_path / "speakers.db") as store:
            await store.allow(MAC, "acme")
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
        assert await talks(base, token) == 101
        async with opened(tmp_path / "speakers.db") as store:
            assert await store.forget(MAC)
            async with asyncio.timeout(10):
                while await talks(base, token) != 401:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert (await boot(http, f"{base}/xiaozhi/ota", Flash())).token == ""
            await store.allow(MAC, "acme")
        again = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
        assert [await talks(base, token), await talks(base, again)] == [401, 101]


# -- the list ---------------------------------------------------------------------------------------------------------


async def test_only_devices_of_the_list_are_given_a_token() -> None:
    section = XiaozhiSection(access="list", allow=frozenset({MAC.upper()}))
    async with serving(section) as (_, base, http):
        booted = await boot(http, f"{base}/xiaozhi/ota", Flash())
        assert await talks(base, booted.token) == 101
        stranger = await boot(http, f"{base}/xiaozhi/ota", Flash(mac="11:22:33:44:55:66"))
        assert (stranger.token, stranger.activated) == ("", True)
        # Everyone can read a MAC address; the first client id that came with it is the one that counts.
        thief = await boot(http, f"{base}/xiaozhi/ota", Flash(client_id="a-thief"))
        assert thief.token == ""
        assert (await boot(http, f"{base}/xiaozhi/ota", Flash())).token == booted.token


# -- activation -------------------------------------------------------------------------------------------------------


async def let_in(http: httpx.AsyncClient, base: str, mac: str, tenant: str = "") -> None:
    done = await operate(http, base, ADMIN.get_secret_value(), "allow", device=mac, tenant=tenant)
    assert done.status_code == 200, done.text


async def operate(http: httpx.AsyncClient, base: str, key: str, what: str, **told: str) -> httpx.Response:
    given = {"Authorization": f"Bearer {key}"}
    return await http.post(f"{base}/xiaozhi/speakers/{what}", headers=given, json=told)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SpeakerStore]:
    store = SpeakerStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize(("language", "told"), [("zh-CN", "激活码"), ("en-US", "Activation code")])
async def test_a_code_is_said_until_an_operator_types_it(language: str, told: str) -> None:
    async with serving(XiaozhiSection(access="code", admin_key=ADMIN)) as (_, base, http):
        flash = Flash(language=language)
        first = await boot(http, f"{base}/xiaozhi/ota/", flash)
        (code,) = first.codes
        assert len(code) == 6
        assert code.isdigit()
        assert first.statuses == [202]
        assert first.token == ""
        activation = cast(Json, first.answers[0]["activation"])
        assert set(activation) == {"code", "message", "challenge", "timeout_ms"}
        assert activation["message"] == f"{told} {code}"
        assert (await boot(http, f"{base}/xiaozhi/ota/", flash)).codes == [code]
        assert (await operate(http, base, ADMIN.get_secret_value(), "activate", code="000000x")).status_code == 404
        done = await operate(http, base, ADMIN.get_secret_value(), "activate", code=code, tenant="acme")
        assert done.json() == {"device_id": MAC}
        for slash in ("", "/"):
            active = await http.post(f"{base}/xiaozhi/ota/activate{slash}", headers=flash.headers(), content=b"{}")
            assert active.status_code == 200
        booted = await boot(http, f"{base}/xiaozhi/ota/", flash)
        assert booted.activated
        assert await talks(base, booted.token) == 101
        again = await operate(http, base, ADMIN.get_secret_value(), "activate", code=code)
        assert again.status_code == 404
        elsewhere = await boot(http, f"{base}/xiaozhi/ota/", Flash(client_id="a-thief"))
        assert not elsewhere.activated


def proof(challenge: str, key: bytes) -> Json:
    signature = hmac.new(key, challenge.encode(), hashlib.sha256).hexdigest()
    return {"algorithm": "hmac-sha256", "serial_number": SERIAL, "challenge": challenge, "hmac": signature}


@pytest.mark.parametrize("shape", ["firmware", "py-xiaozhi", "sdk"])
async def test_a_serial_number_is_proven_by_its_key(shape: str) -> None:
    section = XiaozhiSection(access="code", serial_keys={SERIAL: SecretStr(BURNT)}, admin_key=ADMIN)
    async with serving(section) as (_, base, http):
        flash = Flash(serial=SERIAL)
        first = await boot(http, f"{base}/xiaozhi/ota", flash)
        assert first.statuses == [403]
        activation = cast(Json, first.answers[0]["activation"])
        challenge, code = cast(str, activation["challenge"]), cast(str, activation["code"])
        wrong = [proof(challenge, b"another key"), proof("another challenge", bytes.fromhex(BURNT)), {"hmac": "é"}]
        wrong.append({**proof(challenge, bytes.fromhex(BURNT)), "algorithm": "none"})
        url = f"{base}/xiaozhi/ota/activate"
        for body in wrong:
            assert (await http.post(url, headers=flash.headers(), json=body)).status_code == 403
        assert (await operate(http, base, ADMIN.get_secret_value(), "activate", code=code)).status_code == 200
        assert not (await boot(http, f"{base}/xiaozhi/ota", flash)).activated  # the code alone does not do
        right = proof(challenge, BURNT.encode() if shape == "sdk" else bytes.fromhex(BURNT))
        if shape == "sdk":
            del right["algorithm"]
        flash.proof = {"Payload": right} if shape == "py-xiaozhi" else right
        booted = await boot(http, f"{base}/xiaozhi/ota", flash)
        assert booted.statuses == [200]
        assert await talks(base, booted.token) == 101


async def test_on_a_list_a_proven_serial_number_lets_a_device_in_without_anybody_s_help() -> None:
    section = XiaozhiSection(access="list", serial_keys={SERIAL: SecretStr(BURNT)}, tenant="factory")
    async with serving(section) as (_, base, http):
        flash = Flash(serial=SERIAL)
        activation = cast(Json, (await ask(http, f"{base}/xiaozhi/ota", flash))["activation"])
        assert "code" not in activation
        flash.proof = proof(cast(str, activation["challenge"]), bytes.fromhex(BURNT))
        booted = await boot(http, f"{base}/xiaozhi/ota", flash)
        assert booted.statuses == [200]
        assert await talks(base, booted.token) == 101
        without = await boot(http, f"{base}/xiaozhi/ota", Flash(mac="11:22:33:44:55:66", serial="SN-unknown"))
        assert (without.activated, without.token) == (True, "")


async def test_a_device_that_asks_in_a_loop_is_answered_slowly() -> None:
    async with serving() as (_, base, http):
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(11):
                tasks.create_task(ask(http, f"{base}/xiaozhi/ota", Flash()))
        assert time.monotonic() - began > 0.5
        began = time.monotonic()
        await ask(http, f"{base}/xiaozhi/ota", Flash(mac="11:22:33:44:55:66"))
        assert time.monotonic() - began < 0.5


# -- operators --------------------------------------------------------------------------------------------------------


async def test_operators_see_and_change_their_own_devices_only() -> None:
    section = XiaozhiSection(access="code", admin_key=ADMIN)
    async with serving(section, ACME) as (_, base, http):
        (code,) = (await boot(http, f"{base}/xiaozhi/ota", Flash())).codes
        assert (await operate(http, base, "wrong", "activate", code=code)).status_code == 401
        done = await operate(http, base, "acme-key", "activate", code=code, tenant="shop")
        assert done.status_code == 200

        async def seen(key: str) -> list[tuple[str, str]]:
            page = await http.get(f"{base}/xiaozhi/speakers", headers={"Authorization": f"Bearer {key}"})
            return [(told["device_id"], told["tenant"]) for told in page.json()["speakers"]]

        assert await seen("acme-key") == [(MAC, "acme")]
        assert await seen("s-k") == []
        assert await seen(ADMIN.get_secret_value()) == [(MAC, "acme")]
        assert (await operate(http, base, "s-k", "allow", device=MAC)).status_code == 409
        assert (await operate(http, base, "s-k", "forget", device=MAC)).status_code == 404
        token = (await boot(http, f"{base}/xiaozhi/ota", Flash())).token
        assert await talks(base, token) == 101
        assert (await operate(http, base, "acme-key", "forget", device=MAC)).status_code == 200
        assert await talks(base, token) == 401
        assert (await operate(http, base, "acme-key", "allow", device="no id")).status_code == 400
        assert (await operate(http, base, "acme-key", "explode", device=MAC)).status_code == 404
        guesses = [await operate(http, base, "s-k", "activate", code=f"{number:06d}") for number in range(11)]
        assert [guess.status_code for guess in guesses] == [404] * 10 + [429]


async def test_without_any_key_nobody_is_an_operator() -> None:
    async with serving(XiaozhiSection(access="code")) as (_, base, http):
        for key in ("y", "x"):
            assert (await operate(http, base, key, "allow", device=MAC)).status_code == 403


# -- firmware ---------------------------------------------------------------------------------------------------------


def image(path: Path, version: str, size: int = 100_000) -> Path:
    """With a head as ESP-IDF writes it."""
    head = (
        b"\xe9\x06\x02\x4f"
        + bytes(28)
        + (0xABCD5432).to_bytes(4, "little")
        + bytes(12)
        + version.encode().ljust(32, b"\0")
    )
    path.write_bytes(head + bytes(index % 251 for index in range(size - len(head))))
    return path


async def test_firmware_is_offered_and_served(tmp_path: Path) -> None:
    file = image(tmp_path / "bread_2.5.0.bin", "2.5.0")
    (tmp_path / "secret.txt").write_text("not for devices")
    section = XiaozhiSection(firmware=(FirmwareSection(board="bread-*", version="2.5.0", file=file),))
    async with serving(section) as (_, base, http):
        booted = await boot(http, f"{base}/xiaozhi/ota", Flash())
        assert booted.upgrade == f"{base}/xiaozhi/firmware/bread_2.5.0.bin"
        whole = await http.get(booted.upgrade)
        assert whole.status_code == 200
        assert whole.headers["content-length"] == "100000"
        assert whole.content == file.read_bytes()
        part = await http.get(booted.upgrade, headers={"Range": "bytes=99990-"})
        assert part.status_code == 206
        assert part.content == whole.content[-10:]
        assert (await boot(http, f"{base}/xiaozhi/ota", Flash(version="2.5.0"))).upgrade == ""
        assert (await boot(http, f"{base}/xiaozhi/ota", Flash(board="other"))).upgrade == ""
        for name in (
            "secret.txt",
            "..%2Fsecret.txt",
            "%2e%2e/secret.txt",
            "../xiaozhi/firmware/../secret.txt",
            "",
            "%00",
        ):
            assert (await http.get(f"{base}/xiaozhi/firmware/{name}")).status_code == 404
        file.unlink()
        assert (await http.get(booted.upgrade)).status_code == 404


# -- nodes ------------------------------------------------------------------------------------------------------------


async def test_devices_are_spread_over_servers_that_have_room() -> None:
    """Two servers that talk, and one that hands them out. One of the two goes down."""
    common = XiaozhiSection(secret=SECRET, access="list")
    async with serving(common) as (one, base_one, _), serving(common) as (_, base_two, _):
        nodes = (NodeSection(url=base_one, weight=1), NodeSection(url=base_two, weight=3))
        section = common.model_copy(update={"nodes": nodes, "allow": frozenset(f"m{number}" for number in range(40))})
        async with serving(section) as (_, base, http):
            tokens: dict[str, str] = {}

            async def given() -> dict[str, list[str]]:
                found: dict[str, list[str]] = {base_one: [], base_two: []}
                for number in range(40):
                    booted = await boot(http, f"{base}/xiaozhi/ota", Flash(mac=f"m{number}", chip=""))
                    found[booted.url.replace("ws", "http").removesuffix("/xiaozhi/v1/")].append(booted.token)
                    tokens[f"m{number}"] = booted.token
                return found

            before = await given()
            assert 2 <= len(before[base_one]) <= 22
            assert len(before[base_two]) == 40 - len(before[base_one])
            assert await given() == before
            token = (before[base_one] + before[base_two])[0]
            mac = next(mac for mac, told in tokens.items() if told == token)
            for node in (base_one, base_two):
                assert await talks(node, token, mac=mac) == 101
            one.admission.draining = True
            async with asyncio.timeout(20):
                while (await given())[base_one]:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)


# -- settings -----------------------------------------------------------------------------------------------------


def test_nodes_need_a_shared_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        XiaozhiSection(nodes=(NodeSection(url="http://a.example"),))


@pytest.mark.parametrize(
    "url", ["http://[::1]:8000", "http://me:pw@a.example", "http://a.example/?x=1", "ftp://a", "a"]
)
def test_an_address_that_no_device_could_use_is_a_slip(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        XiaozhiSection(public_url=url)
