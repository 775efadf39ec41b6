"""Calls of Vonage, Genesys, FreeSWITCH and Asterisk to the running server: real sockets, and who may come in."""

import asyncio
import base64
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpx
import jwt
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.channels.telephone.test_server import on_the_phone
from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak
from tests.support.telephone.asterisk_rig import free_port
from tests.support.telephone.systems.bench import SimulatedSystem
from tests.support.telephone.systems.hostile import CASES
from tests.support.telephone.systems.vendors import CALL_ID, MEDIA_START, ORGANIZATION
from tests.support.telephone.twilio import Hung
from voiceagent.channels.base import Frame
from voiceagent.channels.telephone.registry import TelephoneSection
from voiceagent.channels.telephone.vendors.genesys import genesys_signature, genesys_signed
from voiceagent.channels.telephone.vendors.vonage import vonage_signed
from voiceagent.settings import Settings

pytestmark = pytest.mark.real

WEB = ("vonage", "genesys", "freeswitch", "asterisk", "asterisk-json")
SECRET = "s3cret-token"
KEY = base64.b64encode(b"a client secret of thirty-two by").decode()
LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far. "
)


def configured(**telephone: object) -> Settings:
    return Settings(telephone=TelephoneSection.model_validate(telephone))


@asynccontextmanager
async def line(
    name: str, send: Callable[[Frame], Awaitable[None]], receive: Callable[[], Awaitable[Frame]]
) -> AsyncIterator[SimulatedSystem]:
    """A call that goes on meanwhile."""
    system = SimulatedSystem(name, send, receive)
    task = asyncio.create_task(system.run(), name="simulated system")
    task.add_done_callback(lambda _: system._changed.set())
    try:
        await system.until(lambda: system._started)
        yield system
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def web_call(name: str, url: str, path: str = "") -> AsyncIterator[SimulatedSystem]:
    headers = {"Audiohook-Organization-Id": ORGANIZATION}
    query = "tenant=acme&from=%2B15551234&to=%2B15559999&channel=PJSIP%2F1-1"
    address = f"{url}/{name.partition('-')[0]}{path}?{query}"
    protocols = [Subprotocol("media")] if name.startswith("asterisk") else None
    async with connect(address, additional_headers=headers, subprotocols=protocols, max_size=None) as connection:
        assert connection.subprotocol == ("media" if protocols else None)

        async def send(frame: Frame) -> None:
            try:
                await connection.send(frame)
            except ConnectionClosed:
                raise Hung from None

        async def receive() -> Frame:
            try:
                return await connection.recv()
            except ConnectionClosed:
                raise Hung from None

        async with line(name, send, receive) as system:
            yield system


@asynccontextmanager
async def tcp_call(port: int) -> AsyncIterator[SimulatedSystem]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send(frame: Frame) -> None:
        writer.write(cast(bytes, frame))

    async def receive() -> Frame:
        try:
            header = await reader.readexactly(3)
            return header + await reader.readexactly(int.from_bytes(header[1:], "big"))
        except (EOFError, OSError):
            raise Hung from None

    try:
        async with line("audiosocket", send, receive) as system:
            yield system
    finally:
        writer.close()


@asynccontextmanager
async def any_call(name: str, url: str, port: int) -> AsyncIterator[SimulatedSystem]:
    async with tcp_call(port) if name == "audiosocket" else web_call(name, url) as system:
        yield system


