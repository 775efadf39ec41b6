"""The demo measured: `python -m benchmarks.demo [--readme]`.

Runs `voiceagent demo --json`, and checks what the demo promises: the user's words are understood, the agent's sound
says the agent's text, answers come soon. With --readme the figures go into README.md and README.zh-CN.md.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from voiceagent.asr.base import AsrHint
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.audio.resample import Resampler
from voiceagent.cli.demo import DemoTurn, word_errors, words
from voiceagent.models.store import ModelStore

USER_WER = 0.10
AGENT_WER = 0.15
MEDIAN_RESPONSE_MS = 1000
MARKER = re.compile(r"<!-- demo -->.*?<!-- /demo -->", re.DOTALL)
ROOT = Path(__file__).parent.parent


class DemoResult(msgspec.Struct):
    turns: list[DemoTurn]


@dataclass(frozen=True, slots=True)
class Figures:
    turns: list[DemoTurn]
    exit_code: int
    user_wer: float
    agent_wer: float
    median_ms: float

    @property
    def good(self) -> bool:
        return (
            self.exit_code == 0
            and self.user_wer <= USER_WER
            and self.agent_wer <= AGENT_WER
            and self.median_ms <= MEDIAN_RESPONSE_MS
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="put the figures into the READMEs")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "demo.wav")
    print(table(figures.turns, ENGLISH))
    print(summary(figures))
    if options.readme and figures.good:
        for name, language in (("README.md", ENGLISH), ("README.zh-CN.md", CHINESE)):
            write_readme(ROOT / name, figures, language)
    return 0 if figures.good else 1


def measure(wav: Path) -> Figures:
    run = subprocess.run(
        [sys.executable, "-m", "voiceagent", "demo", "--json", "--out", str(wav)], stdout=subprocess.PIPE, check=False
    )
    turns = msgspec.json.decode(run.stdout, type=DemoResult).turns
    expected = " ".join(turn.expected_text for turn in turns)
    understood = " ".join(turn.user_text for turn in turns)
    said = " ".join(turn.agent_text for turn in turns)
    again = asyncio.run(recognise(agent_channel(wav)))
    return Figures(
        turns,
        run.returncode,
        word_errors(expected, understood),
        word_errors(said, again),
        median(turn.response_ms or 10_000 for turn in turns),
    )


def agent_channel(path: Path) -> Pcm:
    """The right channel at EAR_RATE."""
    with wave.open(str(path), "rb") as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").reshape(-1, 2)
    resampler = Resampler(rate, EAR_RATE, "quality")
    return np.concatenate([resampler.push(samples[:, 1].copy()), resampler.flush()])


async def recognise(pcm: Pcm) -> str:
    """All words of a recording, each stretch between silences of a second on its own."""
    asr = SherpaAsr(SherpaAsr.Options(), ModelStore())
    await asr.open()
    try:
        heard = []
        for stretch in stretches(pcm):
            stream = asr.stream(AsrHint())
            stream.push(stretch)
            heard.append((await stream.finish()).text)
            stream.close()
        return " ".join(heard)
    finally:
        await asr.close()


def stretches(pcm: Pcm, gap: int = EAR_RATE) -> list[Pcm]:
    loud = np.flatnonzero(np.abs(pcm) > 200)
    if not len(loud):
        return []
    borders = np.flatnonzero(np.diff(loud) > gap)
    starts = loud[np.concatenate([[0], borders + 1])]
    ends = loud[np.concatenate([borders, [len(loud) - 1]])]
    margin = EAR_RATE // 10
    return [pcm[max(0, start - margin) : end + margin] for start, end in zip(starts, ends, strict=True)]


ENGLISH = ("turn", "user", "agent", "answered in", "(interrupted)", "on the server")
CHINESE = ("轮", "用户", "智能体", "响应时间", "（被打断）", "其中")


def table(turns: list[DemoTurn], language: tuple[str, ...]) -> str:
    number, user, agent, answered, interrupted, parts = language
    rows = [f"| {number} | {user} | {agent} | {answered} | {parts} |", "|---|---|---|---|---|"]
    for index, turn in enumerate(turns, 1):
        said = turn.agent_text + (f" {interrupted}" if turn.interrupted else "")
        detail = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in turn.parts.items() if value)
        rows.append(f"| {index} | {turn.user_text} | {said} | {turn.response_ms} ms | {detail} |")
    return "\n".join(rows)


def summary(figures: Figures) -> str:
    return json.dumps(
        {
            "exit_code": figures.exit_code,
            "user_wer": round(figures.user_wer, 3),
            "user_wer_target": USER_WER,
            "agent_wer": round(figures.agent_wer, 3),
            "agent_wer_target": AGENT_WER,
            "median_response_ms": figures.median_ms,
            "median_response_target_ms": MEDIAN_RESPONSE_MS,
            "words": len(words(" ".join(turn.expected_text for turn in figures.turns))),
            "good": figures.good,
        }
    )


def write_readme(path: Path, figures: Figures, language: tuple[str, ...]) -> None:
    english = language is ENGLISH
    wer = f"{figures.user_wer:.0%}, {figures.agent_wer:.0%}"
    closing = (
        f"Median response {figures.median_ms:.0f} ms, on two shared cores without a GPU, everything in the box. "
        f"Word error rate of the user's turns and of the agent's sound recognised again: {wer}. "
        "(`python -m benchmarks.demo --readme`)"
        if english
        else f"响应时间中位数 {figures.median_ms:.0f} 毫秒：两个共享的 CPU 核心，没有 GPU，全部使用自带引擎。"
        f"用户话语的词错误率，以及把智能体的声音重新识别后的词错误率：{wer}。（`python -m benchmarks.demo --readme`）"
    )
    block = f"<!-- demo -->\n{table(figures.turns, language)}\n\n{closing}\n<!-- /demo -->"
    path.write_text(MARKER.sub(lambda _: block, path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
