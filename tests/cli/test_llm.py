"""`voiceagent llm status` and `voiceagent llm-proxy`, as their user sees them."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI
from pydantic import SecretStr
from rich.console import Console
from typer.testing import CliRunner, Result

from tests.support.llm.proxy import proxied
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.cli.llm import EndpointReport, StatusReport, shown
from voiceagent.cli.main import app
from voiceagent.gateway.proxy.request import MODEL
from voiceagent.server.settings import ApiKey, LimitSection

BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
KEYS = LimitSection(api_keys=(ApiKey(name="acme", key=SecretStr("k-acme")),))
START_SECONDS = 60


async def run(*arguments: str, **environment: str) -> Result:
    """In a thread of its own: the server is on this loop."""
    env = {"VOICEAGENT_API_KEY": None, **environment}
    return await asyncio.to_thread(CliRunner().invoke, app, ["llm", *arguments], env=env)


async def test_the_table_once() -> None:
    own: Mapping[str, Mapping[str, object]] = {
        "a": {"weight": 5, "region": "eu", "capacity": 8, "price_in": 1000.0},
        "b": {"rpm": 60},
    }
    async with proxied([Reply(status=429, error={})], [Reply("Hello.", input_tokens=10)], own=own) as served:
        await served.ask(BODY)
        result = await run("status", "--once", "--url", served.url)
        same = await run("status", "--once", "--url", f"{served.url}/v1/")
    assert result.exit_code == 0, result.output
    assert same.exit_code == 0
    [one] = [line for line in result.output.splitlines() if "a (eu)" in line]
    [other] = [line for line in result.output.splitlines() if line.startswith(" b ")]
    assert "open" in one
    assert "0/8" in one
    assert "rate_limited 1" in one
    assert "closed" in other
    assert re.search(r"\d+/\d+", other)
    assert "1 requests, 0 failed" in result.output


async def test_a_key_is_given_or_taken_from_the_environment() -> None:
    async with proxied(["Hello."], limits=KEYS) as served:
        without = await run("status", "--once", "--url", served.url)
        given = await run("status", "--once", "--url", served.url, "--key", "k-acme")
        known = await run("status", "--once", "--url", served.url, VOICEAGENT_API_KEY="k-acme")
    assert (without.exit_code, given.exit_code, known.exit_code) == (1, 0, 0)
    assert without.stderr.startswith("Error: ")
    assert "VOICEAGENT_API_KEY" in without.stderr


async def test_what_is_wrong_is_told_in_one_line() -> None:
    async with ScriptedLlm() as other:
        away = await run("status", "--once", "--url", "http://127.0.0.1:9")
        stranger = await run("status", "--once", "--url", other.base_url)
        nonsense = await run("status", "--once", "--url", "nonsense")
        await asyncio.get_running_loop().shutdown_default_executor()
    assert (away.exit_code, stranger.exit_code, nonsense.exit_code) == (1, 1, 2)
    assert "there is no server" in away.stderr
    assert 'engine = "failover"' in stranger.stderr
    assert all(result.stderr.count("\n") == 1 for result in (away, stranger, nonsense))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[llm]\nengine = "openai"', 'engine = "gateway"'),
        ('[llm]\nengine = "gateway"', "[llm] endpoints"),
        ('[llm]\nengine = "gateway"\n[[llm.endpoints]]\nname = "a"', "there are no [[llm.experiments]]"),
    ],
)
def test_without_experiments_there_is_nothing_to_report(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "voiceagent.toml"
    config.write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["llm", "experiments", "--config", str(config)])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert told in result.stderr


def test_names_steer_no_terminal() -> None:
    console = Console(record=True, width=200, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(shown(StatusReport([EndpointReport("[red]a[/]", "closed", 1, region="[link=x]", errors={"[b]": 2})])))
    console.file.close()
    text = console.export_text()
    assert "[red]a[/]" in text
    assert "[b] 2" in text


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "VOICEAGENT_"))}
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voiceagent", *arguments, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.wait()
        running._transport.close()  # type: ignore[attr-defined] # its pipes, which nobody may have read to the end


async def test_the_live_table_ends_with_ctrl_c() -> None:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(proxied(["Hello."]))
        table = await stack.enter_async_context(process("llm", "status", "--url", served.url, "--every", "0.2"))
        async with asyncio.timeout(START_SECONDS):
            while not served.server.server_state.total_requests:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            table.send_signal(signal.SIGINT)
            out, error = await table.communicate()
    assert (table.returncode, error) == (0, b"")
    assert "token ms" in out.decode()


async def test_the_proxy_serves_from_a_file_and_drains_on_sigterm(tmp_path: Path) -> None:
    config = tmp_path / "voiceagent.toml"
    slow = Reply("One two three four five.", token_seconds=0.2)
    async with ScriptedLlm([slow]) as llm:
        config.write_text(f'[llm]\nengine = "openai"\nbase_url = {json.dumps(llm.base_url)}\napi_key = "x"\n', "utf-8")
        async with process("llm-proxy", "--config", str(config), "--port", "0") as proxy:
            assert proxy.stdout is not None
            async with asyncio.timeout(START_SECONDS):
                line = (await proxy.stdout.readline()).decode().strip()
            url = line.removeprefix("listening on ")
            assert url.startswith("http://127.0.0.1:"), line
            async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
                asking = asyncio.create_task(client.chat.completions.create(**BODY))  # type: ignore[call-overload]
                await llm.requested(1)
                proxy.send_signal(signal.SIGTERM)
                async with asyncio.timeout(START_SECONDS):
                    while (await health(url)) != 503:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                assert (await asking).choices[0].message.content == "One two three four five."
            async with asyncio.timeout(START_SECONDS):
                assert await proxy.wait() == 0
        await asyncio.get_running_loop().shutdown_default_executor()


async def health(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(url.replace("/v1", "/healthz"))).status_code


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[llm]\nengine = "openai"\nbase_url = "http://127.0.0.1:9"\ncolour = 1', "[llm] colour"),
        (
            '[llm]\nengine = "openai"\nbase_url = "http://127.0.0.1:9"\n[server]\nhost = "203.0.113.9"',
            "cannot listen on",
        ),
    ],
)
def test_a_wrong_configuration_of_the_proxy_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "voiceagent.toml"
    config.write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["llm-proxy", "--config", str(config)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert told in result.stderr