@pytest.mark.parametrize("name", ["vonage", "genesys", "audiosocket"])
async def test_a_turn_a_barge_in_and_a_hang_up(engines_for: EnginesFor, speak: Speak, name: str) -> None:
    question = on_the_phone(speak("Tell me about the moon."))
    stop = on_the_phone(speak("Please tell me about the sun instead."))
    port = free_port()
    end = Reply(calls=[("end_call", "{}")], finish_reason="tool_calls")
    async with (
        ScriptedLlm([LONG, "The sun is a star.", end]) as llm,
        running(configured(audiosocket={"port": port}), engines_for(llm.base_url)) as (_, url),
        any_call(name, url, port) as caller,
    ):
        await caller.say(question)
        await caller.until(lambda: caller.played_seconds > 1.2)
        assert "moon" in llm.requests[0].messages[-1]["content"].lower()
        await caller.say(stop)
        await llm.requested(2)
        told = llm.requests[-1].messages
        assert "sun" in told[-1]["content"].lower()
        assert LONG.startswith(next(one["content"] for one in told if one["role"] == "assistant").strip())
        heard = caller.played_seconds
        await caller.until(lambda: caller.played_seconds > heard + 0.5)
        await caller.press("1")
        await asyncio.sleep(0.05)
        await caller.press("#")
        await caller.over.wait()
        assert llm.requests[-1].messages[-1]["content"] == "[keypad: 1]"
        assert "leave" in caller.words or name in ("vonage", "freeswitch")


async def test_hostile_clients_are_closed_and_disturb_no_call(engines_for: EnginesFor) -> None:
    port = free_port()
    settings = configured(greeting=LONG, audiosocket={"port": port})
    async with (
        ScriptedLlm(["Hello."]) as llm,
        running(settings, engines_for(llm.base_url)) as (voice, url),
        any_call("asterisk", url, port) as other,
    ):
        await other.until(lambda: other.played_seconds > 0.2)
        for name, cases in CASES.items():
            for case, frame, code in cases:
                if name == "audiosocket":
                    data = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
                    assert await tcp_ends(port, data), case
                elif code is not None:
                    assert await close_code(f"{url}/{name.partition('-')[0]}", frame) == code, (name, case)
        await other.until_silent()
        assert other.played_seconds > 2.0
        assert not other.over.is_set()
        await other.press("#")
        await llm.requested(1)
        assert voice.admission.sessions == 1
    await asyncio.get_running_loop().shutdown_default_executor()  # large messages are parsed in its threads


async def close_code(url: str, frame: Frame) -> int:
    headers = {"Audiohook-Organization-Id": ORGANIZATION}
    async with asyncio.timeout(20), connect(url, additional_headers=headers, max_size=None) as connection:
        try:
            await connection.send(frame)
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006


async def tcp_ends(port: int, data: bytes) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(20):
            return len(await reader.read()) < 1000
    except ConnectionError:
        return True
    finally:
        writer.close()


# -- who may come in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WEB)
async def test_a_secret_opens_the_door_and_nothing_else_does(engines_for: EnginesFor, name: str) -> None:
    vendor = name.partition("-")[0]
    settings = configured(**{vendor: {"secret": SECRET}})
    async with running(settings, engines_for("http://127.0.0.1:9")) as (_, url):
        basic = base64.b64encode(f"agent:{SECRET}".encode()).decode()
        for path, headers in (
            (f"/{SECRET}", {}),
            (f"?key={SECRET}", {}),
            ("", {"Authorization": f"Basic {basic}"}),
            ("", {"Authorization": f"Bearer {SECRET}"}),
        ):
            async with connect(f"{url}/{vendor}{path}", additional_headers=headers):
                pass
        for path in ("", "/wrong-secret", "?key=", f"?key={SECRET}x"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url}/{vendor}{path}")
            assert refused.value.response.status_code == 403


