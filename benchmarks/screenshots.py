"""The README's pictures: `python -m benchmarks.screenshots` talks with the default server in headless Chromium, and
writes docs/images/page.png, turns.png, page-phone.png and admin.png. Needs Chromium and a font with Chinese
characters."""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from benchmarks.browser import Browser, BrowserError, Page, chromium
from benchmarks.page import RATE, write_wav
from benchmarks.server_process import line_of
from voiceagent.agent.running import LISTENING
from voiceagent.assets import ASSETS
from voiceagent.audio import wav
from voiceagent.audio.pcm import Pcm, silence

FOLDER = Path(__file__).parent.parent / "docs" / "images"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
TALK_SECONDS = 60.0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the pictures go")
    folder: Path = parser.parse_args(argv).out
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        microphone = Path(scratch) / "microphone.wav"
        write_wav(microphone, conversation())
        try:
            with chromium(microphone) as browser:
                asyncio.run(take(browser, folder))
        except BrowserError as error:
            print(error)
            return 1
    return 0


def conversation() -> Pcm:
    """Of the demo's turns the first three; the third interrupts the answer to the second."""
    name, story, france = (wav.read(ASSETS / "demo" / f"{turn}.wav")[0] for turn in ("1-name", "2-story", "3-france"))
    pauses = [silence(int(seconds * RATE)) for seconds in (1.0, 6.0, 4.0, 3.0)]
    return np.concatenate([pauses[0], name, pauses[1], story, pauses[2], france, pauses[3]])


@asynccontextmanager
async def default_server(admin_key: str) -> AsyncIterator[str]:
    """The page of a server as anybody starts it, but that an operator may look in."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voiceagent", "serve", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "VOICEAGENT_ADMIN__KEY": admin_key},
    )
    try:
        line = (await line_of(process, START_SECONDS)).decode()
        yield line.removeprefix(LISTENING).strip().replace("ws", "http", 1).removesuffix("v1/realtime")
    finally:
        process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()


async def take(browser: Browser, folder: Path) -> None:
    key = secrets.token_hex(16)
    async with default_server(key) as url, browser.page() as page, browser.page() as operator:
        await operator.viewport(1280, 1080)
        await sign_in(operator, url, key)
        await page.viewport(1280, 860)
        await page.open(url)
        await page.click("#talk")
        await watch(operator)
        await page.until("voiceagent.turns.list[1]?.marks.interrupted !== undefined", TALK_SECONDS)
        await page.until("voiceagent.turns.list.length === 3 && voiceagent.sounding", TALK_SECONDS)
        await page.screenshot(folder / "page.png")
        await operator.value("scrollTo(0, 0)")
        await operator.screenshot(folder / "admin.png")
        await page.until("voiceagent.turns.last.status === 'completed' && !voiceagent.sounding", TALK_SECONDS)
        await page.click("#talk")
        await one_turn(page, folder / "turns.png")
        await page.viewport(390, 844, mobile=True, scale=2)
        await page.prefer("prefers-color-scheme", "dark")
        await page.click("#ui-language")
        await page.value("document.fonts.ready.then(() => scrollTo(0, 0))")
        await page.screenshot(folder / "page-phone.png")


async def sign_in(operator: Page, url: str, key: str) -> None:
    """Into the operator's view."""
    await operator.open(f"{url}admin")
    await operator.value("document.querySelector('input').focus()")
    await operator.write(key)
    await operator.press("Enter")
    await operator.until("document.getElementById('state')?.dataset.state === 'open'")


async def watch(operator: Page) -> None:
    """The only talk, from now on."""
    await operator.until("document.querySelectorAll('#talks tr').length === 1")
    await operator.click("#talks button")


async def one_turn(page: Page, path: Path) -> None:
    """The whole account of the interrupted turn."""
    await page.until("document.querySelectorAll('.turn').length === 3")
    await page.value("document.querySelectorAll('.turn')[1].scrollIntoView()")
    await asyncio.sleep(0.5)  # until it is drawn
    await page.screenshot(path, "#turn-list")


if __name__ == "__main__":
    sys.exit(main())
