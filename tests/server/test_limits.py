"""Who may come in: keys, origins, places; what /healthz and /metrics say meanwhile. Over real sockets."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.support.llm.server import Reply
from tests.support.speech import EnginesFor, KeptVad, Speak
from tests.support.wire_client import Json, RawSocket, client_of, get, serving, until_sessions
from voiceagent.engines import Engines
from voiceagent.errors import ConfigError
from voiceagent.server.app import VoiceServer
from voiceagent.server.serve import make_server
from voiceagent.server.settings import AgentSection, ApiKey, LimitSection
from voiceagent.settings import MemorySection, Settings

pytestmark = pytest.mark.real

KEY = "sk-a-secret-that-nobody-may-see"
OTHER = "sk-another-secret"


def keys(**limits: object) -> Settings:
    known = (ApiKey(name="ann", key=SecretStr(KEY)), ApiKey(name="bob", key=SecretStr(OTHER)))
    return Settings(limits=LimitSection.model_validate({"api_keys": known, **limits}))


async def refused(url: str, **options: object) -> tuple[int, Json, str | None]:
    """Status, error and Retry-After with which the server refuses to upgrade."""
    with pytest.raises(InvalidStatus) as status:
        async with connect(f"{url}/v1/realtime", **options):  # type: ignore[arg-type]
            pass
    response = status.value.response
    error = cast(Json, json.loads(response.body)["error"])
    assert set(error) == {"type", "code", "message", "param"}
    return response.status_code, error, response.headers.get("retry-after")


async def metrics(url: str) -> dict[str, float]:
    """Every series with its value, as Prometheus' own parser reads them."""
    page = await get(url, "/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    series: dict[str, float] = {}
    for family in text_string_to_metric_families(page.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            series[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return series


# -- keys -------------------------------------------------------------------------------------------------------------


async def test_without_keys_everybody_may_come_in_even_with_one(engines_for: EnginesFor) -> None:
    async with (
        serving(engines_for) as (_, url),
        client_of(url) as client,
        client_of(url, key="whatever"),
    ):
        await client.is_well()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"additional_headers": {"Authorization": f"Basic {KEY}"}},
        {"additional_headers": {"Authorization": KEY}},
        {"additional_headers": {"Authorization": "Bearer "}},
        {"additional_headers": {"Authorization": "Bearer \u00ff\u00fe"}},
        {"subprotocols": [Subprotocol("realtime"), Subprotocol("openai-insecure-api-key.wrong")]},
        {"subprotocols": [Subprotocol("realtime")]},
    ],
)
async def test_a_missing_or_wrong_key_is_refused_on_the_upgrade(
    engines_for: EnginesFor, options: dict[str, object]
) -> None:
    async with serving(engines_for, keys()) as (_, url):
        status, error, _ = await refused(url, **options)
        assert (status, error["type"], error["code"]) == (401, "invalid_request_error", "invalid_api_key")
        assert (await metrics(url))["voiceagent_refused_total{reason=invalid_api_key}"] == 1


async def test_a_key_comes_by_header_or_by_subprotocol_and_is_never_echoed(engines_for: EnginesFor) -> None:
    async with serving(engines_for, keys()) as (_, url):
        async with client_of(url, key=KEY) as client:
            assert client.connection.subprotocol is None
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{OTHER}"), Subprotocol("more")]
        async with client_of(url, subprotocols=offered) as client:
            assert client.connection.subprotocol == "realtime"
            assert client.connection.response is not None
            assert OTHER not in str(client.connection.response.headers)
            await client.is_well()
        only_key = f"Sec-WebSocket-Protocol: openai-insecure-api-key.{OTHER}"
        async with RawSocket(url) as raw:
            head = await raw.upgrade(only_key)
            assert head.startswith(b"HTTP/1.1 101")
            assert OTHER.encode() not in head
            assert b"sec-websocket-protocol" not in head.lower()


