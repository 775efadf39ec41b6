"""Local recognition: of human and synthesised speech, and as a stream by the true runtime on a toy network."""

import asyncio
import re
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr
from hibari import Hibari

from tests.support.toy_onnx import BORDER_HZ, write_noise_recogniser
from voiceagent.asr.base import AsrHint, Transcript
from voiceagent.asr.sherpa import SherpaAsr, SherpaOptions
from voiceagent.audio.pcm import EAR_RATE, Pcm, from_float, silence
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore

BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."
TWO_CITIES = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the
season of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had
nothing before us, we were all going direct to Heaven, we were all going direct the other way – in short, the period
was so far like the present period, that some of its noisiest authorities insisted on its being received, for good or
for evil, in the superlative degree of comparison only."""


def word_errors(said: str, heard: str) -> float:
    """Share of words that are wrong, without regard to case and punctuation."""
    said, heard = (" ".join(re.findall(r"[\w']+", text.lower())) for text in (said, heard))
    return float(jiwer.wer(said, heard))


def noise(seconds: float, rms: float, seed: int = 0) -> Pcm:
    return (np.random.default_rng(seed).standard_normal(round(seconds * EAR_RATE)) * rms).astype(np.int16)


@pytest.fixture(scope="module")
def recordings(models: ModelStore) -> dict[str, Pcm]:
    """Human speech at 16 kHz, by the name of the recording."""
    found: dict[str, Pcm] = {}
    for path in models.path("speech-samples").glob("*.wav"):
        with wave.open(str(path)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            found[path.stem] = soxr.resample(pcm, file.getframerate(), EAR_RATE).astype(np.int16)
    return found


@pytest.fixture(scope="module")
def asr(models: ModelStore) -> Iterator[SherpaAsr]:
    """Loaded once, on an event loop of its own: every test then uses it on another."""
    engine = SherpaAsr(SherpaOptions(), models)
    asyncio.run(engine.open())
    yield engine
    asyncio.run(engine.close())


@pytest.mark.real
async def test_words_of_human_speech(asr: SherpaAsr, recordings: dict[str, Pcm]) -> None:
    stream = asr.stream(AsrHint())
    stream.push(recordings["beckett"])
    assert word_errors(BECKETT, (await stream.finish()).text) == 0


@pytest.mark.real
async def test_long_speech_is_cut_at_pauses_wherever_partials_fall(asr: SherpaAsr, recordings: dict[str, Pcm]) -> None:
    whole, live = asr.stream(AsrHint()), asr.stream(AsrHint())
    pcm = recordings["two_cities"]
    whole.push(pcm)
    text = (await whole.finish()).text
    assert word_errors(TWO_CITIES, text) < 0.05

    guesses: list[str] = []
    for start in range(0, len(pcm), EAR_RATE * 8):
        live.push(pcm[start : start + EAR_RATE * 8])
        guesses.append(await live.partial())
    assert (await live.finish()).text == text
    assert guesses[0].lower().startswith("it was the best of times")
    assert word_errors(TWO_CITIES, guesses[-1]) < 0.05


@pytest.mark.real
async def test_round_trip_through_a_synthesised_voice(asr: SherpaAsr) -> None:
    said = [
        "What is the weather like in London today?",
        "Please set a timer for twenty minutes.",
        "Could you tell me a short story about a brave little ship?",
    ]
    speak = Hibari("heart")
    heard: list[str] = []
    for sentence in said:
        samples = np.concatenate([np.asarray(chunk, np.float32) for chunk in speak.stream(sentence, seed=1)])
        stream = asr.stream(AsrHint())
        stream.push(from_float(soxr.resample(samples, speak.sample_rate, EAR_RATE)))
        heard.append((await stream.finish()).text)
    assert word_errors(" ".join(said), " ".join(heard)) < 0.15


@pytest.mark.real
async def test_user_goes_on_after_finish(asr: SherpaAsr, recordings: dict[str, Pcm]) -> None:
    pcm = recordings["beckett"]
    middle = len(pcm) // 2
    stream = asr.stream(AsrHint())
    stream.push(pcm[:middle])
    half = (await stream.finish()).text
    stream.push(pcm[middle:])
    assert half
    assert word_errors(BECKETT, (await stream.finish()).text) == 0


@pytest.mark.real
async def test_many_at_once_on_one_model(asr: SherpaAsr, recordings: dict[str, Pcm]) -> None:
    pcm = recordings["beckett"][: 3 * EAR_RATE]
    streams = [asr.stream(AsrHint()) for _ in range(8)]
    for stream in streams:
        stream.push(pcm)
    texts = await asyncio.gather(*(stream.finish() for stream in streams))
    assert len(set(texts)) == 1
    assert "tried" in texts[0].text.lower()


@pytest.mark.real
@pytest.mark.parametrize(
    "pcm",
    [silence(0), silence(EAR_RATE), noise(1.0, rms=5), noise(0.05, rms=3000)],
    ids=["nothing", "silence", "faint noise", "50 ms"],
)
async def test_no_words_where_there_is_no_speech(asr: SherpaAsr, pcm: Pcm, capfd: pytest.CaptureFixture[str]) -> None:
    stream = asr.stream(AsrHint())
    stream.push(pcm)
    assert await stream.finish() == Transcript("")
    assert capfd.readouterr().err == ""


async def test_missing_model_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="voiceagent models fetch"):
        await SherpaAsr(SherpaOptions(), ModelStore(tmp_path)).open()
    with pytest.raises(ConfigError, match="there is no folder"):
        await SherpaAsr(SherpaOptions(model=str(tmp_path / "none")), ModelStore(tmp_path)).open()


async def test_a_closed_engine_gives_no_streams(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not open"):
        SherpaAsr(SherpaOptions(), ModelStore(tmp_path)).stream(AsrHint())


def hiss(low: bool, seconds: float) -> Pcm:
    """Noise on one side of the toy network's border."""
    samples = round(seconds * EAR_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / EAR_RATE)
    spectrum[(hertz < BORDER_HZ) != low] = 0
    return (np.fft.irfft(spectrum, samples) * 3000).astype(np.int16)


