"""The operator's view: who may look, what is shown, live, and what can be done."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request

from benchmarks.browser import chromium, find
from tests.support.llm.failover import failover_of
from tests.support.recorded import SESSION, recorded
from tests.support.speech import EnginesFor
from tests.support.wire_client import Json, client_of, eventually, serving
from voiceagent.admin import feed as admin_feed
from voiceagent.admin import live_session as admin_talk
from voiceagent.admin.auth import COOKIE, COOKIE_SECONDS, AdminAuth
from voiceagent.admin.board import Board, latency
from voiceagent.admin.feed import BoardFeed
from voiceagent.admin.live_session import LiveSession
from voiceagent.admin.settings import AdminSection
from voiceagent.llm.failover.reports import FailoverStatus
from voiceagent.llm.layers import LlmLayer
from voiceagent.recordings.settings import RecordingsSection
from voiceagent.recordings.store import RecordingStore
from voiceagent.server.app import VoiceServer
from voiceagent.server.metrics import Metrics
from voiceagent.server.resources import make_engines
from voiceagent.server.settings import ServerSection
from voiceagent.session import events as ev
from voiceagent.session.conversation import Item, Part
from voiceagent.settings import Settings

KEY = "sk-operator"
BEARER = {"authorization": f"Bearer {KEY}"}
SAME_SITE = {"x-voiceagent-admin": "1"}
FROM_HERE = [(name.encode(), value.encode()) for name, value in SAME_SITE.items()]
ADMIN = AdminSection(key=SecretStr(KEY))
DEADLINE = 20.0


def visitor(settings: Settings | None = None, scheme: str = "http") -> httpx.AsyncClient:
    """Of an app whose engines are never loaded."""
    settings = settings or Settings(admin=ADMIN)
    app = VoiceServer(settings, make_engines(settings)).app
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"{scheme}://server")


@asynccontextmanager
async def operator(url: str) -> AsyncIterator[httpx.AsyncClient]:
    base = url.replace("ws://", "http://")
    async with httpx.AsyncClient(base_url=base, headers=BEARER, trust_env=False, timeout=DEADLINE) as http:
        yield http


class Stream:
    """Server-sent events, read one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = cast(AsyncGenerator[str, None], response.aiter_lines())

    async def next(self) -> Json:
        async with asyncio.timeout(DEADLINE):
            async for line in self._lines:
                if line.startswith("data: "):
                    return cast(Json, json.loads(line.removeprefix("data: ")))
        raise EOFError

    async def end(self) -> None:
        """Read on to the end, which must come."""
        with suppress(EOFError):
            while True:
                await self.next()

    async def close(self) -> None:
        await self._lines.aclose()


@asynccontextmanager
async def stream(http: httpx.AsyncClient, path: str) -> AsyncIterator[Stream]:
    async with http.stream("GET", path) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        events = Stream(response)
        try:
            yield events
        finally:
            await events.close()


async def one_talk(events: Stream) -> Json:
    """The row of the only talk, once it is shown."""
    while True:
        talks = cast(list[Json], (await events.next())["talks"])
        if talks:
            return talks[0]


# -- who may look -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, SecretStr("")])
async def test_without_a_key_there_is_no_such_page(key: SecretStr | None) -> None:
    async with visitor(Settings(admin=AdminSection(key=key))) as http:
        for path in ("/admin", "/admin/events", "/admin/login", "/admin/web/admin.js", f"/admin/talks/{SESSION}"):
            assert (await http.get(path, headers={"authorization": "Bearer "})).status_code == 404
        assert (await http.post("/admin/login", data={"key": ""})).status_code == 404


LOOKING = (
    "/admin/events",
    "/admin/talks",
    f"/admin/talks/{SESSION}",
    f"/admin/talks/{SESSION}/sound",
    "/admin/talks/x/events",
)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong", f"Basic {KEY}", "Bearer sk-operato", "Bearer é"]
)
async def test_nothing_is_shown_without_the_key(authorization: str) -> None:
    async with visitor() as http:
        for path in LOOKING:
            answer = await http.get(path, headers=[(b"authorization", authorization.encode())])
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_admin_key")
        for path in ("/admin/talks/x/end", "/admin/logout"):
            answer = await http.post(path, headers=[(b"authorization", authorization.encode()), *FROM_HERE])
            assert answer.status_code == 401
        page = await http.get("/admin")
        assert (page.status_code, page.headers["location"]) == (303, "/admin/login")


