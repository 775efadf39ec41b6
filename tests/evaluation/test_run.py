"""A scenario played against the running server with real engines, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.client_server import Call, RealtimeServer
from tests.support.client_server import Reply as Said
from tests.support.llm.server import Reply, ScriptedLlm
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak
from voiceagent.audio.pcm import Pcm
from voiceagent.audio.wav import StereoWav
from voiceagent.cli.eval import evaluate, prepare
from voiceagent.errors import ConfigError
from voiceagent.evaluation import run as evaluation
from voiceagent.evaluation import usage
from voiceagent.evaluation.scenario import parse
from voiceagent.evaluation.stage import stage
from voiceagent.settings import Settings

LONG = (
    "The moon is a rocky ball that goes around the earth. It takes about a month for one round. "
    "It has no air and no water to speak of. People have walked on it twelve times so far."
)
CUT_IN = """
name: cut-in
microphone: {echo: {level_db: -30, delay_ms: 100}}
turns:
  - say: Tell me about the moon.
    meanwhile: [{kind: interruption, after_ms: 900, say: "Stop, that is enough."}]
    expect: {interrupted: true, cut_off: false, answer: I will stop, max_silence_ms: 3000}
"""


def answer(messages: list[dict[str, str]]) -> Reply:
    """By the words, not by the count: replies are prepared ahead and thrown away."""
    return Reply("Fine, I will stop." if "stop" in messages[-1]["content"].lower() else LONG)


@pytest.mark.real
async def test_a_scenario_against_the_running_server(engines_for: EnginesFor, speak: Speak, tmp_path: Path) -> None:
    staged = stage(parse(CUT_IN.encode(), "cut-in"), tmp_path, lambda text, pitch: speak(text))
    async with (
        ScriptedLlm(answer) as llm,
        running(Settings(), engines := engines_for(llm.base_url)) as (_, url),
    ):
        report = await evaluation.run([staged], f"{url}/v1/realtime", keep_audio=tmp_path, listener=engines.asr)
    (run,) = report.runs
    assert run.passed, (run.failure, run.shortcomings)
    (turn,) = run.turns
    assert (turn.interruptions, turn.missed, turn.false) == (1, 0, 0)
    assert len(turn.response_ms) == 2
    assert len(turn.silence_ms) == len(turn.heard_words_off) == 1
    assert turn.word_errors <= 2
    assert turn.heard[0][0].startswith("The moon is a rocky ball")
    assert report.speculation is not None
    assert report.speculation.tokens_spoken > 0
    assert (tmp_path / "cut-in-1.wav").stat().st_size > 24_000 * 4
    assert json.loads(report.json())["passed"] is True


async def test_a_server_without_metrics_and_one_that_leaves(speak: Speak, tmp_path: Path) -> None:
    async def leave(call: Call) -> None:
        await call.open()
        await Said(call).start()
        await call.drop()

    staged = stage(parse(b"{name: a, turns: [{say: Hello there.}]}", "a"), tmp_path, beep)
    async with RealtimeServer(leave) as server:
        assert await usage.counts(server.url) is None
        report = await evaluation.run([staged], server.url)
    assert not report.passed
    assert report.runs[0].failure is not None
    assert "lost" in report.runs[0].failure
    assert report.notes == ["speculation: the server has no voiceagent metrics"]


def beep(text: str, pitch: float) -> Pcm:
    return (8000 * np.sin(np.arange(4800) / 5 * pitch)).astype(np.int16)


def write(folder: Path, name: str, text: str) -> Path:
    with StereoWav(folder / "beep.wav", 24_000) as file:
        file.write(beep("", 1.0), beep("", 1.0))
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_the_command_says_when_nothing_can_be_reached(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "{name: a, turns: [{say: {wav: beep.wav}}]}")
    assert evaluate([path], url="ws://127.0.0.1:9/v1/realtime", json=tmp_path / "out" / "a.json") == 1
    body = json.loads((tmp_path / "out" / "a.json").read_text("utf-8"))
    assert "cannot reach" in body["runs"][0]["failure"]
    with pytest.raises(ConfigError, match="could not be held: the url must be"):
        evaluate([path], url="http://127.0.0.1:9")


def test_two_scenarios_of_the_same_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        write(tmp_path, name, "{name: a, turns: [{say: {wav: beep.wav}}]}")
    with pytest.raises(ConfigError, match="two scenarios have the same name: a"):
        prepare([tmp_path])
