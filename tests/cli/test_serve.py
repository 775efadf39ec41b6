"""`voiceagent serve`: what it says, the agent of a file, and a restart when a file has changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import websockets

from tests.support.command import lines_until, started
from tests.support.llm.server import ScriptedLlm
from voiceagent import Agent, Settings
from voiceagent.agent.running import announcement, is_open_to_all, page_address
from voiceagent.cli import reload
from voiceagent.server.reach import is_loopback, reach
from voiceagent.settings import of_table

AGENT = """
from voiceagent import Agent
from tests.api.test_app import QuietTts
from tests.support.session.bench import LoudnessVad, WordsAsr

agent = Agent({words!r}, vad=LoudnessVad(), asr=WordsAsr(["hi"]), tts=QuietTts())
"""


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, object]], Settings]:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return of_table


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        (
            {},
            [
                "vad: silero, on this machine",
                "asr: sherpa, on this machine",
                "llm: embedded, on this machine",
                "tts: hibari, on this machine",
            ],
        ),
        (
            {
                "asr": {"engine": "openai", "base_url": "http://127.0.0.1:9000/v1"},
                "llm": {"engine": "openai", "base_url": "https://llm.example.com/v1", "api_key": "sk-x"},
                "tts": {"engine": "edge-tts"},
            },
            [
                "vad: silero, on this machine",
                "asr: openai, on this machine",
                "llm: openai, leaves this machine: llm.example.com",
                "tts: edge-tts, leaves this machine: speech.platform.bing.com",
            ],
        ),
    ],
)
def test_reach_of_each_stage(
    settings_of: Callable[[dict[str, object]], Settings], table: dict[str, object], lines: list[str]
) -> None:
    found = list(map(str, reach(settings_of(table), {})))
    assert found[:3] == lines[:3]
    assert found[3].partition(": ")[0] == "tts"
    assert ("leaves" in found[3]) == ("leaves" in lines[3])


def test_reach_of_a_gateway_names_every_endpoint(settings_of: Callable[[dict[str, object]], Settings]) -> None:
    endpoints = [
        {"name": "a", "dialect": "openai", "base_url": "https://a.example.com/v1", "model": "m", "api_key": "k"},
        {"name": "b", "dialect": "anthropic", "model": "m", "api_key": "k"},
        {"name": "c", "dialect": "openai", "base_url": "http://localhost:1/v1", "model": "m"},
    ]
    llm = reach(settings_of({"llm": {"engine": "gateway", "endpoints": endpoints}}), {})[2]
    assert llm.hosts == ("a.example.com", "api.anthropic.com")


def test_reach_of_an_engine_of_ones_own_is_not_known(settings_of: Callable[[dict[str, object]], Settings]) -> None:
    stage = reach(settings_of({}), {"tts": object()})[3]
    assert str(stage) == "tts: object, not known whether it leaves it"


def test_announcement_names_the_page(settings_of: Callable[[dict[str, object]], Settings]) -> None:
    lines = announcement("ws://0.0.0.0:8000/v1/realtime", settings_of({}), [])
    assert lines == ["listening on ws://0.0.0.0:8000/v1/realtime", "page: http://127.0.0.1:8000/"]
    assert page_address("wss://[::]:8443/v1/realtime") == "https://[::1]:8443/"
    assert announcement("ws://h:1/v1/realtime", settings_of({"page": {"enabled": False}}), []) == [
        "listening on ws://h:1/v1/realtime"
    ]


def test_server_without_keys_beyond_this_machine_is_open_to_all(
    settings_of: Callable[[dict[str, object]], Settings],
) -> None:
    keys = {"api_keys": [{"name": "a", "key": "k"}]}
    assert is_open_to_all(settings_of({"server": {"host": "0.0.0.0"}}))
    assert not is_open_to_all(settings_of({"server": {"host": "0.0.0.0"}, "limits": keys}))
    assert not is_open_to_all(settings_of({"server": {"host": "::1"}}))
    assert is_loopback("127.8.9.1")
    assert not is_loopback("localhost.example.com")


async def ask(url: str) -> str:
    """The instructions of the session that a client gets."""
    async with websockets.connect(url, proxy=None) as client:
        return str(json.loads(await client.recv())["session"]["instructions"])


async def test_serve_of_an_agent_restarts_when_a_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "bakery.py"
    path.write_text(AGENT.format(words="You bake bread."))
    async with ScriptedLlm() as llm:
        arguments = ("-m", "voiceagent", "serve", "bakery.py", "--port", "0", "--reload")
        env = {"OPENAI_BASE_URL": llm.base_url}
        async with started(*arguments, cwd=tmp_path, env=env) as (process, out):
            first = await lines_until(out, "tts:")
            assert first[1].startswith("page: http://127.0.0.1:")
            assert first[4] == "llm: openai, on this machine"
            assert await ask(first[0].removeprefix("listening on ")) == "You bake bread."
            path.write_text(AGENT.format(words="You bake cakes."))
            second = await lines_until(out, "tts:")
            assert await ask(second[0].removeprefix("listening on ")) == "You bake cakes."
            process.terminate()
            assert await process.wait() == 0


def test_files_that_are_watched(tmp_path: Path) -> None:
    for name in ("agent.py", "agent.toml", "tools/bread.py", ".venv/x.py", "__pycache__/y.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = {path.name for path in reload.watched(tmp_path / "more.toml", tmp_path / "agent.py")}
    assert found == {"agent.py", "agent.toml", "bread.py", "more.toml"}
    assert tmp_path / "more.toml" not in reload.stamps(reload.watched(tmp_path / "more.toml", None))


def test_agent_arguments_win_over_settings() -> None:
    table = {"agent": {"instructions": "Theirs.", "language": "de"}, "tts": {"engine": "edge-tts"}}
    settings = Agent("Mine.", voice="heart", tts="hibari", settings=table).settings()
    assert (settings.agent.instructions, settings.agent.voice, settings.agent.language) == ("Mine.", "heart", "de")
    assert settings.tts.engine == "hibari"
