"""The decision with the real detector and recogniser: spoken phrases always, recorded ones where they are."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import soxr

from benchmarks import barge_in
from benchmarks.barge_in_clips import Clip, Engines, decode, recorded, speech_folder, surround
from benchmarks.intervals import wilson
from tests.support.speech import RATE, Speak
from voiceagent.asr.sherpa import SherpaAsr
from voiceagent.audio.pcm import EAR_RATE, Pcm
from voiceagent.models.store import ModelStore
from voiceagent.turn.options import BargeInSettings, Phase
from voiceagent.vad.silero import SileroVad

pytestmark = pytest.mark.real


@pytest.fixture
async def engines(models: ModelStore, tmp_path: Path) -> AsyncIterator[Engines]:
    engines = Engines(SileroVad(SileroVad.Options(), models), SherpaAsr(SherpaAsr.Options(), models), tmp_path)
    await engines.open()
    yield engines
    await engines.close()


def clip(pcm: Pcm) -> Clip:
    at_ear_rate = soxr.resample(pcm.astype(np.float32), RATE, EAR_RATE)
    return Clip("spoken", "spoken", "spoken", surround(at_ear_rate.astype(np.int16)))


async def test_spoken_phrases_take_the_floor_or_leave_it(engines: Engines, speak: Speak) -> None:
    for text in ("Stop!", "Hold on.", "No, not that one.", "Can you repeat that?", "Yeah, but I meant Tuesday."):
        outcome = await barge_in.play(clip(speak(text)), engines, BargeInSettings(), Phase.SPEAKING)
        assert outcome.stop_ms is not None, text
        assert outcome.stop_ms <= 450, text
    for text in ("Yeah.", "Right.", "I see.", "All right.", "Okay."):
        outcome = await barge_in.play(clip(speak(text)), engines, BargeInSettings(), Phase.SPEAKING)
        assert not outcome.yielded, text
        assert len(outcome.pauses_ms) == 1, text
        assert outcome.pauses_ms[0] < 1000, text


async def test_the_same_audio_gives_the_same_decisions(engines: Engines, speak: Speak) -> None:
    said = clip(speak("Can you repeat that?"))
    first = await barge_in.play(said, engines, BargeInSettings(), Phase.SPEAKING)
    assert await barge_in.play(said, engines, BargeInSettings(), Phase.SPEAKING) == first


async def test_recorded_commands_take_the_floor_and_noises_do_not(engines: Engines) -> None:
    folder = speech_folder()
    if folder is None:
        pytest.skip("no recordings; set VOICEAGENT_SPEECH to the folder that holds their manifest.jsonl")
    clips, _ = recorded(folder, ("command", "noise"))
    commands = [clip for clip in clips if clip.kind == "command"][:6]
    noises = [clip for clip in clips if clip.kind == "noise"][:8]
    for clip_ in (*commands, *noises):
        outcome = await barge_in.play(clip_, engines, BargeInSettings(), Phase.SPEAKING)
        assert outcome.yielded == (clip_.kind == "command"), clip_.name


def test_the_benchmark_says_that_it_skips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VOICEAGENT_SPEECH", str(tmp_path))
    assert barge_in.main([]) == 0
    assert "skipped" in capsys.readouterr().out


def test_the_table_counts_what_was_right() -> None:
    outcomes = [
        barge_in.Outcome("a", "command", "tune", stop_ms=300.0, confirm_ms=700.0, gates={160: True, 500: False}),
        barge_in.Outcome("b", "command", "tune", gates={160: True, 500: False}, pauses_ms=[320.0], gaps_ms=[80.0]),
    ]
    row = barge_in.row("command", "all", outcomes)
    assert (row.share, row.n, row.stop_p50_ms, row.pauses, row.met) == (0.5, 2, 300.0, 1, False)
    assert row.low < 0.5 < row.high
    assert row.gates == {160: 1.0, 500: 0.0}
    assert "command" in barge_in.table([row])
    assert json.dumps(row.gates)
    assert wilson(45, 45)[0] == pytest.approx(0.921, abs=0.001)


def test_a_recording_of_any_rate_is_decoded_at_the_ears_rate() -> None:
    pcm = decode(Path(__file__).parents[2] / "assets" / "apology-en.wav")
    assert pcm.dtype == np.int16
    assert 1 < len(pcm) / EAR_RATE < 10
