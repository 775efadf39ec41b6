"""The proxy on a free port, before scripted servers, for tests."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from openai import AsyncOpenAI

from tests.support.llm.gateway import NAMES
from tests.support.llm.server import Script, ScriptedLlm
from voiceagent.gateway.engine import GatewayLlm
from voiceagent.gateway.proxy.app import Proxy
from voiceagent.gateway.proxy.serve import ProxyServer, make_server
from voiceagent.llm.base import LlmEngine
from voiceagent.models.store import ModelStore
from voiceagent.server.serve import listen
from voiceagent.server.settings import LimitSection
from voiceagent.settings import Settings

START_SECONDS = 30.0


def layered_over(
    urls: Sequence[str], own: Mapping[str, Mapping[str, object]] | None = None, **options: object
) -> GatewayLlm:
    """Endpoints called a, b … at these addresses; `own` are further keys of each. Without checks unless asked for."""
    endpoints = [
        {"name": name, "base_url": url, "api_key": "secret", "model": "m", **(own or {}).get(name, {})}
        for name, url in zip(NAMES, urls, strict=False)
    ]
    settings = {"endpoints": endpoints, "failover": {"check_seconds": 0}, **options}
    return GatewayLlm(GatewayLlm.Options.model_validate(settings), ModelStore(Path("no models here")))


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
    proxy = Proxy(settings, llm)
    with listen("127.0.0.1", 0) as listener:
        server = make_server(proxy)
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
    """Before the edge over one server a script."""
    async with AsyncExitStack() as stack:
        upstream = [await stack.enter_async_context(ScriptedLlm(script)) for script in scripts]
        llm = layered_over([server.base_url for server in upstream], own, **options)
        settings = Settings(limits=limits or LimitSection())
        proxy, server, url = await stack.enter_async_context(serving(llm, settings))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False, timeout=30))
        yield Proxied(proxy, server, url, upstream, http)
        await asyncio.get_running_loop().shutdown_default_executor()  # where OpenAI's client asks for the platform
