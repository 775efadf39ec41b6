"""The gate and Silero on real speech, silence and noise."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from voiceagent.audio import wav
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.vad.base import VAD_ENGINES, WINDOW
from voiceagent.vad.gate import FRAME, Gate
from voiceagent.vad.silero import BLANK, MAX_BATCH, SileroStream, SileroVad

Options = SileroVad.Options


@asynccontextmanager
async def opened(models: ModelStore, options: Options | None = None) -> AsyncIterator[SileroVad]:
    vad = SileroVad(options or Options(), models)
    await vad.open()
    try:
        yield vad
    finally:
        await vad.close()


def hiss(seconds: float, level: float, seed: int = 0) -> Pcm:
    return (np.random.default_rng(seed).standard_normal(int(seconds * EAR_RATE)) * level).astype(np.int16)


def at_ear_rate(pcm: Pcm, rate: int) -> Pcm:
    resampler = Resampler(rate, EAR_RATE, "low")
    return np.concatenate((resampler.push(pcm), resampler.flush()))


def speech_sample(models: ModelStore, name: str = "beckett.wav") -> Pcm:
    return at_ear_rate(*wav.read(models.path("speech-samples") / name))


def recorded_speech() -> list[tuple[dict[str, object], Path]]:
    """The rows of the speech collection's manifest with their files; the test skips where there is none."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "speech"
    folder = Path(os.environ.get("VOICEAGENT_SPEECH") or beside)
    if not (folder / "manifest.jsonl").is_file():
        pytest.skip(f"no recorded speech at {folder}; set VOICEAGENT_SPEECH to a folder with a manifest.jsonl")
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row, folder / str(row["file"])) for row in rows]


def load(path: Path) -> Pcm:
    """The first channel of a 16-bit sound file at 16 kHz."""
    with av.open(path) as container:
        frames = list(container.decode(audio=0))
    channels = len(frames[0].layout.channels)
    pcm = np.concatenate([frame.to_ndarray().reshape(-1)[::channels] for frame in frames]).astype(np.int16)
    return at_ear_rate(pcm, frames[0].sample_rate)


async def judge_all(vad: SileroVad, clips: list[Pcm]) -> list[float]:
    results = await asyncio.gather(*[vad.stream().push(clip) for clip in clips])
    return [probability for result in results for probability in result]


async def push_in_pieces(stream: SileroStream, pcm: Pcm, size: int) -> list[float]:
    result: list[float] = []
    for start in range(0, len(pcm), size):
        result += await stream.push(pcm[start : start + size])
    return result


@pytest.mark.real
async def test_speech_is_told_from_silence(models: ModelStore) -> None:
    speech = speech_sample(models)
    async with opened(models) as vad:
        spoken = await vad.stream().push(speech)
        silent = await vad.stream().push(silence(len(speech)))
    assert len(spoken) == len(silent) == len(speech) // WINDOW
    assert sum(probability > 0.5 for probability in spoken) > 0.4 * len(spoken)
    assert max(silent) == 0.0


@pytest.mark.real
@pytest.mark.parametrize("gate", [True, False])
async def test_cutting_the_audio_does_not_change_the_result(models: ModelStore, gate: bool) -> None:
    pcm = np.concatenate((silence(20_000), speech_sample(models)[:60_000], silence(20_000)))
    async with opened(models, Options(gate=gate)) as vad:
        whole = await vad.stream().push(pcm)
        for size in (160, 320, 333, 512, 960, 7_000):
            assert await push_in_pieces(vad.stream(), pcm, size) == whole


@pytest.mark.real
async def test_streams_judged_together_do_not_mix(models: ModelStore) -> None:
    speech = speech_sample(models)
    clips = [np.roll(speech, 5_000 * index)[:30_000] for index in range(MAX_BATCH + 8)]
    async with opened(models) as vad:
        together = await asyncio.gather(*[push_in_pieces(vad.stream(), clip, 320) for clip in clips])
        for clip, result in zip(clips[::8], together[::8], strict=True):
            alone = await vad.stream().push(clip)
            assert result == pytest.approx(alone, abs=1e-3)