async def test_keys_and_words_are_never_logged(
    engines_for: EnginesFor, speak: Speak, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(engines_for, keys(), "A most secret answer.", Reply(status=500)) as (_, url):
        offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
        async with client_of(url, subprotocols=offered) as client:
            await client.turn(speak("The password is elephant."))
            await client.until("response.done")
            await client.type("My typed secret.")
            await client.connection.send(f'{{"type": "response.create", "response": {{"instructions": ["{KEY}"]}}}}')
            await client.until("error")
        await refused(url, additional_headers={"Authorization": f"Bearer {KEY}x"})
    ours = [record for record in caplog.records if not record.name.startswith(("websockets.client", "httpcore"))]
    logged = "\n".join(f"{record.name} {record.getMessage()} {record.exc_text or ''}" for record in ours).lower()
    assert "session sess_" in logged
    for secret in (KEY, "elephant", "secret"):
        assert secret not in logged


async def test_pages_of_strange_origins_are_refused(engines_for: EnginesFor) -> None:
    settings = Settings(limits=LimitSection(allowed_origins=("https://good.example",)))
    async with serving(engines_for, settings) as (_, url):
        status, error, _ = await refused(url, origin="https://bad.example")
        assert (status, error["code"]) == (403, "origin_not_allowed")
        async with client_of(url), client_of(url, origin="https://good.example") as client:  # devices send none
            await client.is_well()


# -- places -----------------------------------------------------------------------------------------------------------


async def test_a_full_server_refuses_at_once_and_a_place_is_free_again(engines_for: EnginesFor) -> None:
    settings = Settings(limits=LimitSection(sessions=2))
    async with serving(engines_for, settings) as (_, url), contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(client_of(url))
        async with client_of(url):
            assert (await metrics(url))["voiceagent_sessions"] == 2
            status, error, retry = await refused(url)
            assert (status, error["type"], error["code"]) == (503, "server_error", "server_full")
            assert int(retry or 0) > 0
        await until_sessions(url, 1)
        async with client_of(url) as third:
            await third.is_well()
        await first.is_well()
        page = await metrics(url)
        assert page["voiceagent_refused_total{reason=server_full}"] == 1


async def test_every_key_has_its_own_places(engines_for: EnginesFor) -> None:
    async with serving(engines_for, keys(sessions_per_key=1)) as (_, url), client_of(url, key=KEY):
        headers = {"Authorization": f"Bearer {KEY}"}
        status, error, retry = await refused(url, additional_headers=headers)
        assert (status, error["code"]) == (429, "too_many_sessions")
        assert int(retry or 0) > 0
        async with client_of(url, key=OTHER) as bob:
            await bob.is_well()


async def test_a_connection_that_breaks_frees_its_place(engines_for: EnginesFor) -> None:
    settings = Settings(limits=LimitSection(sessions=1))
    async with serving(engines_for, settings) as (_, url):
        for _ in range(5):
            async with RawSocket(url) as raw:
                assert (await raw.upgrade()).startswith(b"HTTP/1.1 101")
                raw.reset()
            await until_sessions(url, 0)
        async with client_of(url) as client:
            await client.is_well()


# -- pages ------------------------------------------------------------------------------------------------------------


class SlowVad(KeptVad):
    """Loads for as long as the test wants, or fails to."""

    def __init__(self, engine: KeptVad, error: Exception | None = None) -> None:
        super().__init__(engine)
        self.go_on = asyncio.Event()
        self._error = error

    async def open(self) -> None:
        await self.go_on.wait()
        if self._error is not None:
            raise self._error


@asynccontextmanager
async def loading(
    engines_for: EnginesFor, error: Exception | None = None
) -> AsyncIterator[tuple[VoiceServer, SlowVad, str]]:
    """A server whose engines are still loading."""
    engines = engines_for("http://127.0.0.1:9/v1")
    vad = SlowVad(cast(KeptVad, engines.vad), error)
    voice = VoiceServer(Settings(), Engines(vad, engines.asr, engines.llm, engines.tts))
    with RawListener() as listener:
        server = make_server(voice)
        serving_task = asyncio.create_task(server.serve([listener.socket]))
        try:
            await server.listening.wait()
            yield voice, vad, listener.url
        finally:
            vad.go_on.set()
            server.should_exit = True
            await serving_task


class RawListener:
    def __enter__(self) -> "RawListener":
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.socket.getsockname()[1]}"
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()


async def test_health_while_engines_load(engines_for: EnginesFor) -> None:
    async with loading(engines_for) as (voice, vad, url):
        page = await get(url, "/healthz")
        assert (page.status_code, page.json()["status"]) == (503, "loading")
        status, error, retry = await refused(url)
        assert (status, error["code"]) == (503, "server_loading")
        assert int(retry or 0) > 0
        vad.go_on.set()
        await voice.loaded.wait()
        page = await get(url, "/healthz")
        assert (page.status_code, page.json()) == (200, {"status": "ok", "sessions": 0})
        async with client_of(url):
            assert (await get(url, "/healthz")).json()["sessions"] == 1


