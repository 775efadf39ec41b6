"""The documentation: its reference says everything there is, its site builds and needs nothing from elsewhere."""

import ast
import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.reference import metrics_page, realtime_page, session_page, settings_page, sources
from docs.reference.markdown import anchor
from voiceagent.models.store import ModelStore
from voiceagent.server.metrics import Metrics
from voiceagent.tts.base import TtsRequest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
WITHOUT_CHINESE: set[Path] = set()
"""Pages that are not translated yet."""


def test_reference_explains_every_setting() -> None:
    assert list(settings_page.unexplained()) == []


def test_reference_has_a_table_for_every_section() -> None:
    page = settings_page.page()
    for name, field in sources.settings().model_fields.items():
        assert (f"## `[{name}]`" in page) or f"| `{name}` |" in page, (name, field)
    for stage in sources.STAGES:
        for engine, options in sources.engines(stage):
            section = page.split(f'### `[{stage}] engine = "{engine}"`')[1].split("\n#")[0]
            assert all(f"| `{key}` |" in section for key in options.model_fields), (stage, engine)


def test_reference_of_settings_shows_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "VOICEAGENT_TTS_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "ANTHROPIC_BASE_URL"):
        monkeypatch.setenv(name, "https://told.example/only-here")
    assert "only-here" not in settings_page.page()


def test_reference_has_an_anchor_for_every_link_of_its_own() -> None:
    page = settings_page.page()
    headings = {anchor(line.lstrip("# ")) for line in page.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\(#([^)]+)\)", page)) <= headings


def test_reference_has_every_series_that_the_server_shows() -> None:
    families = text_string_to_metric_families(Metrics().text()[0].decode())
    shown = {family.name for family in families if not family.name.endswith("_created")}
    told = {one.name.removesuffix("_total") for one in metrics_page.all_series(sources.PACKAGE)}
    assert shown
    assert shown <= told


def test_reference_has_every_event_and_command() -> None:
    session, realtime = session_page.page(), realtime_page.page()
    for kind in (*sources.session_events(), *sources.session_commands()):
        assert f"### `{kind.__name__}`" in session
    written = {
        tag
        for path in sources.PACKAGE.rglob("*.py")
        for tag in re.findall(r'tag="(voiceagent\.[a-z.]+)"', path.read_text("utf-8"))
    }
    assert written
    for tag in written:
        assert f"### `{tag}`" in realtime


def test_series_with_a_name_that_is_made_is_refused() -> None:
    made = "from prometheus_client import Counter\nCounter(f'voiceagent_{name}', 'What it counts')\n"
    with pytest.raises(ValueError, match="line 2"):
        list(metrics_page.series(ast.parse(made)))


def test_every_page_is_in_english_and_chinese() -> None:
    pages = {path.relative_to(DOCS) for path in DOCS.rglob("*.md") if path.parent != DOCS / "reference"}
    english = {path for path in pages if not path.name.endswith(".zh.md")}
    missing = {path.with_name(path.name.replace(".md", ".zh.md")) for path in english - WITHOUT_CHINESE} - pages
    assert not missing


def test_engine_of_the_guide_speaks(models: ModelStore) -> None:
    texts = [(DOCS / "guides" / "python" / f"engines{ending}").read_text("utf-8") for ending in (".md", ".zh.md")]
    sources_of = [re.findall(r"```python title=\"tones.py\"\n(.*?)```", text, re.DOTALL)[0] for text in texts]
    assert sources_of[0] == sources_of[1]
    space: dict[str, Any] = {}
    exec(sources_of[0], space)

    async def speak() -> int:
        engine = space["TonesTts"](space["TonesTts"].Options(hertz=330), models)
        await engine.open()
        loudest = [abs(piece.pcm).max() async for piece in engine.speak(TtsRequest("Hello there."))]
        await engine.close()
        assert len(loudest) == 2
        return int(max(loudest))

    assert asyncio.run(speak()) > 7000


@pytest.mark.skipif(not os.environ.get("VOICEAGENT_SITE"), reason="the site is built by make docs")
def test_site_loads_nothing_from_elsewhere() -> None:
    pages = list((ROOT / os.environ["VOICEAGENT_SITE"]).rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text("utf-8")
        scripts = re.findall(r'<(?:script|img|iframe)[^>]*src="([^"]+)"', text)
        links = re.findall(r'<link[^>]*rel="(?!canonical|alternate)[^>]*href="([^"]+)"', text)
        assert scripts
        assert links
        assert not [one for one in (*scripts, *links) if one.startswith(("http:", "https:", "//"))], page