async def test_a_browser_signs_in_and_out() -> None:
    async with visitor(scheme="https") as http:
        form = await http.get("/admin/login")
        assert (form.status_code, b'data-t="wrong_key" hidden' in form.content) == (200, True)
        assert "form-action 'self'" in form.headers["content-security-policy"]
        for wrong in ({"key": "sk-other"}, {"key": ""}, {}, {"key": "é"}, {"key": "x" * 5000}):
            answer = await http.post("/admin/login", data=wrong)
            assert (answer.status_code, b'data-t="wrong_key"' in answer.content) == (401, True)
            assert b'wrong_key" hidden' not in answer.content
            assert "set-cookie" not in answer.headers
        entered = await http.post("/admin/login", data={"key": KEY})
        assert (entered.status_code, entered.headers["location"]) == (303, "/admin")
        cookie = entered.headers["set-cookie"].lower()
        assert KEY not in cookie
        for rule in ("httponly", "samesite=strict", "secure", "path=/admin", f"max-age={COOKIE_SECONDS}"):
            assert rule in cookie
        page = await http.get("/admin")
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (await http.get("/admin/talks")).status_code == 200
        assert (await http.post("/admin/logout", headers=SAME_SITE)).status_code == 204
        assert (await http.get("/admin/talks")).status_code == 401


async def test_another_sites_page_changes_nothing() -> None:
    async with visitor() as http:
        await http.post("/admin/login", data={"key": KEY})
        for path in ("/admin/talks/x/end", "/admin/logout"):
            forged = await http.post(path)
            assert (forged.status_code, forged.json()["error"]["code"]) == (403, "header_missing")
        assert (await http.post("/admin/talks/x/end", headers=SAME_SITE)).status_code == 404
    async with visitor() as http:
        assert (await http.post("/admin/talks/x/end", headers=BEARER)).status_code == 404
        assert (await http.get("/admin/talks/x/end", headers=BEARER)).status_code == 405


async def test_a_cookie_ends_and_cannot_be_made_up() -> None:
    now = 1_800_000_000.0
    gate = AdminAuth(SecretStr(KEY), clock=lambda: now)
    async with visitor() as http:
        entered = await http.post("/admin/login", data={"key": KEY})
        made = entered.cookies[COOKIE]
        expires, _, mark = made.partition(".")
        for forged in (
            f"{int(expires) + 1}.{mark}",
            f"{expires}.",
            f"{expires}.{'0' * 64}",
            mark,
            "é",
            ".",
            "9" * 5000,
        ):
            answer = await http.get("/admin/talks", headers=[(b"cookie", f"{COOKIE}={forged}".encode())])
            assert answer.status_code == 401
        later = AdminAuth(SecretStr("another"), clock=lambda: now)
        assert not later.opens(KEY)
        assert gate.opens(KEY)
        now = int(expires) - 1
        assert gate._has_cookie(request_with(made))
        now = int(expires) + 1
        assert not gate._has_cookie(request_with(made))
        assert not later._has_cookie(request_with(made))


def request_with(cookie: str) -> Request:
    return Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={cookie}".encode())]})


async def test_its_files_are_served_and_nothing_else() -> None:
    async with visitor() as http:
        for name in ("admin.js", "admin-words.js", "admin.css", "draw.js", "turns.css"):
            assert (await http.get(f"/admin/web/{name}")).status_code == 200
        for name in ("app.js", "admin.html", "..%2fadmin.html", ""):
            assert (await http.get(f"/admin/web/{name}")).status_code == 404