async def test_health_when_engines_cannot_be_loaded(engines_for: EnginesFor) -> None:
    async with loading(engines_for, ConfigError("no such model")) as (voice, vad, url):
        vad.go_on.set()
        await voice.loaded.wait()
        page = await get(url, "/healthz")
        assert (page.status_code, page.json()["status"]) == (503, "failed")
        status, error, _ = await refused(url)
        assert (status, error["code"]) == (503, "server_failed")


async def test_health_and_refusals_while_draining(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (voice, url):
        async with client_of(url) as client:
            draining = asyncio.create_task(voice.drain())
            await asyncio.sleep(0)
            page = await get(url, "/healthz")
            assert (page.status_code, page.json()) == (503, {"status": "draining", "sessions": 1})
            status, error, retry = await refused(url)
            assert (status, error["code"]) == (503, "server_draining")
            assert int(retry or 0) > 0
            await client.is_well()  # who is in may finish
            assert not draining.done()
        await draining


async def test_what_happens_is_counted(engines_for: EnginesFor, speak: Speak) -> None:
    answers: list[Reply | str] = ["One.", Reply(status=500), "A long answer. " * 20, "Four."]
    async with serving(engines_for, Settings(agent=AgentSection(apology="Sorry.")), *answers) as (_, url):
        before = await metrics(url)
        assert before["voiceagent_sessions"] == 0
        async with client_of(url) as client:
            await client.turn(speak("What time is it?"))
            await client.until("response.done")
            failed = await client.type("Hello?", spoken=True)
            assert failed["status"] == "failed"
            await client.send("response.create")
            await client.until("response.output_audio.delta")
            await client.send("response.cancel")
            await client.until("response.done", 3)
            page = await metrics(url)
            assert page["voiceagent_sessions"] == 1
            assert page["voiceagent_turns_total"] == 1
            assert page["voiceagent_responses_total{reason=,status=completed}"] == 1
            assert page["voiceagent_responses_total{reason=,status=failed}"] == 1
            assert page["voiceagent_responses_total{reason=client_cancelled,status=cancelled}"] == 1
            assert page["voiceagent_errors_total{code=llm_unavailable}"] == 1
            assert page["voiceagent_response_seconds_count"] == 1
            parts = [value for name, value in page.items() if name.startswith("voiceagent_response_part_seconds_sum")]
            assert sum(parts) == pytest.approx(page["voiceagent_response_seconds_sum"], abs=0.01)
        await until_sessions(url, 0)
        assert (await metrics(url))["voiceagent_sessions"] == 0


async def test_turns_ended_by_hand_are_counted_too(engines_for: EnginesFor, speak: Speak) -> None:
    async with serving(engines_for) as (_, url), client_of(url) as client:
        session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await client.send("session.update", session=session)
        await client.say(speak("What time is it?"))
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        await client.until("response.done")
        assert (await metrics(url))["voiceagent_turns_total"] == 1


async def test_pages_answer_only_what_they_are_for(engines_for: EnginesFor) -> None:
    async with serving(engines_for) as (_, url):
        assert (await get(url, "/nowhere")).status_code == 404
        assert (await get(url, "/v1/realtime")).status_code in (404, 426)


async def test_what_is_remembered_of_a_user_is_for_that_user_and_key_only(
    engines_for: EnginesFor, tmp_path: Path
) -> None:
    settings = keys().model_copy(update={"memory": MemorySection(path=str(tmp_path / "memory.sqlite"))})

    def script(messages: list[dict[str, str]]) -> str:
        return "I remember." if "blue" in str(messages[:-1]) else "Who are you?"

    async def answer(key: str, user: str, text: str) -> str:
        async with client_of(url, key=key, user=user) as client:
            response = await client.type(text)
            return str(cast(list[Json], cast(list[Json], response["output"])[0]["content"])[0]["text"])

    async with serving(engines_for, settings, script=script) as (_, url):
        assert await answer(KEY, "eve", "My favourite colour is blue.") == "Who are you?"
        assert await answer(KEY, "eve", "What is my favourite colour?") == "I remember."
        assert await answer(OTHER, "eve", "What is my favourite colour?") == "Who are you?"
        assert await answer(KEY, "adam", "What is my favourite colour?") == "Who are you?"
        assert await answer(KEY, "", "What is my favourite colour?") == "Who are you?"
