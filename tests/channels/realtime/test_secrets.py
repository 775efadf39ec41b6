"""Client secrets: made over HTTP, good for a while, and for the sessions they describe."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.support.realtime.wire import read
from tests.support.speech import EnginesFor
from tests.support.wire_client import client_of, serving
from voiceagent.channels.channel import Denied
from voiceagent.channels.realtime import secrets
from voiceagent.channels.realtime.secrets import MAX_BODY, MOST, MOST_BYTES, ClientSecrets
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import Settings

PATH = "/v1/realtime/client_secrets"
SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "Talk like a pirate.",
    "tools": [{"type": "function", "name": "treasure", "parameters": {"type": "object"}}],
    "audio": {"input": {"transcription": {"model": "any"}}},
}
KEYS = (ApiKey(name="shop", key="sk-shop"), ApiKey(name="bank", key="sk-bank"))  # type: ignore[arg-type]
SETTINGS = Settings(limits=LimitSection(api_keys=KEYS, sessions_per_key=1))
SHOP = {"authorization": "Bearer sk-shop"}


@asynccontextmanager
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, base_url=url.replace("ws://", "http://")) as client:
        yield client


async def refused(url: str, **how: object) -> tuple[int, str]:
    """Status and code with which a connection is not accepted."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{url}/v1/realtime?model=m", **how):  # type: ignore[arg-type]
            pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]["code"]


async def test_a_browser_talks_with_a_secret_that_its_server_got(engines_for: EnginesFor) -> None:
    async with serving(engines_for, SETTINGS) as (voice, url):
        base = url.replace("ws://", "http://")
        async with AsyncOpenAI(api_key="sk-shop", base_url=f"{base}/v1") as openai:
            made = await openai.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session=SESSION,  # type: ignore[arg-type]
            )
        assert made.value.startswith("ek_")
        assert made.session.type == "realtime"
        assert made.session.model == "gpt-realtime"
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{made.value}")]
        async with connect(f"{url}/v1/realtime", subprotocols=offered) as socket:
            assert socket.subprotocol == "realtime"
            session = read(await socket.recv())["session"]
            assert isinstance(session, dict)
            assert session["instructions"] == "Talk like a pirate."
            assert [tool["name"] for tool in session["tools"]] == ["treasure"]
            assert session["model"] == "gpt-realtime"
            # it is the shop's session, and the shop may have one
            assert voice.admission.sessions == 1
            assert await refused(url, additional_headers=SHOP) == (429, "too_many_sessions")
        async with client_of(url, made.value) as client:  # once more, and as a header
            await client.is_well()


async def test_a_secret_for_transcription(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url), http(url) as client:
        made = (await client.post(PATH, json={"session": {"type": "transcription"}})).json()
        assert made["session"]["object"] == "realtime.transcription_session"
        async with client_of(url, made["value"]) as talk:
            session = talk.events[0]["session"]
            assert isinstance(session, dict)
            assert session["type"] == "transcription"
            await talk.send("response.create")
            await talk.until("error")
            assert talk.errors() == ["response_not_available"]


async def test_a_secret_without_anything(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url), http(url) as client:
        for body in (b"", b"{}", b'{"session": null, "expires_after": null}'):
            made = (await client.post(PATH, content=body)).json()
            assert made["session"]["type"] == "realtime"
            async with client_of(url, made["value"]) as talk:
                assert talk.events[0]["type"] == "session.created"


async def test_secrets_that_are_wrong(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url), http(url) as client:
        wrong = {"authorization": "Bearer ek_nobody"}
        assert await refused(url, additional_headers=wrong) == (401, "invalid_api_key")
        made = await client.post(PATH, json={})
        assert made.status_code == 200
    async with serving(engines_for, SETTINGS) as (_, url):  # another server knows nothing of it
        header = {"authorization": f"Bearer {made.json()['value']}"}
        assert await refused(url, additional_headers=header) == (401, "invalid_api_key")


@pytest.fixture
async def shared_server(engines_for: EnginesFor) -> AsyncIterator[str]:
    async with serving(engines_for, SETTINGS) as (_, url):
        yield url


