"""Malformed and hostile requests to what devices ask by HTTP: each is answered, and the next device is served too."""

import asyncio
import contextlib
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.channels.xiaozhi.fleet.test_ota import ADMIN, serving, talks
from tests.support.xiaozhi.boot import CLIENT_ID, Flash, boot, take
from tests.support.xiaozhi.socket import MAC
from voiceagent.channels.channel import Denied
from voiceagent.channels.xiaozhi.fleet.boot import MAX_TEXT, read_boot, read_proof
from voiceagent.channels.xiaozhi.fleet.ota import MAX_BODY
from voiceagent.channels.xiaozhi.settings import XiaozhiSection

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no json": b"hello",
    "cut": b'{"application": {"version": "2.4',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "a text": b'"x"',
    "not utf-8": b'{"board": {"name": "\xff\xfe"}}',
    "half a surrogate": b'{"board": {"name": "\\ud83d"}}',
    "nul": b'{"board": {"name": "\\u0000\\u001b[2J"}}',
    "deep": b"[" * 30_000,
    "deep objects": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "twice": b'{"board": 1, "board": {"name": "x"}}',
    "board a list": b'{"board": [], "application": "x", "chip_model_name": {}}',
    "version a number": b'{"application": {"version": 2.4}}',
    "version a list": b'{"application": {"version": ["2", "4"]}}',
    "version with a v": b'{"application": {"version": "v2.4.2"}}',
    "version of 60 kB": b'{"application": {"version": "' + b"1" * 60_000 + b'"}}',
    "version overflows": b'{"application": {"version": "1.4294967296"}}',
    "name of 60 kB": b'{"board": {"name": "' + b"x" * 60_000 + b'"}}',
    "chip with a path": b'{"chip_model_name": "../../etc/passwd?x=1#y"}',
    "chip of spaces": b'{"chip_model_name": "  "}',
    "mac of another": b'{"mac_address": "ff:ff:ff:ff:ff:ff", "uuid": 7}',
    "big integer": b'{"version": ' + b"9" * 5_000 + b"}",
    "payload": b'{"Payload": {"hmac": 1, "challenge": null, "algorithm": []}}',
    "payload a text": b'{"Payload": "x"}',
    "sql": b'{"board": {"name": "x\'); DROP TABLE speaker; --"}}',
    "format": b'{"board": {"name": "%s%n{0}{code}"}}',
}
IDS: dict[str, str] = {
    "none": "",
    "long": "x" * 129,
    "a slash": "a/b",
    "a blank": "a b",
    "dots": "../..",
    "sql": "x');DROP--",
    "upper": "A0:B1:C2:D3:E4:F5",
    "a tab": "a\tb",
}


@pytest.mark.parametrize("access", ["open", "code"])
async def test_whatever_the_body_is_a_device_is_told_where_to_talk(access: str) -> None:
    section = XiaozhiSection.model_validate({"access": access})
    async with serving(section) as (_, base, http):
        for number, (name, body) in enumerate(BODIES.items()):
            flash = Flash(mac=f"00:00:00:00:00:{number:02x}")
            response = await http.post(f"{base}/xiaozhi/ota", headers=flash.headers(), content=body)
            assert response.status_code == 200, name
            booted = take(response.json(), flash)
            assert booted.activated == (access == "open"), name
            assert booted.url.startswith("ws://127.0.0.1:"), name
            active = await http.post(f"{base}/xiaozhi/ota/activate", headers=flash.headers(), content=body)
            assert active.status_code == (200 if access == "open" else 202), name
        booted = await boot(http, f"{base}/xiaozhi/ota", Flash())
        assert booted.activated == (access == "open")