def vonage_token(body: bytes = b"", *, secret: str = SECRET, age: float = 0, **claims: object) -> str:
    told = {"iat": int(time.time() - age), "iss": "Vonage", "jti": "1", "application_id": "app-1", **claims}
    if body:
        told["payload_hash"] = hashlib.sha256(body).hexdigest()
    return jwt.encode(told, secret, algorithm="HS256")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_vonage_s_tokens() -> None:
    secret = SecretStr(SECRET)
    assert vonage_signed("", b"", None) is None
    assert vonage_signed(f"Bearer {vonage_token()}", b"", secret)
    assert vonage_signed(f"Bearer {vonage_token(b'{}')}", b"{}", secret)
    unsigned = jwt.encode({"iat": int(time.time())}, "", algorithm="none")
    for wrong in (
        "",
        "Bearer",
        "Bearer x.y.z",
        f"Basic {vonage_token()}",
        f"Bearer {vonage_token(secret='another-secret')}",
        f"Bearer {vonage_token(age=3600)}",
        f"Bearer {vonage_token(age=-3600)}",
        f"Bearer {unsigned}",
        f"Bearer {vonage_token(iat='soon')}",
    ):
        assert vonage_signed(wrong, b"", secret) is False, wrong
    assert vonage_signed(f"Bearer {vonage_token(b'{}')}", b'{"x":1}', secret) is False


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_vonage_s_page_and_stream(engines_for: EnginesFor) -> None:
    settings = configured(
        public_url="https://voice.example.com",
        destinations={"sales": "+15550001"},
        dial_after="sales",
        parameters={"tenant": "acme"},
        vonage={"signature_secret": SECRET, "rate": 8000},
    )
    async with running(settings, engines_for("http://127.0.0.1:9")) as (_, url), httpx.AsyncClient() as client:
        page = f"{url.replace('ws', 'http', 1)}/vonage/voice"
        told = {"from": "15551234", "to": "15559999", "uuid": "call-1", "conversation_uuid": "CON-1"}
        signed = {"Authorization": f"Bearer {vonage_token()}"}
        assert (await client.get(page, params=told)).status_code == 403
        answer = await client.get(page, params=told, headers=signed)
        [stream, after] = answer.json()
        [endpoint] = stream["endpoint"]
        assert endpoint["uri"] == "wss://voice.example.com/vonage"
        assert endpoint["content-type"] == "audio/l16;rate=8000"
        assert endpoint["headers"] == {
            "from": "15551234",
            "to": "15559999",
            "call_uuid": "call-1",
            "conversation_uuid": "CON-1",
            "tenant": "acme",
        }
        assert endpoint["authorization"] == {"type": "vonage"}
        assert after == {
            "action": "connect",
            "from": "15559999",
            "endpoint": [{"type": "phone", "number": "15550001"}],
        }
        body = json.dumps(told).encode()
        headers = {"Authorization": f"Bearer {vonage_token(body)}", "Content-Type": "application/json"}
        assert (await client.post(page, content=body, headers=headers)).json() == [stream, after]
        assert (await client.post(page, content=b"{}", headers=headers)).status_code == 403
        broken = {"Authorization": f"Bearer {vonage_token(b'{')}", "Content-Type": "application/json"}
        assert (await client.post(page, content=b"{", headers=broken)).status_code == 400
        assert (await client.post(page, content=b"x" * 100_000, headers=broken)).status_code == 413
        async with connect(f"{url}/vonage", additional_headers=signed):
            pass


HOOK = {
    "host": "audiohook.example.com",
    "audiohook-organization-id": ORGANIZATION,
    "audiohook-session-id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "audiohook-correlation-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "x-api-key": "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh",
}
COVERED = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)


def hooked(
    url: str, *, key: str = KEY, age: int = 0, names: tuple[str, ...] = COVERED, **changed: str
) -> dict[str, str]:
    """The headers of Genesys' handshake."""
    now = int(time.time()) - age
    told = {"keyid": HOOK["x-api-key"], "nonce": "VGhpc0lzQVVuaXF1ZU5vbmNl", "alg": "hmac-sha256", **changed}
    quoted = "".join(f';{name}="{value}"' for name, value in told.items())
    components = " ".join(f'"{name}"' for name in names)
    parameters = f"({components}){quoted};created={now};expires={now + 10}"
    signature = genesys_signature(base64.b64decode(key), HOOK, url, names, parameters)
    return {**HOOK, "signature-input": f"sig1={parameters}", "signature": f"sig1=:{signature}:"}


