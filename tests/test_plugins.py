"""Plug-ins by entry point and by `package.module:Class`, and what is said of wrong ones."""

import sys
import textwrap
from pathlib import Path

import pytest

from voiceagent.channels.channel import CHANNELS
from voiceagent.engines import KINDS
from voiceagent.errors import ConfigError
from voiceagent.memory.base import MEMORY_STORES
from voiceagent.memory.sqlite import SqliteMemory
from voiceagent.models.store import ModelStore
from voiceagent.plugins import PluginKind
from voiceagent.tools.base import TOOL_SOURCES
from voiceagent.tts.base import TTS_ENGINES

MODULE = """
    from pydantic import BaseModel

    class Options(BaseModel, extra="forbid"):
        loud: bool = False

    class Good:
        Options = Options
        sample_rate = 16_000
        def __init__(self, options, models): self.options = options
        async def open(self): ...
        def speak(self, request): ...
        async def close(self): ...

    class NoClose:
        Options = Options
        async def open(self): ...
        def speak(self, request): ...

    class NotAsync(Good):
        def open(self): ...

    class NoOptions(Good):
        Options = None

    class NoRate:
        Options = Options
        def __init__(self, options, models): ...
        async def open(self): ...
        def speak(self, request): ...
        async def close(self): ...

    instance = 3
"""


@pytest.fixture
def parrots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    (tmp_path / "parrots.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "broken.py").write_text("raise RuntimeError('no\\nway')")
    (tmp_path / "thirsty.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("parrots", "broken", "thirsty"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return ModelStore(tmp_path)


def test_a_class_needs_no_packaging(parrots: ModelStore) -> None:
    made = TTS_ENGINES.make("[tts]", {"engine": "parrots:Good", "loud": True}, parrots)
    assert vars(made)["options"].loud


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("parrot", "is not installed; there is: edge-tts, hibari, openai, sherpa"),
        ("hibary", 'did you mean "hibari"?'),
        ("edge", 'did you mean "edge-tts"?'),
        ("parots:Good", "there is no module parots"),
        ("parrots.big:Good", "there is no module parrots.big|cannot be loaded"),
        ("parrots:Goood", 'has no Goood; did you mean "Good"?'),
        ("parrots:", "the module parrots has no name"),
        (":Good", "no module|cannot be loaded"),
        ("parrots:instance", "is not a class"),
        ("parrots:NoClose", "is no TtsEngine: it has no method close"),
        ("parrots:NotAsync", "is no TtsEngine: its method open must be async"),
        ("parrots:NoOptions", "has no Options"),
        ("parrots:NoRate", "is no TtsEngine: no sample_rate"),
        ("broken:Good", "cannot be loaded: RuntimeError: no"),
        ("thirsty:Good", "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_a_wrong_class_has_one_clear_line(parrots: ModelStore, engine: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        TTS_ENGINES.make("[tts]", {"engine": engine}, parrots)
    assert str(caught.value).startswith(f"[tts] engine = {engine!r}")
    assert "\n" not in str(caught.value)


def test_wrong_options_are_named_with_their_engine(parrots: ModelStore) -> None:
    with pytest.raises(ConfigError, match=r'\[tts\] lod: there is no such key; did you mean "loud"\? \(engine'):
        TTS_ENGINES.make("[tts]", {"engine": "parrots:Good", "lod": True}, parrots)


@pytest.mark.parametrize("kind", [*KINDS.values(), MEMORY_STORES], ids=lambda kind: kind.name)
def test_what_is_installed_implements_its_interface(kind: PluginKind[object]) -> None:
    assert kind.names()
    for name in kind.names():
        kind.find(f"[{kind.name}]", name)


def test_every_kind_takes_a_class_of_a_module(parrots: ModelStore) -> None:
    for kind in (*KINDS.values(), MEMORY_STORES, TOOL_SOURCES, CHANNELS):
        with pytest.raises(ConfigError, match="is no "):
            kind.find(f"[{kind.name}]", "parrots:Options")


def test_the_memory_is_a_plug_in(tmp_path: Path) -> None:
    assert isinstance(MEMORY_STORES.make("[memory]", {"engine": "sqlite", "path": str(tmp_path / "m")}), SqliteMemory)