# -- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.real
async def test_talks_are_shown_live_watched_and_ended(engines_for: EnginesFor) -> None:
    async with serving(engines_for, Settings(admin=ADMIN), "Hello there.") as (voice, url), operator(url) as http:
        async with client_of(url) as client, stream(http, "/admin/events") as events:
            row = await one_talk(events)
            assert (row["protocol"], row["tenant"], row["state"], row["turns"]) == (
                "realtime",
                "anyone",
                "listening",
                0,
            )
            path = f"/admin/talks/{row['id']}"
            async with stream(http, f"{path}/events") as watched:
                assert (await one_talk(events))["watchers"] == 1
                await client.type("Hello.")
                kinds, said = [], ""
                while "response.done" not in kinds:
                    event = cast(Json, (await watched.next())["event"])
                    kinds.append(event["type"])
                    said += str(event.get("delta", "")) if event["type"] == "response.output_text.delta" else ""
                assert kinds[:2] == ["conversation.item.added", "conversation.item.done"]
                assert said.strip() == "Hello there."
                assert (await http.post(f"{path}/end")).status_code == 204
                while "over" not in (seen := await watched.next()):
                    pass
                assert seen == {"over": True}
                await watched.end()
            assert await client.closed() == 1000
            while cast(list[Json], (snapshot := await events.next())["talks"]):
                pass
            (spend,) = cast(list[Json], snapshot["spend"])
            assert (spend["replies"], snapshot["errors"], snapshot["llm"]) == (1, {}, None)
            assert (await http.post(f"{path}/end")).status_code == 404
            assert (await http.get(f"{path}/events")).status_code == 404

        async def nobody_looks() -> bool:
            return len(voice.board.live if voice.board else "x") == 0

        await eventually(nobody_looks)


@pytest.mark.real
async def test_viewers_are_let_go_when_the_server_goes_down(engines_for: EnginesFor) -> None:
    settings = Settings(admin=ADMIN, server=ServerSection(drain_seconds=0.1))
    async with (
        serving(engines_for, settings) as (voice, url),
        operator(url) as http,
        client_of(url),
        stream(http, "/admin/events") as events,
    ):
        row = await one_talk(events)
        async with stream(http, f"/admin/talks/{row['id']}/events") as watched:
            await voice.drain()
            await watched.end()
            await events.end()


@pytest.mark.real
async def test_only_so_many_look_at_once(engines_for: EnginesFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voiceagent.admin.routes.MOST_STREAMS", 2)
    async with serving(engines_for, Settings(admin=ADMIN)) as (_, url), operator(url) as http:
        async with stream(http, "/admin/events") as one, stream(http, "/admin/events") as two:
            assert (await one.next())["sessions"] == (await two.next())["sessions"] == 0
            full = await http.get("/admin/events")
            assert (full.status_code, full.headers["retry-after"]) == (503, "10")

        async def free_again() -> bool:
            async with http.stream("GET", "/admin/events") as response:
                return response.status_code == 200

        await eventually(free_again)


async def test_a_snapshot_is_made_once_for_all_and_only_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_feed, "SNAPSHOT_SECONDS", 0.02)
    made = 0

    def make() -> str:
        nonlocal made
        made += 1
        return str(made)

    feed = BoardFeed(make)
    running_ = asyncio.create_task(feed.run())
    await asyncio.sleep(0.1)
    assert made == 0
    viewers = [feed.lines() for _ in range(3)]
    first = await asyncio.gather(*(anext(viewer) for viewer in viewers))
    assert len(set(first)) == 1
    for viewer in viewers:
        await viewer.aclose()
    await asyncio.sleep(0.05)
    before = made
    await asyncio.sleep(0.1)
    assert made == before
    late = feed.lines()
    running_.cancel()
    await asyncio.gather(running_, return_exceptions=True)
    assert [line async for line in late] == []


def live(session: str = "sess_1") -> LiveSession:
    return LiveSession(session, "realtime", "shop", lambda: None, lambda event: None)