@pytest.fixture
async def streaming(tmp_path: Path) -> AsyncIterator[SherpaAsr]:
    write_noise_recogniser(tmp_path)
    engine = SherpaAsr(SherpaOptions(model=str(tmp_path)), ModelStore(tmp_path / "store"))
    await engine.open()
    yield engine
    await engine.close()


async def test_streaming_hears_as_it_comes_and_all_at_the_end(streaming: SherpaAsr) -> None:
    stream = streaming.stream(AsrHint())
    assert await stream.partial() == ""
    stream.push(hiss(low=True, seconds=0.5))
    assert await stream.partial() == "你"
    stream.push(silence(EAR_RATE // 5))
    stream.push(hiss(low=False, seconds=0.1))
    assert await stream.partial() == "你"  # the network has not been given a whole window of it
    assert await stream.finish() == await stream.finish() == Transcript("你好")
    assert await stream.partial() == "你好"
    stream.push(hiss(low=True, seconds=0.1))
    assert await stream.finish() == Transcript("你好你")


async def test_streams_of_one_streaming_model_do_not_mix(streaming: SherpaAsr) -> None:
    async def talk(low: bool) -> str:
        stream = streaming.stream(AsrHint())
        for _ in range(5):
            stream.push(hiss(low, seconds=0.3))
            stream.push(silence(EAR_RATE // 4))
            await stream.partial()
        return (await stream.finish()).text

    assert await asyncio.gather(*(talk(low) for low in (True, False) * 4)) == ["你" * 5, "好" * 5] * 4


async def test_streaming_goes_on_after_a_cancelled_call(streaming: SherpaAsr) -> None:
    stream = streaming.stream(AsrHint())
    stream.push(hiss(low=True, seconds=0.5))
    call = asyncio.create_task(stream.finish())
    await asyncio.sleep(0)
    call.cancel()
    stream.push(hiss(low=False, seconds=0.5))
    assert await stream.finish() == Transcript("你好")