async def compare(models: ModelStore, clips: list[Pcm]) -> tuple[int, int]:
    """How many windows Silero alone puts above 0.5, and how many of those it no longer does behind the gate."""
    async with opened(models, Options(gate=False)) as alone, opened(models) as gated:
        reference = await judge_all(alone, clips)
        result = await judge_all(gated, clips)
    spoken = [behind for before, behind in zip(reference, result, strict=True) if before > 0.5]
    return len(spoken), sum(probability <= 0.5 for probability in spoken)


@pytest.mark.real
async def test_the_gate_loses_no_speech_of_the_samples(models: ModelStore) -> None:
    clips = [speech_sample(models, name)[: 20 * EAR_RATE] for name in ("beckett.wav", "endgame_nagg_nell.wav")]
    spoken, lost = await compare(models, clips)
    assert spoken > 500
    assert lost < 0.01 * spoken


@pytest.mark.real
@pytest.mark.parametrize(("gain", "bearable"), [(1.0, 0.01), (0.1, 0.02)])
async def test_the_gate_loses_no_recorded_speech(models: ModelStore, gain: float, bearable: float) -> None:
    files = sorted({path for row, path in recorded_speech() if row["use"] in ("turn", "command", "agent")})
    clips = [(load(path)[: 12 * EAR_RATE] * gain).astype(np.int16) for path in files[::12]]
    spoken, lost = await compare(models, clips)
    assert spoken > 1_000
    assert lost < bearable * spoken


@pytest.mark.real
@pytest.mark.parametrize("level", [0, 3, 100, 300])
async def test_the_gate_stays_shut_in_silence_and_hiss(models: ModelStore, level: float) -> None:
    async with opened(models) as vad:
        probabilities = await vad.stream().push(hiss(60, level))
    # It may open at the very first frames, before webrtcvad has learnt the noise.
    assert sum(probability > 0 for probability in probabilities) < 0.02 * len(probabilities)
    assert max(probabilities) < 0.5


def test_the_gate_opens_for_speech_and_holds(models: ModelStore) -> None:
    gate = Gate(2, hold=8_000)
    for frame in np.split(hiss(3.0, 20), 150):
        gate.hear(frame)
    assert not gate.is_open
    speech = speech_sample(models)
    opened_after = 0
    while not gate.is_open:
        gate.hear(speech[opened_after : opened_after + FRAME])
        opened_after += FRAME
    assert opened_after < EAR_RATE
    gate.hold()
    for _ in range(24):
        gate.hear(silence(FRAME))
    assert gate.is_open
    for _ in range(50):
        gate.hear(silence(FRAME))
    assert not gate.is_open


@pytest.mark.real
async def test_a_frame_behind_a_shut_gate_is_judged_without_waiting(models: ModelStore) -> None:
    async with opened(models) as vad:
        stream = vad.stream()
        for _ in range(200):
            with pytest.raises(StopIteration):  # the coroutine ends at its first step
                stream.push(silence(320)).send(None)


@pytest.mark.real
async def test_a_long_push_lets_others_run(models: ModelStore) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with opened(models) as vad:
        task = asyncio.create_task(others())
        await vad.stream().push(silence(120 * EAR_RATE))
        task.cancel()
    assert turns > 10


@pytest.mark.real
async def test_reset_forgets_what_was_heard(models: ModelStore) -> None:
    speech = speech_sample(models)[:40_000]
    async with opened(models) as vad:
        stream = vad.stream()
        first = await stream.push(speech)
        stream.reset()
        assert await stream.push(speech) == first


@pytest.mark.real
async def test_a_cancelled_push_keeps_its_audio(models: ModelStore) -> None:
    speech = speech_sample(models)[:40_000]
    async with opened(models) as vad:
        whole = await vad.stream().push(speech)
        stream = vad.stream()
        result = await stream.push(speech[:20_000])
        task = asyncio.create_task(stream.push(speech[20_000:20_500]))
        await asyncio.sleep(0)  # it has handed in its window and waits
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        result += await stream.push(speech[20_500:])
    assert result == whole