BODIES: list[tuple[bytes, int, str, str | None]] = [
    (b"{", 400, "invalid_json", None),
    (b"\xff\xfe", 400, "invalid_json", None),
    (b"[]", 400, "invalid_type", None),
    (b"null", 400, "invalid_type", None),
    (b"[" * 100_000, 400, "invalid_type", None),
    (b'{"session":' + b'{"a":' * 20_000, 400, "invalid_json", None),
    (b'{"session": "mine"}', 400, "invalid_type", "session"),
    (b'{"session": {}}', 400, "missing_required_parameter", "session.type"),
    (b'{"session": {"type": "translation"}}', 400, "invalid_value", "session.type"),
    (b'{"session": {"type": "realtime", "instructions": 5}}', 400, "invalid_type", "session.instructions"),
    (
        b'{"session": {"type": "realtime", "tools": [{"type": "mcp", "server_label": "s"}]}}',
        400,
        "unsupported_tool",
        "session.tools[0].type",
    ),
    (b'{"expires_after": 60}', 400, "invalid_type", "expires_after"),
    (b'{"expires_after": {"seconds": 9}}', 400, "invalid_value", "expires_after.seconds"),
    (b'{"expires_after": {"seconds": 7201}}', 400, "invalid_value", "expires_after.seconds"),
    (b'{"expires_after": {"seconds": 60.5}}', 400, "invalid_type", "expires_after.seconds"),
    (b'{"expires_after": {"seconds": "60"}}', 400, "invalid_type", "expires_after.seconds"),
    (b'{"expires_after": {"anchor": "first_use"}}', 400, "invalid_value", "expires_after.anchor"),
    (
        b'{"session": {"type": "realtime", "instructions": "' + b"x" * MAX_BODY + b'"}}',
        413,
        "request_too_large",
        None,
    ),
]


async def test_requests_that_are_refused(shared_server: str) -> None:
    async with http(shared_server) as client:
        for body, status, code, param in BODIES:
            answer = await client.post(PATH, content=body, headers=SHOP)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
            assert error["type"] == "invalid_request_error"
        assert (await client.post(PATH, headers=SHOP)).status_code == 200


async def test_only_a_key_makes_secrets(shared_server: str) -> None:
    async with http(shared_server) as client:
        made = (await client.post(PATH, headers=SHOP)).json()["value"]
        for wrong in ({}, {"authorization": "Bearer sk-x"}, {"authorization": f"Bearer {made}"}):
            answer = await client.post(PATH, headers=wrong)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert (await client.get(PATH, headers=SHOP)).status_code == 405


async def test_a_body_that_does_not_come(shared_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "BODY_SECONDS", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.5)
        yield b"}"

    async with http(shared_server) as client:
        answer = await client.post(PATH, content=slow(), headers=SHOP)
        assert (answer.status_code, answer.json()["error"]["code"]) == (408, "request_timeout")


async def test_pages_from_elsewhere(engines_for: EnginesFor) -> None:
    limits = LimitSection(api_keys=KEYS, allowed_origins=("https://shop.example",))
    ask = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with serving(engines_for, Settings(limits=limits)) as (_, url), http(url) as client:
        before = await client.options(PATH, headers=ask)
        assert before.status_code == 204
        assert before.headers["access-control-allow-origin"] == "https://shop.example"
        assert before.headers["access-control-allow-methods"] == "POST"
        assert before.headers["access-control-allow-headers"] == "authorization,content-type"
        for headers, status in (({**SHOP, **ask}, 200), (ask, 401)):
            answer = await client.post(PATH, headers=headers)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["vary"] == "Origin"
        for stranger in (
            await client.options(PATH, headers={**ask, "origin": "https://evil.example"}),
            await client.post(PATH, headers={**SHOP, "origin": "https://evil.example"}),
        ):
            assert stranger.status_code == 403
            assert "access-control-allow-origin" not in stranger.headers
        assert "access-control-allow-origin" not in (await client.post(PATH, headers=SHOP)).headers


# -- the store --------------------------------------------------------------------------------------------------------


def test_a_secret_expires() -> None:
    moment = 0.0
    secrets = ClientSecrets(lambda: moment)
    secrets.add("ek_1", "shop", None, seconds=10, size=0)
    moment = 9.9
    found = secrets.find("ek_1")
    assert found is not None
    assert found.tenant == "shop"
    moment = 10.0
    assert secrets.find("ek_1") is None


def test_a_tenant_has_so_many_and_others_do_not_mind() -> None:
    moment = 0.0
    secrets = ClientSecrets(lambda: moment)
    for number in range(MOST):
        secrets.add(f"ek_{number}", "shop", None, seconds=10 + number, size=0)
    with pytest.raises(Denied) as denied:
        secrets.add("ek_more", "shop", None, seconds=10, size=0)
    assert (denied.value.status, denied.value.code, denied.value.retry_after) == (429, "too_many_client_secrets", 11)
    secrets.add("ek_other", "bank", None, seconds=10, size=0)
    moment = 10.0
    secrets.add("ek_more", "shop", None, seconds=10, size=0)
    assert secrets.find("ek_0") is None
    assert secrets.find("ek_more") is not None


def test_what_secrets_may_take() -> None:
    secrets = ClientSecrets(lambda: 0.0)
    secrets.add("ek_1", "shop", None, seconds=10, size=MOST_BYTES)
    with pytest.raises(Denied):
        secrets.add("ek_2", "shop", None, seconds=10, size=1)
