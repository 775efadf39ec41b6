"""The examples as they are written, each against a real server with a scripted model behind a socket."""

import importlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest

from tests.api.test_app import ask, listening
from tests.support.command import ROOT
from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.quiet_engines import environment
from tests.support.telephone.twilio import twilio_call
from tests.support.xiaozhi.device import Device
from tests.support.xiaozhi.socket import headers, speaker
from voiceagent import Agent
from voiceagent.channels.telephone.vendors.twilio import twilio_signature

EXAMPLES = ROOT / "examples"
TOKEN = "0123456789abcdef"

ELSEWHERE = {"guard_rail"}
"""Examples that the tests of their own subject run."""

Load = Callable[[str, str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """An example, with engines that load nothing and the model at this address."""

    def loaded(name: str, base_url: str) -> ModuleType:
        for key, value in environment(base_url).items():
            monkeypatch.setenv(key, value)
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        for path in EXAMPLES.glob("*.py"):
            monkeypatch.delitem(sys.modules, f"examples.{path.stem}", raising=False)
        return importlib.import_module(f"examples.{name}")

    return loaded


def calling(name: str, **arguments: object) -> Reply:
    return Reply("", calls=[(name, json.dumps(arguments))])


@asynccontextmanager
async def serving(agent: Agent) -> AsyncIterator[str]:
    """The agent's own server; yields its authority."""
    async with listening(agent.app, "on") as place:
        yield place


async def test_bakery(load: Load) -> None:
    script: list[Reply | str] = [
        calling("opening_hours", day="Monday"),
        "We are closed on Monday.",
        calling("price", item="croissant", count=3),
        "That is 5.70 euros.",
        calling("order", item="croissant", count=3),
        "Shall I order three croissants?",
        calling("order", item="croissant", count=3),
        "They are ordered.",
    ]
    async with ScriptedLlm(script) as llm:
        bakery = load("bakery", llm.base_url)
        async with bakery.agent.chat() as chat:
            hours = await chat.say("When are you open on Monday?")
            price = await chat.say("What do three croissants cost?")
            asked = await chat.say("Order them.")
            done = await chat.say("Yes.")
    assert [call.result for call in hours.calls] == ["closed"]
    assert json.loads(price.calls[0].result) == {"each": 1.9, "total": 5.7}
    assert "Ask the user" in asked.calls[0].result
    assert done.calls[0].result == "ordered"
    assert list(bakery.orders.values()) == [["3 croissant"]]


async def test_custom_engine(load: Load) -> None:
    async with ScriptedLlm(["One two three."]) as llm:
        agent = load("custom_engine", llm.base_url).agent
        async with serving(agent) as place, twilio_call(f"ws://{place}/twilio") as call:
            await call.say((1000 * (-1) ** np.arange(8000)).astype(np.int16))
            await call.until(lambda: call.played_seconds > 0.2)


async def test_mounted(load: Load) -> None:
    pytest.importorskip("fastapi")
    async with ScriptedLlm(["We are open."]) as llm:
        app = load("mounted", llm.base_url).app
        async with listening(app, "on") as place, httpx.AsyncClient(base_url=f"http://{place}") as http:
            assert (await http.get("/")).json() == {"talk": "/voice/"}
            assert (await http.get("/voice/healthz")).json()["status"] == "ok"
            assert (await http.post("/ask", params={"text": "Hi"})).json() == {"answer": "We are open.", "calls": []}
            assert await ask(f"ws://{place}/voice/v1/realtime", "Hi") == "We are open."


async def test_twilio_receptionist(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEAGENT_TELEPHONE__TWILIO__ACCOUNT_SID", "AC1")
    monkeypatch.setenv("VOICEAGENT_TELEPHONE__TWILIO__AUTH_TOKEN", TOKEN)
    async with ScriptedLlm(["Hello."]) as llm:
        agent = load("twilio_receptionist", llm.base_url).agent
        async with serving(agent) as place, httpx.AsyncClient(base_url=f"http://{place}") as http:
            form = {"CallSid": "CA1", "From": "+49301", "To": "+49302"}
            signature = twilio_signature(TOKEN, "https://voice.example.com/twilio/voice", tuple(form.items()))
            answer = await http.post("/twilio/voice", data=form, headers={"x-twilio-signature": signature})
            assert 'url="wss://voice.example.com/twilio"' in answer.text
            signed = "wss://voice.example.com/twilio"
            async with twilio_call(f"ws://{place}/twilio", auth_token=TOKEN, signed_url=signed) as call:
                await call.until(lambda: call.played_seconds > 0.1)


async def test_speaker_at_home(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOICEAGENT_MEMORY__PATH", str(tmp_path / "speaker.sqlite"))

    def answer(messages: list[dict[str, str]]) -> Reply | str:
        asked = messages[-1]["role"] == "user" and "light" in messages[-1]["content"]
        return calling("switch_light", room="kitchen", on=True) if asked else "It is on."

    async with ScriptedLlm(answer) as llm:
        home = load("speaker_at_home", llm.base_url)
        async with serving(home.agent) as place, httpx.AsyncClient(base_url=f"http://{place}") as http:
            told = (await http.post("/xiaozhi/ota/", json={}, headers=headers())).json()
            assert told["websocket"]["url"] == f"ws://{place}/xiaozhi/v1/"
            given = headers(token=told["websocket"]["token"])
            async with speaker(f"ws://{place}", Device(), given=given) as talker:
                talker.device.wake()
                await talker.until("tts.stop")
        async with home.agent.chat() as chat:
            await chat.say("Switch on the light in the kitchen.")
        assert home.lights["kitchen"]


async def test_client(load: Load, tmp_path: Path) -> None:
    async with ScriptedLlm(["It is Anna."]) as llm:
        agent = load("bakery", llm.base_url).agent
        client = load("client", llm.base_url)
        async with serving(agent) as place:
            question = ROOT / "assets" / "demo" / "1-name.wav"
            lines = await client.converse(f"ws://{place}/v1/realtime", question, tmp_path / "answer.wav")
    assert lines[-1] == "agent: It is Anna."
    assert (tmp_path / "answer.wav").stat().st_size > 10_000


def test_every_example_is_listed_and_tested() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert names <= tested | ELSEWHERE
    for readme in ("README.md", "README.zh-CN.md"):
        text = (EXAMPLES / readme).read_text("utf-8")
        assert all(f"({name}.py)" in text for name in names)
