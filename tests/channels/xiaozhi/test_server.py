"""Devices on real sockets: how they get in, how they leave, and that broken or hostile ones disturb nobody."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.channels.xiaozhi.test_fuzz import BYTES, TEXTS
from tests.support.running import running
from tests.support.session.bench import SPOKEN, Answer, NoiseVoice, ScriptedModel, WordsAsr
from tests.support.xiaozhi.device import DTX, Device
from tests.support.xiaozhi.room import LevelVad
from tests.support.xiaozhi.socket import MAC, headers, speaker
from voiceagent.audio.pcm import Pcm
from voiceagent.channels.xiaozhi.protocol import MAX_MALFORMED
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.engines import Engines
from voiceagent.server.app import VoiceServer
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import MemorySection, Settings

HELLO = json.dumps(
    {
        "type": "hello",
        "version": 1,
        "transport": "websocket",
        "features": {"mcp": True},
        "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
    }
)
SECRET = "a-secret-of-one-device"


@asynccontextmanager
async def serving(
    *answers: str, settings: Settings | None = None, words: tuple[str, ...] = ("Hello.",)
) -> AsyncIterator[tuple[VoiceServer, str, ScriptedModel]]:
    model = ScriptedModel([Answer(answer) for answer in answers or ("Yes.",)])
    engines = Engines(LevelVad(), WordsAsr(words), model, NoiseVoice())
    async with running(settings or Settings(), engines) as (voice, url):
        yield voice, url, model


def spoken(seconds: float) -> Pcm:
    return np.tile(SPOKEN, round(seconds / 0.02))


async def seats_empty(voice: VoiceServer) -> None:
    async with asyncio.timeout(5):
        while voice.admission.sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# -- coming in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/xiaozhi/v1/", "/xiaozhi/v1", "/xiaozhi/", "/xiaozhi", "/xiaozhi/v1/?chip=esp32c3"])
async def test_every_address_that_devices_are_given_works(path: str) -> None:
    async with serving() as (_, url, _), speaker(url, path=path) as there:
        assert there.device.session_id.startswith("sess_")


async def test_a_talk_over_a_socket() -> None:
    async with serving("Paris.") as (voice, url, model):
        device = Device(version=2)
        async with speaker(url, device) as there:
            device.wake(None)
            there.microphone = spoken(0.6)
            await there.until("stt")
            await there.until("tts.stop")
            assert device.played_seconds >= len("Paris.") * 0.06
            assert model.prompt()[-1] == ("user", "Hello.")
        await seats_empty(voice)


async def test_where_keys_are_configured_a_device_needs_one() -> None:
    limits = LimitSection(api_keys=(ApiKey(name="maker", key=SECRET),))  # type: ignore[arg-type]
    async with serving(settings=Settings(limits=limits)) as (_, url, _):
        for token in ("", "wrong"):
            with pytest.raises(InvalidStatus) as denied:
                async with connect(url + "/xiaozhi/v1/", additional_headers=headers(token=token)):
                    pass
            assert denied.value.response.status_code == 401
        async with speaker(url, given=headers(token=SECRET)):
            pass
        bare = {**headers(), "Authorization": SECRET}  # a client that leaves the scheme out
        async with speaker(url, given=bare):
            pass
        query = f"/xiaozhi/v1/?device-id={MAC}&client-id=7f1d&authorization=Bearer%20{SECRET}"
        async with speaker(url, path=query, given={}):
            pass


@pytest.mark.parametrize("device_id", ["x" * 129, "a/b", "a b"])
async def test_an_id_that_is_none_is_refused(device_id: str) -> None:
    async with serving() as (_, url, _):
        with pytest.raises(InvalidStatus) as denied:
            async with connect(url + "/xiaozhi/v1/", additional_headers=headers(device_id=device_id)):
                pass
        assert denied.value.response.status_code == 400


async def test_a_full_server_says_so_before_the_talk() -> None:
    settings = Settings(limits=LimitSection(sessions=1))
    async with serving(settings=settings) as (_, url, _), speaker(url):
        with pytest.raises(InvalidStatus) as denied:
            async with connect(url + "/xiaozhi/v1/", additional_headers=headers()):
                pass
        assert denied.value.response.status_code == 503


async def test_the_device_is_whose_memory_it_is(tmp_path: "object") -> None:
    settings = Settings(memory=MemorySection(path=f"{tmp_path}/memory.db"))
    async with serving("Nice to meet you.", "You are Ann.", settings=settings) as (voice, url, model):
        for device_id, text in ((MAC.upper(), "I am Ann."), (MAC, "Who am I?"), ("11:22:33:44:55:66", "And I?")):
            async with speaker(url, given=headers(device_id=device_id)) as there:
                there.device.wake(text)
                await there.until("tts.stop")
            await seats_empty(voice)
        assert "I am Ann." in str(model.prompt(1))
        assert "I am Ann." not in str(model.prompt(2))


# -- leaving ----------------------------------------------------------------------------------------------------------


async def test_a_device_that_drops_the_connection_is_gone() -> None:
    async with serving() as (voice, url, _), speaker(url, checked=False) as there:
        there.device.wake("tell me")
        await there.until("tts.start")
        there.socket.transport.abort()
        await seats_empty(voice)


async def test_a_close_frame_that_is_never_answered_holds_nothing_up() -> None:
    settings = Settings(xiaozhi=XiaozhiSection(silence_seconds=0.5, goodbye="Bye."))
    async with serving(settings=settings) as (voice, url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        handshake = [
            "GET /xiaozhi/v1/ HTTP/1.1",
            "Host: 127.0.0.1",  # the firmware leaves the port out
            "Protocol-Version: 1",
            f"Device-Id: {MAC}",
            "Client-Id: 7f1d",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        writer.write("\r\n".join([*handshake, "", ""]).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
        payload = HELLO.encode()
        masked = bytes(byte ^ key for byte, key in zip(payload, b"\x01\x02\x03\x04" * len(payload), strict=False))
        writer.write(b"\x81\xfe" + len(payload).to_bytes(2, "big") + b"\x01\x02\x03\x04" + masked)
        began = time.monotonic()
        async with asyncio.timeout(10):
            while await reader.read(4096):
                pass
        assert time.monotonic() - began < 8
        await seats_empty(voice)
        writer.close()


async def test_silence_ends_with_goodbye_and_1000() -> None:
    settings = Settings(xiaozhi=XiaozhiSection(silence_seconds=0.5, goodbye="Bye."))
    async with serving(settings=settings) as (_, url, _), speaker(url) as there:
        there.device.wake(None)
        assert await there.until_closed() == 1000
        assert there.device.of("tts", "sentence_start")[-1]["text"] == "Bye."
        assert there.device.played_seconds >= 0.24


async def test_a_drain_lets_it_finish_and_then_ends_it() -> None:
    async with serving() as (voice, url, _), speaker(url) as there:
        there.device.wake("tell me")
        await there.until("tts.start")
        for connection in voice._connections:
            connection.stop("draining")
        assert await there.until_closed() == 1001
        assert there.device.state != "speaking"


# -- broken and hostile ones ------------------------------------------------------------------------------------------


async def test_nonsense_disturbs_neither_its_own_talk_nor_another() -> None:
    async with serving("A tale that goes on for a while.") as (_, url, _), speaker(url) as other:
        other.device.wake("tell me a tale")
        for version in (1, 2, 3):
            device = Device(version=version)
            async with speaker(url, device) as there:
                frames: list[str | bytes] = [frame for _, wanted, frame in BYTES if wanted == version]
                frames += [text for _, text in TEXTS] if version == 1 else []
                for frame in frames:
                    await there.socket.send(frame)
                    await there.socket.send('{"type":"iot"}')
                device.wake("are you well")
                await there.until("tts.stop")
        await other.until("tts.stop")
        assert other.device.gaps == 0


async def test_who_sends_nothing_but_nonsense_is_let_go() -> None:
    async with serving() as (_, url, _), speaker(url) as there:
        for _ in range(MAX_MALFORMED + 1):
            await there.socket.send("nonsense")
        assert await there.until_closed() == 1008


async def test_a_client_of_another_protocol_is_told_so() -> None:
    async with serving() as (_, url, _), connect(url + "/xiaozhi/v1/", additional_headers=headers()) as socket:
        await socket.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1002


async def test_a_flood_of_audio_is_taken_without_pushing_back() -> None:
    async with serving() as (_, url, _), speaker(url) as there:
        there.device.wake(None)
        await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            for _ in range(3_000):  # three minutes
                await there.socket.send(DTX)
        there.device.wake("are you well")
        await there.until("tts.stop")


# -- photos -----------------------------------------------------------------------------------------------------------

BOUNDARY = "----ESP32_CAMERA_BOUNDARY"


async def upload(size: int) -> AsyncIterator[bytes]:
    yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="question"\r\n\r\nWhat is it?\r\n'.encode()
    head = 'Content-Disposition: form-data; name="file"; filename="camera.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    yield f"--{BOUNDARY}\r\n{head}".encode()
    for _ in range(size // 10_000):
        yield b"\xff" * 10_000
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


async def test_a_photo_is_answered_as_long_as_the_device_is_connected() -> None:
    async with serving() as (_, url, _), httpx.AsyncClient() as http:
        async with speaker(url, Device(mcp=True)) as there:
            await there.until("mcp")
            params = there.device.of("mcp")[0]["payload"]["params"]  # type: ignore[index]
            vision = params["capabilities"]["vision"]
            assert vision["url"] == f"{url.replace('ws', 'http')}/xiaozhi/vision"
            multipart = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Device-Id": MAC}
            allowed = {**multipart, "Authorization": f"Bearer {vision['token']}"}
            answer = await http.post(vision["url"], headers=allowed, content=upload(100_000))
            assert answer.status_code == 200
            assert answer.json()["success"] is False
            assert "pictures" in answer.json()["message"]
            denied = await http.post(vision["url"], headers=multipart, content=upload(10_000))
            assert denied.status_code == 401
            huge = await http.post(vision["url"], headers=allowed, content=upload(5_000_000))
            assert huge.status_code == 413
        gone = await http.post(vision["url"], headers=allowed, content=upload(10_000))
        assert gone.status_code == 401


async def test_the_public_address_is_that_of_the_configuration() -> None:
    settings = Settings(xiaozhi=XiaozhiSection(public_url="https://voice.example/"))
    async with serving(settings=settings) as (_, url, _), speaker(url, Device(mcp=True)) as there:
        await there.until("mcp")
        params = there.device.of("mcp")[0]["payload"]["params"]  # type: ignore[index]
        assert params["capabilities"]["vision"]["url"] == "https://voice.example/xiaozhi/vision"