async def test_whoever_asks_is_answered() -> None:
    async with serving() as (_, base, http):
        for name, device_id in IDS.items():
            given_headers = {"Device-Id": device_id, "Client-Id": "c"}
            for path in ("ota", "ota/activate"):
                response = await http.post(f"{base}/xiaozhi/{path}", headers=given_headers, content=b"{}")
                expected = 200 if name in ("none", "dots", "sql", "upper") and "/" not in device_id else 400
                assert response.status_code == expected, (name, path)
        long_client = {"Device-Id": MAC, "Client-Id": "x" * 129}
        assert (await http.post(f"{base}/xiaozhi/ota", headers=long_client)).status_code == 400
        bare = (await http.post(f"{base}/xiaozhi/ota")).json()
        assert bare["websocket"]["token"] == ""
        assert await talks(base, bare["websocket"]["token"]) == 101


async def test_a_body_without_end_is_cut_off() -> None:
    async with serving() as (_, base, http):
        for path in ("ota", "ota/activate"):
            response = await http.post(
                f"{base}/xiaozhi/{path}", headers=Flash().headers(), content=b"x" * (MAX_BODY + 1)
            )
            assert response.status_code == 413
        reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
        writer.write(b"POST /xiaozhi/ota HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{")
        await writer.drain()
        writer.close()  # gone in the middle of it
        assert (await boot(http, f"{base}/xiaozhi/ota", Flash())).activated
        await writer.wait_closed()
        assert await reader.read() is not None


async def test_an_operator_s_slips() -> None:
    async with serving(XiaozhiSection(admin_key=ADMIN)) as (_, base, http):
        key = {"Authorization": f"Bearer {ADMIN.get_secret_value()}"}
        for body in (b"", b"[]", b'{"code": 123456}', b'{"code": ["x"]}', b'{"device": "a/b"}', b"\xff"):
            for what, status in (("activate", 404), ("allow", 400), ("forget", 400)):
                response = await http.post(f"{base}/xiaozhi/speakers/{what}", headers=key, content=body)
                assert response.status_code == status, (what, body)
        slash = await http.post(f"{base}/xiaozhi/speakers/allow", headers=key, json={"device": MAC, "tenant": "a/b"})
        assert slash.status_code == 400
        huge = await http.post(f"{base}/xiaozhi/speakers/allow", headers=key, content=b"x" * (MAX_BODY + 1))
        assert huge.status_code == 413


@given(st.binary(max_size=400), st.text(st.characters(max_codepoint=255), max_size=40), st.text(max_size=40))
def test_any_bytes_and_headers_are_read(body: bytes, device: str, agent: str) -> None:
    with contextlib.suppress(Denied):
        told = read_boot({"device-id": device, "user-agent": agent}, {}, body)
        assert len(told.board) <= MAX_TEXT
        assert told.version == "" or told.version.replace(".", "").isdigit()
    read_proof(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("application", "board", "chip_model_name", "mac_address", "uuid", "Payload", "challenge", "hmac", "language")


@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.fixed_dictionaries({"version": JSON, "name": JSON})))
def test_any_json_is_read(told: dict[str, object]) -> None:
    body = json.dumps(told).encode("utf-8", "replace")
    assert read_boot({"device-id": MAC, "client-id": CLIENT_ID}, {}, body).device_id == MAC
    with contextlib.suppress(Denied):
        read_boot({}, {}, body)
    assert not read_proof(body).right("00", "")


async def test_a_flood_of_strangers_leaves_a_device_its_code() -> None:
    """And its place: they are answered slowly by their address, nobody is refused."""
    async with serving(XiaozhiSection(access="code")) as (_, base, http):
        (code,) = (await boot(http, f"{base}/xiaozhi/ota", Flash())).codes
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(timeout=30, limits=limits) as flood, asyncio.TaskGroup() as tasks:
            for number in range(150):
                stranger = Flash(mac=f"00:00:00:00:01:{number:02x}").headers()
                tasks.create_task(flood.post(f"{base}/xiaozhi/ota", headers=stranger, content=b"{}"))
        assert (await boot(http, f"{base}/xiaozhi/ota", Flash())).codes == [code]
