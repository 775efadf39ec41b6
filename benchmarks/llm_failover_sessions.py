"""Processes of the failover benchmark's servers, and the clients that talk through the failover engine or past it."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.llm_failover_server import story
from voiceagent.llm.base import Caller, LlmEngine, LlmRequest, Message, TextDelta
from voiceagent.llm.dialects.openai import OpenAILlm, OpenAILlmOptions
from voiceagent.llm.failover.engine import FailoverLlm
from voiceagent.llm.failover.health import percentile
from voiceagent.llm.failover.options import FailoverOptions
from voiceagent.models.store import ModelStore

START_SECONDS = 20.0
_WORD = re.compile('"content": "([^"]*)"')


class ServerProcess:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self._address = f"http://127.0.0.1:{port}"

    async def behave(self, **behaviour: float | str | bool) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.post(f"{self._address}/behave", json=behaviour)).raise_for_status()

    async def requests(self) -> int:
        """That it has received so far."""
        async with httpx.AsyncClient(trust_env=False) as client:
            seen = (await client.get(f"{self._address}/seen")).json()
        return int(seen["requests"])

    def kill(self) -> None:
        self._process.kill()

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def servers(count: int) -> AsyncIterator[list[ServerProcess]]:
    running: list[ServerProcess] = []
    try:
        for number in range(count):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.llm_failover_server", str(number + 1),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert process.stdout is not None
            async with asyncio.timeout(START_SECONDS):
                running.append(ServerProcess(process, int(await process.stdout.readline())))
        yield running
    finally:
        for server in running:
            await server.stop()


@asynccontextmanager
async def failover_over(urls: Sequence[str], **options: object) -> AsyncIterator[FailoverLlm]:
    endpoints = [
        {"name": f"line-{number}", "base_url": url, "api_key": "none", "model": "m"} for number, url in enumerate(urls)
    ]
    llm = FailoverLlm(FailoverOptions.model_validate({"endpoints": endpoints, **options}), ModelStore(Path("none")))
    await llm.open()
    try:
        yield llm
    finally:
        await llm.close()


@asynccontextmanager
async def engine_at(base_url: str) -> AsyncIterator[LlmEngine]:
    """The endpoint's engine alone, as the failover engine uses it."""
    options = {"base_url": base_url, "api_key": "none", "model": "m"}
    engine = OpenAILlm(OpenAILlmOptions.model_validate(options), ModelStore(Path("none")))
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


def request_for(turn: int, words: int, session: str = "") -> LlmRequest:
    talk = (Message("system", "You are a voice assistant."), Message("user", f"turn {turn} of {words} words"))
    return LlmRequest(talk, caller=Caller(session=session))


@dataclass(slots=True)
class Heard:
    """A turn as its caller got it: `asked` and when each word came, in the loop's seconds."""

    turn: int
    words: int
    asked: float
    session: str = ""
    text: str = ""
    came: list[float] = field(default_factory=list)
    error: str = ""

    @property
    def ttft(self) -> float:
        return self.came[0] - self.asked

    @property
    def whole(self) -> bool:
        """Every word, and each once."""
        return not self.error and self.text == story(self.turn, self.words)

    @property
    def repeated(self) -> int:
        said = self.text.split()
        return len(said) - len(set(said))


async def through(llm: LlmEngine, turn: int, words: int, session: str = "") -> Heard:
    """One turn through the failover engine."""
    now = asyncio.get_running_loop().time
    heard = Heard(turn, words, now(), session)
    try:
        async with aclosing(llm.reply(request_for(turn, words, session))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    heard.came.append(now())
                    heard.text += event.text
    except Exception as error:
        heard.error = f"{type(error).__name__}: {error}"
    return heard


async def past(client: httpx.AsyncClient, base_url: str, turn: int, words: int) -> Heard:
    """One turn with httpx alone, as the shortest client would do it: no more is read of an event than its word."""
    now = asyncio.get_running_loop().time
    heard = Heard(turn, words, now())
    messages = [{"role": one.role, "content": one.content} for one in request_for(turn, words).messages]
    body = json.dumps({"model": "m", "messages": messages, "stream": True}).encode()
    async with client.stream("POST", f"{base_url}/chat/completions", content=body) as response:
        async for piece in response.aiter_raw():
            heard.came.append(now())
            heard.text += "".join(_WORD.findall(piece.decode()))
    return heard


def p(values: Sequence[float], share: float) -> float:
    """A percentile in milliseconds."""
    return 1000 * (percentile(sorted(values), share) or 0.0)