async def test_a_watcher_who_does_not_read_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_talk, "QUIET_SECONDS", 0.01)
    talk = live()
    watcher = talk.watch()
    assert watcher is not None
    for number in range(1000):
        talk.on_event(ev.TranscriptPartial("item_1", f"word {number}"))
    talk.on_item(Item("item_a", "assistant", (Part("audio", "heard"),)))
    lines = watcher.lines()
    texts = [cast(Json, json.loads(await anext(lines))["event"])["text"] for _ in range(admin_talk.EVENTS_WAITING)]
    assert texts == [f"word {number}" for number in range(admin_talk.EVENTS_WAITING)]
    assert json.loads(await anext(lines)) == {"missed": 1001 - admin_talk.EVENTS_WAITING}
    assert await anext(lines) == "", "the line is kept alive"
    talk.on_end("finished")
    assert [json.loads(line) async for line in lines] == [{"over": True}]
    watcher.leave()
    others = [talk.watch() for _ in range(admin_talk.MOST_WATCHERS + 1)]
    assert [other is None for other in others] == [False] * admin_talk.MOST_WATCHERS + [True]


async def test_the_state_of_a_talk_follows_what_happens() -> None:
    talk, states = live(), []
    for event in (
        ev.SpeechStarted("u1", 0),
        ev.AudioCommitted("u1", None),
        ev.ResponseStarted("r1", "audio", None, True, {}),
        ev.ResponseAudio("r1", "a1", None),  # type: ignore[arg-type]
        ev.ResponseDone("r1", None, None, "completed", usage=ev.TokenUsage(cost=0.5)),
        ev.SpeechStarted("u2", 0),
        ev.ResponsePlayed("r1"),
        ev.AudioCommitted("u2", None),
        ev.ResponseStarted("r2", "text", None, True, {}),
        ev.ResponseDone("r2", None, None, "completed", usage=ev.TokenUsage(cost=0.25)),
        ev.ResponsePlayed("r2"),
    ):
        talk.on_event(event)
        states.append(talk.row(0.0).state)
    assert states == [
        *("user", "thinking", "thinking", "agent", "agent", "user", "user", "thinking"),
        *("thinking", "thinking", "listening"),
    ]
    row = talk.row(0.0)
    assert (row.turns, row.cost) == (2, 0.75)


async def test_the_board_counts_errors_money_and_refusals() -> None:
    class ManyEndpoints(LlmLayer):
        def status(self) -> FailoverStatus:
            return FailoverStatus((), 3, 0, 0, 1, 0)

    metrics = Metrics()
    metrics.refused.labels("server_full").inc(2)
    metrics.loop_lag.set(0.012)
    board = Board(metrics, ManyEndpoints(failover_of(["http://127.0.0.1:9/v1"])), lambda: True)
    talk = board.enter("sess_1", "realtime", "shop", lambda: None)
    talk.on_event(ev.TranscriptFailed("u1", "asr_timeout", "slow"))
    talk.on_event(
        ev.ResponseDone(
            "r1", None, None, "failed", error_code="llm_timeout", usage=ev.TokenUsage(5, 2, 0, 0.01, "near")
        )
    )
    talk.on_event(ev.StageFailed("asr", "timeout", "slow"))
    talk.on_event(ev.StageFailed("llm", "timeout", "slow"))
    talk.on_event(ev.ResponseDone("r2", None, None, "completed", usage=ev.TokenUsage(5, 2, 0, 0.02, "near")))
    shown = board.snapshot()
    assert shown.errors == {"asr_timeout": 1, "llm_timeout": 1}
    assert shown.refused == {"server_full": 2}
    assert [(one.endpoint, one.replies, one.tokens, round(one.cost, 6)) for one in shown.spend] == [
        ("near", 2, 14, 0.03)
    ]
    assert (shown.lag_ms, shown.draining, shown.sessions, shown.llm) == (12, True, 1, FailoverStatus((), 3, 0, 0, 1, 0))
    board.leave("sess_1")
    assert board.snapshot().talks == []


def test_percentiles_are_of_what_was_measured() -> None:
    assert latency("response", []) == latency("response", iter(()))
    values = range(1, 101)
    assert (latency("asr", values).p50, latency("asr", values).p95) == (50, 95)
    assert (latency("asr", [7]).p50, latency("asr", [7]).p95) == (7, 7)


# -- recordings -------------------------------------------------------------------------------------------------------


