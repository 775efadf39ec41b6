"""The proxy on a free port, before scripted servers, for tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from openai import AsyncOpenAI

from tests.support.llm.failover import NAMES
from tests.support.llm.server import Script, ScriptedLlm
from voiceagent.gateway.engine import GatewayLlm
from voiceagent.gateway.proxy.app import Proxy
from voiceagent.guard.options import GuardSection
from voiceagent.llm.base import LlmEngine
from voiceagent.models.store import ModelStore
from voiceagent.section import EngineSection
from voiceagent.server.llm.proxy import ProxyServer, make_proxy, make_server
from voiceagent.server.resources import equipped
from voiceagent.server.serve import listen
from voiceagent.server.settings import LimitSection
from voiceagent.settings import Settings
from voiceagent.tracing.options import TracingSection, tracing_of

START_SECONDS = 30.0


def gateway_over(
    urls: Sequence[str], own: Mapping[str, Mapping[str, object]] | None = None, **options: object
) -> GatewayLlm:
    """A gateway within guard rails and tracing, as the server makes it. Endpoints called a, b … at these addresses;
    `own` are further keys of each. Without checks unless asked for. `guard` and `tracing` are those sections."""
    endpoints = [
        {"name": name, "base_url": url, "api_key": "secret", "model": "m", **(own or {}).get(name, {})}
        for name, url in zip(NAMES, urls, strict=False)
    ]
    guard = GuardSection.model_validate(options.pop("guard", {}))
    tracing = TracingSection.model_validate(options.pop("tracing", {}))
    settings = {"endpoints": endpoints, "failover": {"check_seconds": 0}, **options}
    engine = GatewayLlm(GatewayLlm.Options.model_validate(settings), ModelStore(Path("no models here")))
    equipped(engine, EngineSection(engine="gateway"), guard, tracing_of(tracing))
    return engine


@dataclass(frozen=True)
class Proxied:
    proxy: Proxy
    server: ProxyServer
    url: str
    upstream: list[ScriptedLlm]
    http: httpx.AsyncClient

    def client(self, key: str = "any") -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def ask(self, body: object, **headers: str) -> httpx.Response:
        """`X_Session_Id="s"` and the like are headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/v1/chat/completions", json=body, headers=named)


@asynccontextmanager
async def serving(llm: LlmEngine, settings: Settings) -> AsyncIterator[tuple[Proxy, ProxyServer, str]]:
    proxy = make_proxy(settings, llm)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(proxy, settings.server)
        running = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(START_SECONDS):
                await proxy.loaded.wait()
            if proxy.failure is not None:
                raise proxy.failure
            yield proxy, server, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def proxied(
    *scripts: Script,
    limits: LimitSection | None = None,
    own: Mapping[str, Mapping[str, object]] | None = None,
    **options: object,
) -> AsyncIterator[Proxied]:
    """Before the gateway over one server a script."""
    async with AsyncExitStack() as stack:
        upstream = [await stack.enter_async_context(ScriptedLlm(script)) for script in scripts]
        llm = gateway_over([server.base_url for server in upstream], own, **options)
        settings = Settings(limits=limits or LimitSection())
        proxy, server, url = await stack.enter_async_context(serving(llm, settings))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False, timeout=30))
        yield Proxied(proxy, server, url, upstream, http)
        await asyncio.get_running_loop().shutdown_default_executor()  # where OpenAI's client asks for the platform