def test_genesys_signatures() -> None:
    url = "wss://audiohook.example.com/genesys?x=1"
    api_key, secret = SecretStr(HOOK["x-api-key"]), SecretStr(KEY)
    right = hooked(url)
    assert genesys_signed(right, [url], None, None) is None
    assert genesys_signed(HOOK, [url], api_key, None), "an integration without a client secret"
    assert genesys_signed(right, ["wss://audiohook.example.com:443/genesys?x=1", url], api_key, secret)
    assert genesys_signed(right, [url], None, secret)
    other_key = base64.b64encode(b"another").decode()
    wrong = {
        "unsigned": HOOK,
        "signed by another": hooked(url, key=other_key),
        "old": hooked(url, age=120),
        "of the future": hooked(url, age=-120),
        "covers too little": hooked(url, names=COVERED[:-1]),
        "covers one twice": hooked(url, names=(*COVERED, "x-api-key")),
        "covers what is not there": hooked(url, names=(*COVERED, "no-such-header")),
        "another algorithm": hooked(url, alg="rsa-v1_5-sha256"),
        "short nonce": hooked(url, nonce="x"),
        "another key's id": hooked(url, keyid="another"),
        "another url": hooked("wss://audiohook.example.com/other"),
        "another session": right | {"audiohook-session-id": "0"},
        "another api key": right | {"x-api-key": "another"},
        "another label": right | {"signature": right["signature"].replace("sig1", "sig2")},
        "no base64": right | {"signature": "sig1=:***:"},
        "broken input": right | {"signature-input": "sig1=("},
        "long input": right | {"signature-input": "sig1=(" + '"a" ' * 10_000},
        "two inputs": right | {"signature-input": right["signature-input"] + ", sig2=()"},
    }
    for case, headers in wrong.items():
        assert genesys_signed(headers, [url], api_key, secret) is False, case


async def test_genesys_by_its_signature(engines_for: EnginesFor) -> None:
    settings = configured(
        public_url="https://audiohook.example.com",
        genesys={"api_key": HOOK["x-api-key"], "client_secret": KEY},
    )
    async with running(settings, engines_for("http://127.0.0.1:9")) as (_, url):
        headers = hooked("wss://audiohook.example.com/genesys")
        headers.pop("host")
        async with connect(f"{url}/genesys", additional_headers=headers):
            pass
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/genesys", additional_headers=headers | {"signature": "sig1=:AAAA:"})
        assert refused.value.response.status_code == 403


# -- AudioSocket ------------------------------------------------------------------------------------------------------


async def test_announced_calls_have_data_and_others_do_not_come_in(engines_for: EnginesFor) -> None:
    port = free_port()
    settings = configured(greeting="Hello.", audiosocket={"port": port, "announced_only": True, "secret": SECRET})
    async with running(settings, engines_for("http://127.0.0.1:9")) as (voice, url), httpx.AsyncClient() as client:
        page = f"{url.replace('ws', 'http', 1)}/audiosocket"
        assert await tcp_ends(port, b"\x01\x00\x10" + uuid.UUID(CALL_ID).bytes)
        assert (await client.get(f"{page}/{CALL_ID}")).status_code == 403
        assert (await client.get(f"{page}/no-uuid", params={"key": SECRET})).status_code == 404
        told = await client.get(f"{page}/{CALL_ID.upper()}", params={"key": SECRET, "tenant": "acme"})
        assert told.status_code == 204
        async with tcp_call(port) as caller:
            await caller.until_silent()
            assert caller.played_seconds > 0.2
            assert voice.admission.sessions == 1
            await caller.hang_up()
            await caller.over.wait()
        assert await tcp_ends(port, b"\x01\x00\x10" + uuid.UUID(CALL_ID).bytes), "good for one call"


