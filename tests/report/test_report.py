"""The report of a recorded talk: one file that draws it, asks for nothing else, and runs nothing that was said."""

import asyncio
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import cast

import pytest

from benchmarks.browser import chromium, find
from tests.support.recorded import SESSION, recorded
from voiceagent.recordings.store import RecordingStore
from voiceagent.report.page import data, render
from voiceagent.report.turns import read

ATTACK = "</script><img src=x onerror=alert(1)><!-- 你好 \u2028"


@pytest.fixture
def store(tmp_path: Path) -> RecordingStore:
    return RecordingStore(tmp_path / "talks", 30)


def report_of(store: RecordingStore, *, audio: bool = False) -> str:
    html = render(store, SESSION, audio=audio)
    assert html is not None
    return html


def test_a_turn_is_read_from_its_lines(store: RecordingStore) -> None:
    recorded(store)
    talk = read(store.lines(SESSION) or ())
    assert (talk.about["session"], talk.about["tenant"], talk.end, talk.cut_ms) == (
        SESSION,
        "shop",
        "client left",
        None,
    )
    shown = data(talk, None)
    (turn,) = cast(list[object], shown["turns"])
    assert turn == {
        "number": 1,
        "at": 0,
        "status": "interrupted",
        "user": "Tell me a story.",
        "agent": "Once upon a time there was a dragon.",
        "heard": "Once upon a time",
        "marks": {
            "onset": 0,
            "speech_end": 1000,
            "paused": 1200,
            "transcribed": 1500,
            "committed": 1500,
            "first_audio": 1500,
            "interrupted": 2000,
        },
        "client": {"last_played": 1900},
        "parts": {"endpointing": 500, "asr": 0, "tts_first_audio": 0},
        "response_ms": 500,
        "decisions": [
            {"kind": "endpoint", "action": "pause", "at": 1200},
            {"kind": "speculation", "action": "used", "tokens": 0, "at": 1500},
            {
                "kind": "endpoint",
                "action": "end",
                "silence_ms": 500,
                "at": 1500,
                "cause": "silence",
                "evidence": {"words": 0.71},
            },
            {"kind": "barge_in", "action": "confirm", "reason": "words", "at": 2000},
        ],
        "usage": {
            "input_tokens": 50,
            "output_tokens": 7,
            "cached_tokens": 20,
            "cost": 0.00123,
            "endpoint": "near",
        },
        "error": None,
    }


def test_typed_turns_second_answers_and_what_was_deleted() -> None:
    def reply(number: int, at: int, text: str) -> list[dict[str, object]]:
        names = {"reply": f"r{number}", "item": f"a{number}"}
        return [
            {"at": at, "type": "reply_started", **names},
            {"at": at, "type": "reply_item", **names},
            {"at": at + 10, "type": "reply_text", "text": text, **names},
            {"at": at + 20, "type": "reply_done", "status": "completed", **names},
            {"at": at + 90, "type": "reply_played", **names},
        ]

    talk = read(
        [
            {"at": 0, "type": "item", "item": "h1", "role": "user", "text": "told again after a reconnection"},
            {"at": 0, "type": "item", "item": "h2", "role": "assistant", "text": "so was this"},
            {"at": 5, "type": "item", "item": "u1", "role": "user", "text": "Hello."},
            *reply(1, 10, "One moment."),
            *reply(2, 200, "Here it is."),
            {"at": 300, "type": "item", "item": "u2", "role": "user", "text": "Secret."},
            *reply(3, 310, "Noted."),
            {"at": 450, "type": "deleted", "item": "a3"},
            {"at": 460, "type": "transcript_failed", "item": "nobody", "code": "asr_timeout"},
            {"at": 470, "type": "interruption"},
            {"type": "timeline", "reply": "r9"},
            {"no": "type"},
        ]
    )
    assert [(turn.user, turn.agent) for turn in talk.turns] == [
        ("Hello.", "One moment."),
        ("", "Here it is."),
        ("Secret.", ""),
    ]
    assert talk.turns[0].marks == {"first_token": 10, "sent": 20, "heard": 90}
    assert (talk.end, talk.last_ms) == (None, 470)


@pytest.mark.parametrize("audio", [False, True])
def test_nothing_is_loaded_from_anywhere(store: RecordingStore, audio: bool) -> None:
    recorded(store)
    html = report_of(store, audio=audio)
    links: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data"))

    Links().feed(html)
    assert [link[:22] for link in links] == (["data:audio/ogg;base64,"] if audio else [])
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"^\s*(import|export) ", html, re.MULTILINE)
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_what_was_said_cannot_end_its_script(store: RecordingStore) -> None:
    recorded(store, user=ATTACK, agent=ATTACK, heard=ATTACK)
    html = report_of(store)
    assert "<img" not in html
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert inside is not None
    assert json.loads(inside[1])["turns"][0]["user"] == ATTACK


def test_a_recording_without_sound_or_end_has_a_report_too(store: RecordingStore) -> None:
    recorded(store, audio=False)
    assert '"waves":null' in report_of(store, audio=True)
    (store.folder / f"{SESSION}.wav").write_bytes(b"broken")
    assert '"waves":null' in report_of(store)
    (store.folder / f"{SESSION}.jsonl").write_bytes(b"")
    assert '"turns":[]' in report_of(store)
    assert render(store, "sess_none") is None


@pytest.mark.real
@pytest.mark.skipif(find() is None, reason="chromium is not installed (apt-get install chromium)")
async def test_it_is_drawn_from_a_file_and_plays(store: RecordingStore, tmp_path: Path) -> None:
    recorded(store, user=ATTACK)
    file = tmp_path / "report.html"
    file.write_text(report_of(store, audio=True), "utf-8")
    with chromium(tmp_path / "microphone.wav") as browser:
        async with browser.page() as page:
            await page.viewport(1000, 900)
            await page.open(file.as_uri())
            await page.until("document.querySelectorAll('.turn').length === 1")
            said = str(await page.value("document.querySelector('.turn .said').textContent"))
            assert "<img src=x onerror=alert(1)>" in said
            assert await page.value("document.querySelectorAll('img').length") == 0
            assert await page.value("document.querySelector('.unheard').textContent") == " there was a dragon."
            shapes = "document.querySelectorAll('.turn .wave, .turn .bar.speech, #overview path').length"
            assert await page.value(shapes) == 5
            head = str(await page.value("document.querySelector('#about').textContent"))
            assert SESSION in head
            assert "500 ms" in head
            await page.click("#language")
            assert "第 1 轮" in str(await page.value("document.querySelector('.turn h3').textContent"))
            assert await page.value("document.documentElement.lang") == "zh-CN"
            await page.until("document.querySelector('audio').readyState > 0")
            assert abs(float(str(await page.value("document.querySelector('audio').duration"))) - 4.0) < 0.2
            await page.click(".turn button")
            await page.until("!document.querySelector('audio').paused")
            await asyncio.sleep(0.1)
            assert page.errors == []
