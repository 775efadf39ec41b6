"""The page in a real, headless Chromium whose microphone plays a WAV file, against the server with real engines."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from benchmarks.browser import Browser, BrowserError, chromium, find
from benchmarks.page import silences_of, waves
from tests.support.page_stage import Stage, microphone, stage
from tests.support.speech import EnginesFor, Speak, quiet
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import Settings

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(find() is None, reason="chromium is not installed (apt-get install chromium)"),
]

LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far."
)
TURN = {
    "number": 3,
    "status": "interrupted",
    "user": "<img src=x onerror=alert(1)>",
    "agent": "One two three.",
    "heard": "One",
    "marks": {
        "onset": 0,
        "speech_end": 1000,
        "paused": 1160,
        "transcribed": 1250,
        "prepared": 1250,
        "committed": 1400,
        "first_token": 1300,
        "first_clause": 1330,
        "first_audio": 1402,
        "interrupted": 2500,
    },
    "client": {"first_played": 1450, "last_played": 2400},
    "response_ms": 402,
    "decisions": [
        {"kind": "endpoint", "action": "end", "silence_ms": 400, "at": 1400},
        {"kind": "speculation", "action": "used", "tokens": 0, "at": 1400},
        {"kind": "barge_in", "action": "confirm", "reason": "words", "at": 2500},
    ],
    "usage": {"input_tokens": 50, "output_tokens": 7, "cached_tokens": 20, "cost": 0.00123, "endpoint": "near"},
    "waves": {"step": 20, "from": 0, "user": [0, 0.5, 1], "agent": []},
}
SILENT_MS = 1500
"""Far above what benchmarks/page.py measures: here other tests use the machine too."""


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "microphone.wav"


@pytest.fixture(scope="module")
def browser(wav: Path) -> Iterator[Browser]:
    microphone(wav, [quiet(1.0)])
    try:
        with chromium(wav) as started:
            yield started
    except BrowserError as error:
        pytest.skip(str(error))


async def press(stage: Stage, button: str) -> None:
    """By the keyboard alone: Tab until the button has the focus, then Enter."""
    for _ in range(30):
        await stage.page.press("Tab")
        if await stage.page.value(f"document.activeElement?.id === '{button}'"):
            return await stage.page.press("Enter")
    raise AssertionError(f"{button} cannot be reached by Tab")


async def test_a_spoken_question_is_captioned_and_answered_and_a_voice_stops_the_answer(
    browser: Browser, engines_for: EnginesFor, speak: Speak, wav: Path
) -> None:
    stop = speak("I would like to hear about the sun instead.")
    microphone(wav, [quiet(0.7), speak("What is the moon?"), quiet(3.5), stop, quiet(2.0)])
    async with stage(browser, engines_for, [LONG, "All right."]) as talk:
        page = talk.page
        await press(talk, "talk")
        await page.until("voiceagent.sounding")
        await page.until("document.getElementById('state').textContent === 'The agent speaks'")
        assert (await talk.captions())[0] == "user: What is the moon?"
        await page.until("voiceagent.turns.list[0].marks.interrupted !== undefined")
        await page.until("voiceagent.turns.list[1]?.status === 'completed' && !voiceagent.sounding")
        captions = await talk.captions()
        assert len(captions) == 4
        heard, _, rest = captions[1].partition("[")
        assert heard.startswith("assistant: The moon")
        assert rest, "what was not heard is greyed out"
        assert captions[3] == "assistant: All right."
        [silent, *_] = silences_of(await waves(page))
        assert silent <= SILENT_MS
        prompt = talk.llm.requests[-1].messages
        assert prompt[-2]["content"].strip() == heard.removeprefix("assistant: ").strip()
        await page.until("document.querySelectorAll('.turn .bar').length > 8")
        assert "The user takes the floor" in str(
            await page.value("document.querySelector('.turn:last-child').textContent")
        )
        assert not page.errors


async def test_a_broken_line_is_mended_and_the_talk_goes_on_as_if_nothing_were(
    browser: Browser, engines_for: EnginesFor, wav: Path
) -> None:
    microphone(wav, [quiet(1.0)])
    script = ["Your name is noted.", LONG, "And it is dusty.", "Your name is Ann."]
    async with stage(browser, engines_for, script) as talk:
        page = talk.page
        await page.value("document.getElementById('text').focus()")
        await page.write("My name is Ann.")
        await page.press("Enter")
        await page.until("document.querySelectorAll('#captions li').length === 2 && !voiceagent.replies.size")
        assert await talk.captions() == ["user: My name is Ann.", "assistant: Your name is noted."]
        await press(talk, "talk")
        await page.until("voiceagent.speaking")
        await page.value("document.getElementById('text').focus()")
        await page.write("What is the moon?")
        await page.press("Enter")
        await page.until("voiceagent.sounding && voiceagent.captions.history().at(-1).role === 'assistant'")
        await asyncio.sleep(0.5)
        talk.line.cut()
        await page.until("voiceagent.state === 'waiting'")
        shown = await page.value("document.getElementById('state').textContent")
        assert "lost" in str(shown) or "reached" in str(shown)
        talk.line.mend()
        await talk.llm.requested(3)
        told = talk.llm.requests[2].messages
        assert [message["content"] for message in told[1:4]] == [
            "My name is Ann.",
            "Your name is noted.",
            "What is the moon?",
        ]
        assert LONG.startswith(told[4]["content"].strip())
        assert 0 < len(told[4]["content"]) < len(LONG), "it is told what was heard, not what was sent"
        assert "connection broke" in told[0]["content"]
        await page.until("voiceagent.turns.last.status === 'completed' && !voiceagent.sounding")
        await page.value("document.getElementById('text').focus()")
        await page.write("What is my name?")
        await page.press("Enter")
        await page.until("voiceagent.captions.history().at(-1).content[0].text === 'Your name is Ann.'")
        said = talk.llm.requests[3].messages[4]["content"]  # one message to the model, two captions here
        assert said.startswith(told[4]["content"].strip())
        assert said.endswith("And it is dusty.")


async def test_a_written_question_interrupts_and_escape_silences(
    browser: Browser, engines_for: EnginesFor, wav: Path
) -> None:
    microphone(wav, [quiet(1.0)])
    async with stage(browser, engines_for, [LONG, LONG]) as talk:
        page = talk.page
        await press(talk, "talk")
        await page.until("voiceagent.speaking && voiceagent.ready")
        for number in (1, 2):
            await page.value("document.getElementById('text').focus()")
            await page.write("Tell me about the moon.")
            await page.press("Enter")
            await talk.llm.requested(number)
            heard = f"voiceagent.captions.history()[{2 * number - 1}]?.content[0].text.length > 12"
            await page.until(f"voiceagent.sounding && {heard}")
        await page.press("Escape")
        await page.until("!voiceagent.sounding && !voiceagent.replies.size")
        captions = await talk.captions()
        assert [caption.count("[") for caption in captions] == [0, 1, 0, 1]
        assert talk.llm.requests[1].messages[-2]["role"] == "assistant"
        assert not page.errors


async def test_a_closed_server_asks_for_its_key_and_a_wrong_one_is_named(
    browser: Browser, engines_for: EnginesFor
) -> None:
    limits = LimitSection(api_keys=(ApiKey(name="ann", key=SecretStr("sk-right")),))
    async with stage(browser, engines_for, ["Hello Ann."], Settings(limits=limits)) as talk:
        page = talk.page
        await press(talk, "talk")
        assert await page.value("document.activeElement.id") == "key"
        await page.write("sk-wrong")
        await page.press("Tab")
        await press(talk, "talk")
        await page.until("document.getElementById('state').textContent.includes('refused')")
        assert not await page.value("voiceagent.speaking"), "the microphone is let go"
        await page.value("document.getElementById('key').select()")
        await page.value("document.getElementById('key').focus()")
        await page.write("sk-right")
        await page.press("Tab")
        await press(talk, "talk")
        await page.until("voiceagent.ready")
        assert await page.value("sessionStorage.getItem('voiceagent.key')") == "sk-right"
        assert await page.value("localStorage.length") == 0


async def test_the_page_speaks_chinese(browser: Browser, engines_for: EnginesFor) -> None:
    async with stage(browser, engines_for, ["天空因为散射而呈蓝色。"]) as talk:
        page = talk.page
        await press(talk, "ui-language")
        assert await page.value("document.documentElement.lang") == "zh-CN"
        assert await page.value("document.getElementById('talk').textContent") == "开始说话"
        await page.value("document.getElementById('text').focus()")
        await page.write("天空为什么是蓝色的？")
        await page.press("Enter")
        await page.until("!voiceagent.replies.size && document.querySelectorAll('.turn').length === 1")
        assert await talk.captions() == ["user: 天空为什么是蓝色的？", "assistant: 天空因为散射而呈蓝色。"]
        assert "第 1 轮" in str(await page.value("document.querySelector('.turn h3').textContent"))
        words = "Promise.all(['en', 'zh'].map(async (ui) => (await import('/web/words.js')).keys(ui)))"
        languages = await page.value(words)
        assert isinstance(languages, list)
        assert languages[0] == languages[1], "both languages have the same words"
        assert not page.errors


async def test_turns_are_drawn_from_plain_data_and_their_words_are_never_markup(
    browser: Browser, engines_for: EnginesFor
) -> None:
    async with stage(browser, engines_for, ["Hello."]) as talk:
        page = talk.page
        await page.value(
            "Promise.all(['draw', 'words'].map((name) => import(`/web/${name}.js`))).then(([draw, words]) => {"
            f" const turn = {json.dumps(TURN)}; window.drawn = draw.turnCard(turn, words.words('en'));"
            " window.bars = draw.spans(turn).map(({row, from, to}) => `${row} ${from}-${to}`); })"
        )
        assert await page.value("drawn.querySelectorAll('img').length") == 0
        text = str(await page.value("drawn.textContent"))
        for shown in (
            "<img src=x",
            "450 ms to hear",
            "interrupted",
            "50 + 7 tokens",
            "cost 0.0012",
            "near",
            "150 ms head",
        ):
            assert shown in text
        assert "End of turn after 400 ms of silence" in text
        assert "The user takes the floor (words)" in text
        assert await page.value("drawn.querySelector('.unheard').textContent") == " two three."
        assert await page.value("bars") == [
            "speech 0-1000",
            "pause 1000-1400",
            "hold 1250-1400",
            "asr 1160-1250",
            "llm 1250-1330",
            "tts 1330-1400",
            "tts 1400-1402",
            "network 1402-1450",
            "heard 1450-2400",
        ]
        sparse = (
            "import('/web/draw.js').then(({turnCard}) => turnCard({number: 1, status: 'live'}, (key) => key).tagName)"
        )
        assert await page.value(sparse) == "ARTICLE"
        assert not page.errors
