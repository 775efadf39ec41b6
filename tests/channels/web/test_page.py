"""What the server hands to a browser: the page's files, how they are kept, and what they may do."""

import re

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from voiceagent.channels.web.routes import SECURITY, TYPES, WEB, config, size
from voiceagent.channels.web.settings import PageSection, Preset
from voiceagent.server.app import VoiceServer
from voiceagent.server.resources import make_engines
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import Settings


def browser(settings: Settings | None = None) -> httpx.AsyncClient:
    """A client of the server's own app, whose engines are never loaded: the page is there before they are."""
    settings = settings or Settings()
    app = VoiceServer(settings, make_engines(settings)).app
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")


async def test_the_page_and_all_its_parts_are_served_with_their_types() -> None:
    async with browser() as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        parts = set(re.findall(r'(?:src|href)="(web/[^"]+)"', page.text))
        assert {"web/app.js", "web/page.css", "web/turns.css"} <= parts
        for path in WEB.iterdir():
            part = await client.get(f"/web/{path.name}")
            assert (part.status_code, part.headers["content-type"]) == (200, TYPES[path.suffix])
            assert part.content == path.read_bytes()
            parts.discard(f"web/{path.name}")
    assert not parts, "the page names files that are not there"


async def test_modules_import_only_what_is_served_and_nothing_names_another_place() -> None:
    for path in WEB.iterdir():
        text = path.read_text()
        for imported in re.findall(r'from "([^"]+)"', text):
            assert (WEB / imported).is_file(), f"{path.name} imports {imported}"
        addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, path.name


def test_all_of_it_is_small() -> None:
    assert 10_000 < size() <= 200_000


async def test_a_browser_keeps_a_file_until_it_changes() -> None:
    async with browser() as client:
        first = await client.get("/web/app.js")
        assert first.headers["cache-control"] == "no-cache"
        tag = first.headers["etag"]
        again = await client.get("/web/app.js", headers={"if-none-match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        changed = await client.get("/web/app.js", headers={"if-none-match": '"other"'})
        assert changed.status_code == 200


async def test_files_come_packed_to_those_who_can_unpack() -> None:
    async with browser() as client:
        packed = await client.get("/web/app.js", headers={"accept-encoding": "br, gzip"})
        plain = await client.get("/web/app.js", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("path", ["/", "/web/app.js", "/web/config.json", "/web/nothing.js"])
async def test_nothing_from_elsewhere_may_run_in_the_page(path: str) -> None:
    async with browser() as client:
        headers = (await client.get(path)).headers
    assert SECURITY.items() <= dict(headers).items()
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


@pytest.mark.parametrize("path", ["/web/nothing.js", "/web/..%2f..%2fLICENSE", "/web/", "/web/a/b.js"])
async def test_only_the_pages_own_files_are_served(path: str) -> None:
    async with browser() as client:
        assert (await client.get(path)).status_code == 404


async def test_the_page_asks_for_a_key_only_where_one_is_needed() -> None:
    limits = LimitSection(api_keys=(ApiKey(name="ann", key=SecretStr("sk-secret")),))
    async with browser() as open_to_all, browser(Settings(limits=limits)) as closed:
        assert (await open_to_all.get("/web/config.json")).json()["key_required"] is False
        answer = await closed.get("/web/config.json")
    assert answer.json()["key_required"] is True
    assert "secret" not in answer.text


def test_agents_and_languages_are_configured() -> None:
    section = PageSection(agents=(Preset(id="shop", name={"zh": "店员"}, voice="mary"),), languages=("zh",))
    told = config(section, key_required=False).decode()
    assert '"agents":[{"id":"shop","name":{"zh":"店员"},"instructions":null,"voice":"mary"}]' in told
    assert '"languages":["zh"]' in told
    with pytest.raises(ValidationError):
        PageSection(agents=())
    with pytest.raises(ValidationError):
        Preset(id="not an id", name={})
