"""Guard rails of third parties, and that they hold for every language model."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.support.llm.failover import answer
from tests.support.llm.server import ScriptedLlm
from tests.support.llm.wires import ChatWire, ContentsWire, MessagesWire, Wire
from voiceagent import plugins
from voiceagent.errors import ConfigError
from voiceagent.llm.base import LlmEngine, LlmRequest, Message
from voiceagent.llm.layers import layers
from voiceagent.server.metrics import Observable
from voiceagent.server.resources import make_llm
from voiceagent.settings import Settings, load

NO = "I am sorry, I cannot talk about that."
OWN = """
[guard]
mask = true
[[guard.moderators]]
engine = "{moderator}"
names = ["Umbrella"]
sides = ["out"]
"""


def written(folder: Path, toml: str) -> Settings:
    path = folder / "voiceagent.toml"
    path.write_text(toml, "utf-8")
    return load(path)


@asynccontextmanager
async def made_of(settings: Settings) -> AsyncIterator[LlmEngine]:
    llm = make_llm(settings)
    await llm.open()
    try:
        yield llm
    finally:
        await llm.close()


ENGINES: Mapping[str, tuple[str, Wire]] = {
    "openai": ('engine = "openai"', ChatWire()),
    "anthropic": ('engine = "anthropic"', MessagesWire()),
    "gemini": ('engine = "gemini"', ContentsWire()),
    "failover": ('engine = "failover"\n[[llm.endpoints]]\nname = "a"', ChatWire()),
    "gateway": ('engine = "gateway"\n[[llm.endpoints]]\nname = "a"', ChatWire()),
}


@pytest.mark.parametrize("name", ENGINES)
async def test_guard_rails_hold_for_every_engine(tmp_path: Path, name: str) -> None:
    engine, wire = ENGINES[name]
    own = OWN.format(moderator="examples.guard_rail:NoCompetitors")
    async with ScriptedLlm(["Ask Umbrella. Bye.", "Your number is [PHONE_1]."], wire) as server:
        llm = f'[llm]\n{engine}\nbase_url = "{server.base_url}"\napi_key = "k"\nmodel = "m"\n'
        async with made_of(written(tmp_path, llm + own)) as made:
            text, end = await answer(made, LlmRequest((Message("user", "Umbrella?"),)))
            assert (text, end.reason) == (NO, "content_filter")
            asked = LlmRequest((Message("user", "My number is 13800138000."),))
            assert (await answer(made, asked))[0] == "Your number is 13800138000."
            registry = CollectorRegistry()
            for layer in layers(made):
                if isinstance(layer, Observable):
                    registry.register(layer)
            assert 'voiceagent_guard_blocked_total{side="out"} 1.0' in generate_latest(registry).decode()
        assert "13800138000" not in str(server.requests[1].body)


async def test_moderator_is_found_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("no-competitors", "examples.guard_rail:NoCompetitors", "voiceagent.guard")
    installed = EntryPoints([point, *entry_points(group="voiceagent.llm")])
    monkeypatch.setattr(plugins, "entry_points", lambda group: installed.select(group=group))
    async with ScriptedLlm(["Umbrella."]) as server:
        llm = f'[llm]\nengine = "openai"\nbase_url = "{server.base_url}"\napi_key = "k"\n'
        async with made_of(written(tmp_path, llm + OWN.format(moderator="no-competitors"))) as made:
            assert (await answer(made, LlmRequest((Message("user", "Who else?"),))))[0] == NO


@pytest.mark.parametrize(
    ("moderator", "told"),
    [
        ("nosuch", "is not installed"),
        ("examples.nosuch:Rail", "there is no module examples.nosuch"),
        ("examples.guard_rail:Nosuch", "has no Nosuch"),
        ("voiceagent.guard.moderators:WordList", "has no Options"),
        ("voiceagent.llm.dialects.openai:OpenAILlm", "is no Moderator: it has no method judge"),
    ],
)
def test_moderator_that_cannot_be_made_is_named(tmp_path: Path, moderator: str, told: str) -> None:
    settings = written(tmp_path, '[llm]\nengine = "openai"\n' + OWN.format(moderator=moderator))
    with pytest.raises(ConfigError, match=told):
        make_llm(settings)


def test_option_that_a_moderator_does_not_take_is_named(tmp_path: Path) -> None:
    toml = OWN.format(moderator="examples.guard_rail:NoCompetitors").replace('["Umbrella"]', "[]")
    settings = written(tmp_path, '[llm]\nengine = "openai"\n' + toml)
    with pytest.raises(ConfigError, match=r"\[\[guard.moderators\]\] names: "):
        make_llm(settings)
