"""The page in a real browser: `python -m benchmarks.page`.

Headless Chromium on loopback, against a server whose engines answer at once. Prints and checks: the bytes of all the
page's files; its first paint in a fresh browser; how long it is from the user's voice to the agent's silence, by the
page's own two waveforms; in several states a score of accessibility as Lighthouse computes its own (axe-core's rules,
weighted by impact). Needs Chromium, and npm to fetch axe-core.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import wave
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from benchmarks.browser import Browser, BrowserError, Page, chromium
from benchmarks.server_process import scripted_server
from voiceagent.assets import ASSETS
from voiceagent.audio import wav
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.web.routes import size

BYTES = 200_000
PAINT_MS = 1000
SILENCE_MS = 300
SCORE = 95

AXE = "axe-core@4.14.1"
AXE_FOLDER = Path("out/axe")
RATE = 24_000
VOICE = ASSETS / "demo" / "3-france.wav"
TURNS = 10
EVERY_SECONDS = 5.2
"""The voice lasts 2.5 s and the answer begins half a second later and lasts 4 s: each voice interrupts it."""
PAINTS = 5
LOUD, QUIET = 0.02, 0.004
"""Peaks (0..1) that begin a voice, and that count as silence."""
IMPACTS: Mapping[str | None, int] = {"minor": 1, "moderate": 3, "serious": 7, "critical": 10}
"""Lighthouse's weights."""


class Waves(msgspec.Struct):
    """Peaks every `step` ms, of both sides."""

    step: int
    user: list[float]
    agent: list[float]


class AxeCheck(msgspec.Struct):
    impact: str | None = None


class AxeNode(msgspec.Struct):
    any: list[AxeCheck] = []
    all: list[AxeCheck] = []
    none: list[AxeCheck] = []


class AxeRule(msgspec.Struct):
    id: str
    nodes: list[AxeNode]

    @property
    def weight(self) -> int:
        checks = [check for node in self.nodes for check in (*node.any, *node.all, *node.none)]
        return max((IMPACTS.get(check.impact, 1) for check in checks), default=1)


class AxeResult(msgspec.Struct):
    passes: list[AxeRule]
    violations: list[AxeRule]

    @property
    def score(self) -> float:
        passed, failed = sum(rule.weight for rule in self.passes), sum(rule.weight for rule in self.violations)
        return 100 * passed / (passed + failed)


def main(argv: list[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "microphone.wav"
        write_wav(microphone, interruptions(wav.read(VOICE)[0]))
        try:
            with chromium(microphone) as browser:
                return asyncio.run(measure(browser))
        except BrowserError as error:
            print(error)
            return 1


def interruptions(voice: Pcm) -> Pcm:
    """A voice every EVERY_SECONDS, TURNS times."""
    turn = np.concatenate([voice, silence(int(EVERY_SECONDS * RATE) - len(voice))])
    return np.concatenate([silence(RATE), *[turn] * TURNS])


def write_wav(path: Path, pcm: Pcm) -> None:
    """What Chromium's microphone takes: 16 bit, mono, 24 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(pcm.tobytes())


async def measure(browser: Browser) -> int:
    async with scripted_server() as server:
        url = f"http://{server.host}:{server.port}/"
        results: list[tuple[str, float, int, str]] = [("all files", size(), BYTES, "bytes")]
        paints = [await first_paint(browser, url) for _ in range(PAINTS)]
        results.append(("first paint, worst of 5", max(paints), PAINT_MS, "ms"))
        silences, scores = await talk(browser, url)
        results.append((f"voice to silence, median of {len(silences)}", median(silences), SILENCE_MS, "ms"))
        results.append(("voice to silence, worst", max(silences), SILENCE_MS, "ms"))
    met = True
    for name, value, target, unit in results:
        met = met and value <= target
        print(f"{name:32} {value:8.0f} {unit} (at most {target})")
    for name, score in scores.items():
        met = met and score >= SCORE
        print(f"{'accessibility, ' + name:32} {score:8.0f}     (at least {SCORE})")
    return 0 if met and scores else 1


async def first_paint(browser: Browser, url: str) -> float:
    """Milliseconds from navigation to the first content, with nothing cached."""
    async with browser.page() as page:
        await page.open(url)
        value = await page.until("performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        assert isinstance(value, int | float)
        return float(value)


async def talk(browser: Browser, url: str) -> tuple[list[float], dict[str, float]]:
    """Interrupt the agent again and again. Returns the silences in ms, and the scores by state of the page."""
    axe = fetch_axe()
    scores: dict[str, float] = {}
    async with browser.page() as page:
        await page.viewport(1280, 860)
        await page.open(url)
        if axe:
            scores["at first"] = await accessibility(page, axe)
        await page.click("#talk")
        await page.until(f"voiceagent.turns.list.length >= {TURNS}", EVERY_SECONDS * TURNS + 30)
        await page.until("voiceagent.turns.last.status === 'completed' && !voiceagent.sounding", 30)
        silences = silences_of(await waves(page))
        await page.click("#talk")
        if axe:
            scores["after a talk"] = await accessibility(page, axe)
            await page.click("#settings summary")
            await page.click("#ui-language")
            await page.prefer("prefers-color-scheme", "dark")
            await page.viewport(390, 800, mobile=True)
            scores["Chinese, dark, on a phone"] = await accessibility(page, axe)
    return silences, scores


async def waves(page: Page) -> Waves:
    """Both sides from the first turn on."""
    text = await page.value(
        "(() => { const { list } = voiceagent.turns;"
        " return JSON.stringify(voiceagent.turns.wavesOf(list[0], performance.now() - list[0].zero)); })()"
    )
    assert isinstance(text, str)
    return msgspec.json.decode(text, type=Waves)


def silences_of(waves: Waves) -> list[float]:
    """For each voice that began while the agent was heard: milliseconds until the agent was silent for good."""
    user, agent = np.array(waves.user), np.array(waves.agent)
    found: list[float] = []
    still = 500 // waves.step
    for start in np.flatnonzero(user > LOUD):
        sounding = agent[max(0, start - 5) : start + 1].max() > QUIET
        if user[max(0, start - still) : start].max(initial=0.0) > LOUD or not sounding:
            continue
        heard = np.flatnonzero(agent[start : start + 2000 // waves.step] > QUIET)
        found.append(float((heard[-1] + 1) * waves.step if len(heard) else 0))
    return found


def fetch_axe() -> str | None:
    """The source of axe-core, fetched once; None (and why, on standard output) where it cannot be had."""
    script = AXE_FOLDER / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        command = ["npm", "install", "--prefix", str(AXE_FOLDER), "--ignore-scripts", "--no-audit", "--no-fund", AXE]
        try:
            AXE_FOLDER.mkdir(parents=True, exist_ok=True)
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"accessibility is not measured: {type(error).__name__}, npm could not fetch {AXE}")
            return None
    return script.read_text()


async def accessibility(page: Page, axe: str) -> float:
    await page.value(f"{axe}; true")
    text = await page.value("axe.run(document).then((result) => JSON.stringify(result))")
    assert isinstance(text, str)
    result = msgspec.json.decode(text, type=AxeResult)
    for rule in result.violations:
        print(f"  violates {rule.id} in {len(rule.nodes)} places")
    return result.score


if __name__ == "__main__":
    sys.exit(main())
