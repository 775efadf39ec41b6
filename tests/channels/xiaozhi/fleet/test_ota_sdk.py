"""PyPI's xiaozhi-sdk, a real client, finds the server by OTA: address and token come from there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import SecretStr

from tests.channels.xiaozhi.fleet.test_ota import ADMIN, operate, serving
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.server.app import VoiceServer

xiaozhi_sdk = pytest.importorskip("xiaozhi_sdk", reason="xiaozhi-sdk is not installed: pip install xiaozhi-sdk")
xiaozhi_ota = pytest.importorskip("xiaozhi_sdk.ota")

MAC = "00:22:44:66:88:00"
DEADLINE = 20.0
Json = dict[str, object]


class Client:
    def __init__(self, base: str) -> None:
        self.told: list[Json] = []
        self.sdk = xiaozhi_sdk.XiaoZhiWebsocket(self._take, ota_url=f"{base}/xiaozhi/ota/")

    async def _take(self, message: Json) -> None:
        self.told.append(message)

    async def until(self, kind: str, state: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not any((told["type"], told.get("state")) == (kind, state) for told in self.told):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def client(voice: VoiceServer, base: str) -> AsyncIterator[Client]:
    there = Client(base)
    try:
        yield there
    finally:
        await there.sdk.close()
        async with asyncio.timeout(5):
            while voice.admission.sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_it_boots_and_talks() -> None:
    section = XiaozhiSection(secret=SecretStr("a secret of this server"))
    async with serving(section) as (voice, base, _), client(voice, base) as there:
        assert await there.sdk.init_connection(MAC)
        assert there.sdk.url == f"{base.replace('http', 'ws')}/xiaozhi/v1/"
        assert there.sdk.websocket_token
        await there.sdk.send_text("what time is it")
        await there.until("tts", "stop")


async def test_it_waits_for_its_activation_and_then_talks() -> None:
    """Its own task for that ends with an error where the server had not let it connect before; a new start does."""
    section = XiaozhiSection(access="code", admin_key=ADMIN, serial_keys={"SN-7": SecretStr("a licence of theirs")})
    async with serving(section) as (voice, base, http):
        async with client(voice, base) as there:
            assert not await there.sdk.init_connection(MAC, "SN-7", "a licence of theirs")
            there.sdk.ota_task.cancel()
            challenge, code = await waiting(http, base, there.sdk.client_id)
            ota = there.sdk.ota
            assert not await ota.check_activate(challenge, "a wrong licence")
            assert not await ota.check_activate(challenge, "a licence of theirs")
            assert (await operate(http, base, ADMIN.get_secret_value(), "activate", code=code)).status_code == 200
            assert await ota.check_activate("", "")
        async with client(voice, base) as there:
            assert await there.sdk.init_connection(MAC, "SN-7")
            await there.sdk.send_text("what time is it")
            await there.until("tts", "stop")


async def waiting(http: httpx.AsyncClient, base: str, client_id: str) -> tuple[str, str]:
    given = {"Device-Id": MAC, "Client-Id": client_id, "Serial-Number": "SN-7"}
    activation = (await http.post(f"{base}/xiaozhi/ota", headers=given)).json()["activation"]
    return activation["challenge"], activation["code"]