@pytest.mark.real
async def test_one_engine_serves_several_loops(models: ModelStore) -> None:
    speech = speech_sample(models)[:40_000]
    async with opened(models) as vad:

        def elsewhere() -> list[float]:
            return asyncio.run(push_in_pieces(vad.stream(), speech, 320))

        with ThreadPoolExecutor(2) as threads:
            loop = asyncio.get_running_loop()
            others = [loop.run_in_executor(threads, elsewhere) for _ in range(2)]
            here = await push_in_pieces(vad.stream(), speech, 320)
            there = await asyncio.gather(*others)
    for result in there:
        assert result == pytest.approx(here, abs=1e-3)


@pytest.mark.real
async def test_a_loop_that_went_away_harms_nobody(models: ModelStore) -> None:
    async with opened(models) as vad:

        async def ask_and_leave() -> None:
            for _ in range(100):
                vad.submit(silence(64 + WINDOW), BLANK)

        with ThreadPoolExecutor(1) as thread:
            await asyncio.get_running_loop().run_in_executor(thread, asyncio.run, ask_and_leave())
        assert len(await vad.stream().push(speech_sample(models)[:5_120])) == 10


@pytest.mark.real
async def test_a_failed_inference_is_a_typed_error_and_the_engine_goes_on(models: ModelStore) -> None:
    async with opened(models) as vad:
        with pytest.raises(EngineError) as caught:
            await vad.submit(silence(3), BLANK)
        assert (caught.value.stage, caught.value.code) == ("vad", "failed")
        assert len(await vad.stream().push(speech_sample(models)[:5_120])) == 10


async def test_an_engine_that_is_not_open_says_so(models: ModelStore) -> None:
    vad = SileroVad(Options(gate=False), models)
    with pytest.raises(EngineError, match="not open"):
        await vad.stream().push(silence(WINDOW))
    await vad.close()


@pytest.mark.real
async def test_closing_fails_those_who_wait(models: ModelStore) -> None:
    async with opened(models, Options(gate=False)) as vad:
        waiting = [asyncio.create_task(vad.stream().push(silence(50 * WINDOW))) for _ in range(3 * MAX_BATCH)]
        await asyncio.sleep(0.02)
        await vad.close()
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
    assert all(isinstance(result, EngineError) for result in results)


@pytest.mark.real
async def test_a_closed_engine_may_be_opened_again(models: ModelStore) -> None:
    vad = SileroVad(Options(gate=False), models)
    for _ in range(2):
        await vad.open()
        assert len(await vad.stream().push(silence(WINDOW))) == 1
        await vad.close()


async def test_a_missing_model_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    vad = SileroVad(Options(), ModelStore(tmp_path))
    with pytest.raises(ConfigError, match=r"voiceagent models fetch .*silero-vad"):
        await vad.open()
    await vad.close()


async def test_a_damaged_model_is_a_config_error(models: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "silero-vad"
    folder.mkdir()
    for file in models.path("silero-vad").iterdir():
        damaged = file.suffix == ".onnx"
        (folder / file.name).write_bytes(bytes(file.stat().st_size) if damaged else file.read_bytes())
    with pytest.raises(ConfigError, match=r"silero_vad\.onnx cannot be loaded"):
        await SileroVad(Options(), ModelStore(tmp_path)).open()


def test_it_is_found_by_its_name(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert isinstance(VAD_ENGINES.make("[vad]", {"engine": "silero", "aggressiveness": 1}, store), SileroVad)
    with pytest.raises(ConfigError, match="aggressiveness"):
        VAD_ENGINES.make("[vad]", {"engine": "silero", "aggressiveness": 4}, store)
    with pytest.raises(ConfigError, match="agressiveness"):
        VAD_ENGINES.make("[vad]", {"engine": "silero", "agressiveness": 2}, store)
