"""`voiceagent serve` as a process of its own: signals, draining, and how talks end."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.llm.server import ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor
from tests.support.wire_client import client_of, eventually, get, serving, until_sessions
from voiceagent.models.store import ModelStore
from voiceagent.server.settings import LimitSection
from voiceagent.settings import Settings

pytestmark = pytest.mark.real

START_SECONDS = 60
ANSWER = "This answer takes a while to say, so that there is time to be stopped."


class Served:
    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        """Base URL."""

    async def is_draining(self) -> bool:
        return (await get(self.url, "/healthz")).status_code == 503

    async def exit_code(self, within: float) -> int:
        async with asyncio.timeout(within):
            return await self.process.wait()

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()


@asynccontextmanager
async def served(folder: Path, **server: object) -> AsyncIterator[Served]:
    async with ScriptedLlm([ANSWER]) as llm:
        config = folder / "voiceagent.toml"
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"port": 0, **server}.items()]
        config.write_text(
            "\n".join(("[server]", *lines, "[llm]", "engine = 'openai'", f"base_url = '{llm.base_url}'")), "utf-8"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "voiceagent", "serve", "--config", str(config)),
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = (await process.stdout.readline()).decode()
            assert line.startswith("listening on ws://127.0.0.1:"), line
            yield Served(process, line.removeprefix("listening on ").strip().removesuffix("/v1/realtime"))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined] # its pipes, which nobody may have read to the end


async def test_on_sigterm_talks_finish_and_new_ones_are_refused(models: ModelStore, tmp_path: Path) -> None:
    async with served(tmp_path, drain_seconds=30) as server:
        async with client_of(server.url) as client:
            assert (await get(server.url, "/healthz")).status_code == 200
            answer = asyncio.create_task(client.type("Hello.", spoken=True))
            await asyncio.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
            await eventually(server.is_draining)
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"{server.url}/v1/realtime"):
                    pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["retry-after"]
            assert (await answer)["status"] == "completed"
            assert client.audio_bytes() > 48_000 * 2
        assert await server.exit_code(within=10) == 0
        errors = await server.errors()
        assert "SIGTERM: refusing new sessions, letting 1 finish" in errors
        assert "Traceback" not in errors
        assert "Hello" not in errors


async def test_a_drain_ends_at_its_deadline(models: ModelStore, tmp_path: Path) -> None:
    async with served(tmp_path, drain_seconds=0.5) as server, client_of(server.url) as client:
        await client.send("response.create")
        await client.until("response.output_audio.delta")
        server.process.send_signal(signal.SIGTERM)
        assert await client.closed() == 1001
        assert client.of("response.done")[0]["response"]["status"] == "cancelled"  # type: ignore[index]
        assert await server.exit_code(within=10) == 0
        assert "Traceback" not in await server.errors()


async def test_a_second_signal_ends_at_once(models: ModelStore, tmp_path: Path) -> None:
    async with served(tmp_path, drain_seconds=600) as server, client_of(server.url) as client:
        server.process.send_signal(signal.SIGINT)
        await eventually(server.is_draining)
        await client.is_well()
        server.process.send_signal(signal.SIGTERM)
        assert await client.closed() in (1001, 1012, 1006)
        assert await server.exit_code(within=10) == 0
        assert "Traceback" not in await server.errors()


# -- how talks end (in this process) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "code"), [({"idle_seconds": 0.3}, "session_idle"), ({"session_seconds": 0.3}, "session_expired")]
)
async def test_a_talk_ends_with_an_error_event_and_a_close_code(
    engines_for: EnginesFor, limits: dict[str, float], code: str
) -> None:
    settings = Settings(limits=LimitSection.model_validate(limits))
    async with (
        serving(engines_for, settings) as (_, url),
        client_of(url) as client,
    ):
        if code == "session_expired":
            await client.send("response.create")
        assert await client.closed() == 1001
        assert client.errors() == [code]
        assert client.events[-1]["type"] == "error"  # nothing follows it
        session = cast(dict[str, object], client.events[0]["session"])
        assert isinstance(session["expires_at"], int)


async def test_a_client_that_does_not_close_is_not_waited_for(engines_for: EnginesFor) -> None:
    """Firmware never answers a Close frame; its place is free all the same."""
    settings = Settings(limits=LimitSection(idle_seconds=0.2, sessions=1))
    async with (
        serving(engines_for, settings) as (_, url),
        client_of(url) as client,
    ):
        transport = client.connection.transport
        transport.pause_reading()  # it hears nothing of the end
        await until_sessions(url, 0)
        async with client_of(url) as other:
            await other.send("response.create")
            await other.until("response.done")
        transport.resume_reading()


async def test_five_servers_one_after_the_other_leave_nothing(engines_for: EnginesFor) -> None:
    async with ScriptedLlm() as llm:
        for _ in range(5):
            async with running(Settings(), engines_for(llm.base_url)) as (_, url), client_of(url) as client:
                await client.is_well()


async def test_a_server_that_stops_ends_its_talks(engines_for: EnginesFor) -> None:
    """As a process manager of an app that has mounted this one would: without a drain."""
    async with contextlib.AsyncExitStack() as clients:
        async with serving(engines_for, None, "A long answer. " * 20) as (voice, url):
            talking = [await clients.enter_async_context(client_of(url)) for _ in range(5)]
            for client in talking:
                await client.send("response.create")
                await client.until("response.output_audio.delta")
        assert not voice.admission.sessions
        assert {await client.closed() for client in talking} == {1012}