async def test_audiosocket_is_paced(engines_for: EnginesFor) -> None:
    port = free_port()
    settings = configured(greeting=LONG, audiosocket={"port": port})
    async with running(settings, engines_for("http://127.0.0.1:9")), tcp_call(port) as caller:
        await caller.until(lambda: caller.played_seconds > 1.0)
        assert caller.received / 8000 < caller.played_seconds + 0.25
        await caller.hang_up()
        await caller.over.wait()


async def test_a_port_that_is_taken_is_told(engines_for: EnginesFor) -> None:
    blocker = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = blocker.sockets[0].getsockname()[1]
    async with blocker:
        with pytest.raises(Exception, match=r"\[telephone.audiosocket\] cannot listen on port"):
            async with running(configured(audiosocket={"port": port}), engines_for("http://127.0.0.1:9")):
                await asyncio.sleep(5)


async def test_a_full_server_turns_audiosocket_away(engines_for: EnginesFor) -> None:
    port = free_port()
    settings = configured(audiosocket={"port": port})
    async with running(settings, engines_for("http://127.0.0.1:9")) as (voice, _):
        voice.admission.draining = True
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            assert await reader.read() == b"\xff\x00\x01\x01\x00\x00\x00"
        writer.close()


# -- we connect to Asterisk -------------------------------------------------------------------------------------------


async def test_we_dial_into_asterisk(engines_for: EnginesFor) -> None:
    heard: asyncio.Queue[Frame] = asyncio.Queue()
    paths: list[str] = []

    async def media(connection: ServerConnection) -> None:
        assert connection.request is not None
        paths.append(connection.request.path)
        if "unknown" in connection.request.path:
            return
        await connection.send(json.dumps(MEDIA_START))
        try:
            async for frame in connection:
                heard.put_nowait(frame)
        except ConnectionClosed:
            pass

    async with serve(media, "127.0.0.1", 0, subprotocols=[Subprotocol("media")]) as asterisk:
        port = next(iter(asterisk.sockets)).getsockname()[1]
        section = {"secret": SECRET, "http": f"http://127.0.0.1:{port}"}
        settings = configured(greeting="Hello {{tenant}}.", asterisk=section)
        async with running(settings, engines_for("http://127.0.0.1:9")) as (voice, url), httpx.AsyncClient() as client:
            page = f"{url.replace('ws', 'http', 1)}/asterisk/dial"
            wanted = {"connection_id": "abc/../x", "channel": "1.2", "parameters": {"tenant": "acme"}}
            assert (await client.post(page, json=wanted)).status_code == 403
            answer = await client.post(page, json=wanted, params={"key": SECRET})
            assert answer.status_code == 202
            assert answer.json()["session_id"].startswith("sess_")
            assert paths == ["/media/abc%2F..%2Fx"]
            async with asyncio.timeout(20):
                assert await heard.get() == '{"command":"ANSWER"}'
                assert isinstance(await heard.get(), bytes)
            for bad in (b"", b"{", b"[]", b"{}", b'{"connection_id":""}', b'{"connection_id":7}',
                        b'{"connection_id":"x","url":"ws://elsewhere"}',
                        json.dumps({"connection_id": "x" * 300}).encode()):  # fmt: skip
                assert (await client.post(page, content=bad, params={"key": SECRET})).status_code == 400, bad
            voice.admission.draining = True
            assert (await client.post(page, json=wanted, params={"key": SECRET})).status_code == 503
            voice.admission.draining = False
            asterisk.close()
            await asterisk.wait_closed()
            assert (await client.post(page, json=wanted, params={"key": SECRET})).status_code == 502


async def test_without_an_address_nobody_is_dialled(engines_for: EnginesFor) -> None:
    async with running(Settings(), engines_for("http://127.0.0.1:9")) as (_, url), httpx.AsyncClient() as client:
        page = f"{url.replace('ws', 'http', 1)}/asterisk/dial"
        assert (await client.post(page, json={"connection_id": "x"})).status_code == 503