async def test_recorded_talks_are_listed_and_opened(tmp_path: Path) -> None:
    recorded(RecordingStore(tmp_path, 30))
    (tmp_path / "secret.wav").write_text("not a recording: no lines beside it")
    settings = Settings(admin=ADMIN, recordings=RecordingsSection(path=str(tmp_path)))
    try:
        async with visitor(settings) as http:
            listed = (await http.get("/admin/talks", headers=BEARER)).json()
            assert [(one["id"], one["sound"], one["finished"]) for one in listed["talks"]] == [(SESSION, True, True)]
            report = await http.get(f"/admin/talks/{SESSION}", headers=BEARER)
            assert (report.status_code, report.headers["cache-control"]) == (200, "no-store")
            assert "script-src 'sha256-" in report.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in report.headers["content-security-policy"]
            assert "Once upon a time" in report.text
            sound = await http.get(f"/admin/talks/{SESSION}/sound", headers={**BEARER, "range": "bytes=0-43"})
            assert (sound.status_code, sound.headers["content-type"], sound.content[:4]) == (206, "audio/wav", b"RIFF")
            for path in ("sess_none", "sess_none/sound", "..%2f..%2fetc%2fpasswd", "%2e%2e/sound"):
                assert (await http.get(f"/admin/talks/{path}", headers=BEARER)).status_code == 404
        async with visitor() as http:
            assert (await http.get("/admin/talks", headers=BEARER)).json() == {"recorded": False, "talks": []}
            assert (await http.get(f"/admin/talks/{SESSION}", headers=BEARER)).status_code == 404
    finally:
        await asyncio.get_running_loop().shutdown_default_executor()


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.skipif(find() is None, reason="chromium is not installed (apt-get install chromium)")
async def test_the_page_in_a_browser(engines_for: EnginesFor, tmp_path: Path) -> None:
    recorded(RecordingStore(tmp_path / "talks", 30))
    settings = Settings(admin=ADMIN, recordings=RecordingsSection(path=str(tmp_path / "talks")))
    with chromium(tmp_path / "microphone.wav") as browser:
        async with serving(engines_for, settings, "Hello there.") as (voice, url), browser.page() as page:
            await page.open(url.replace("ws://", "http://") + "/admin")
            assert await page.value("document.activeElement.name") == "key"
            await page.write(KEY)
            await page.press("Enter")
            await page.until("document.getElementById('state')?.dataset.state === 'open'")
            async with client_of(url) as client:
                await page.until("document.querySelectorAll('#talks tr').length === 1")
                await page.click("#talks button")
                await page.until("document.activeElement.id === 'watch-title'")
                await eventually(watched(voice))
                await client.type("Hello.")
                await page.until("document.querySelectorAll('.turn').length === 1")
                await page.until("document.querySelector('.turn .said').textContent.includes('Hello there.')")
                await page.click("#language")
                assert await page.value("document.querySelector('h1').textContent") == "运维视图"
                await page.until("document.querySelector('#talks button + button').textContent === '结束'")
                await page.click("#talks button + button")
                await page.click("#talks button + button.sure")
                assert await client.closed() == 1000
            await page.until("document.getElementById('watch-note').textContent.includes('对话已结束')")
            await page.until("!document.getElementById('no-talks').hidden")
            await page.value("document.getElementById('reload').click()")
            await page.until(f"document.getElementById('recorded').textContent.includes('{SESSION}')")
            keys = "import('/admin/web/admin-words.js').then(({adminKeys}) => ['en', 'zh'].map(adminKeys))"
            english, chinese = cast(list[Json], await page.value(keys))
            assert english == chinese, "both languages have the same words"
            await page.open(url.replace("ws://", "http://") + f"/admin/talks/{SESSION}")
            await page.until("document.querySelectorAll('.turn').length === 1")
            assert page.errors == []


def watched(voice: VoiceServer) -> Callable[[], Awaitable[bool]]:
    """Whether somebody watches the only talk by now."""

    async def one_watches() -> bool:
        assert voice.board is not None
        return [row.watchers for row in voice.board.snapshot().talks] == [1]

    return one_watches
