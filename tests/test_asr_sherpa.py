"""Local recognition: on human speech, on synthesised speech, and of everything around the network."""

import asyncio
import re
import threading
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr
from hibari import Hibari
from hypothesis import given
from hypothesis import strategies as st

from tests.toy_onnx import BORDER_HZ, write_metadata, write_noise_recogniser
from voiceagent.asr import onnx_metadata
from voiceagent.asr.base import AsrHint, AsrStream, Transcript
from voiceagent.asr.batch import Batcher
from voiceagent.asr.families import FAMILIES, STREAMING_MARKS, detect
from voiceagent.asr.offline import OfflineStream, join
from voiceagent.asr.sherpa import SherpaAsr, SherpaOptions
from voiceagent.asr.spoken import Spoken
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


# --- on real speech -------------------------------------------------------------------------------------------------


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
    for start in range(0, len(pcm), EAR_RATE * 3):
        live.push(pcm[start : start + EAR_RATE * 3])
        guesses.append(await live.partial())
    assert (await live.finish()).text == text
    assert guesses[0].lower().startswith("it was the best of times")
    assert word_errors(TWO_CITIES, guesses[-1]) < 0.05


@pytest.mark.real
@pytest.mark.parametrize("voice", ["heart"])
async def test_round_trip_through_a_synthesised_voice(asr: SherpaAsr, voice: str) -> None:
    said = [
        "What is the weather like in London today?",
        "Please set a timer for twenty minutes.",
        "Could you tell me a short story about a brave little ship?",
    ]
    speak = Hibari(voice)
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


# --- streaming, with the true runtime on a toy network ----------------------------------------------------------------


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


# --- which decodings are asked for: the batcher and the offline stream, over a decoder that says what it was given ----


class Echo:
    """Stands in the network's place: 'decodes' audio into its length in ms, and can be held up."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.begun = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        if not held:
            self.go.set()

    def __call__(self, pieces: list[Pcm]) -> list[Transcript]:
        self.batches.append([len(piece) * 1000 // EAR_RATE for piece in pieces])
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(10)
        return [Transcript(str(ms)) for ms in self.batches[-1]]

    async def until_begun(self) -> None:
        async with asyncio.timeout(10):
            await self.begun.wait()


def offline(batcher: Batcher[Pcm], partial_ms: int = 0) -> AsrStream:
    return OfflineStream(batcher, longest=12 * EAR_RATE, step=partial_ms * EAR_RATE // 1000)


def speech(ms: int, seed: int = 0) -> Pcm:
    return noise(ms / 1000, rms=2000, seed=seed)


async def test_final_reuses_the_partial_over_the_same_speech() -> None:
    echo = Echo()
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(1000))
    assert await stream.partial() == "1000"
    assert await stream.finish() == Transcript("1000")
    stream.push(noise(0.04, rms=20))  # 40 ms of background
    assert await stream.finish() == Transcript("1000")
    stream.push(noise(0.2, rms=20))  # too much to be sure: the word may have had an end
    assert await stream.finish() == Transcript("1240")
    stream.push(noise(3.0, rms=20))  # now the pause had been heard
    assert await stream.finish() == Transcript("1240")
    stream.push(speech(20))
    assert await stream.finish() == Transcript("4260")
    assert echo.batches == [[1000], [1240], [4260]]
    await batcher.close()


async def test_final_joins_a_partial_under_way() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(1000))
    partial = asyncio.create_task(stream.partial())
    await echo.until_begun()
    partial.cancel()  # as a session does when the user falls silent
    final = asyncio.create_task(stream.finish())
    await asyncio.sleep(0)
    echo.go.set()
    assert await final == Transcript("1000")
    assert echo.batches == [[1000]]
    await batcher.close()


async def test_partials_wait_for_enough_new_audio() -> None:
    echo = Echo()
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher, partial_ms=300)
    heard = []
    for _ in range(10):
        stream.push(speech(100))
        heard.append(await stream.partial())
    assert heard == ["", "", "300", "300", "300", "600", "600", "600", "900", "900"]
    await batcher.close()


async def test_finals_go_first_and_overtaken_partials_are_dropped() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=4)
    busy, slow, quick = offline(batcher), offline(batcher), offline(batcher)
    busy.push(speech(500))
    tasks = [asyncio.create_task(busy.partial())]
    await echo.until_begun()
    for ms in (600, 800):  # the second guess overtakes the first
        slow.push(speech(ms))
        tasks.append(asyncio.create_task(slow.partial()))
        await asyncio.sleep(0)
    quick.push(speech(700))
    tasks.append(asyncio.create_task(quick.finish()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    echo.go.set()
    assert await asyncio.gather(*tasks) == ["500", "", "1400", Transcript("700")]
    assert echo.batches == [[500], [700], [1400]]
    await batcher.close()


async def test_those_who_wait_are_decoded_together() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=4)
    streams = [offline(batcher) for _ in range(6)]
    for count, stream in enumerate(streams):
        stream.push(speech(100 * (count + 1)))
    first = asyncio.create_task(streams[0].finish())
    await echo.until_begun()
    rest = [asyncio.create_task(stream.finish()) for stream in streams[1:]]
    await asyncio.sleep(0)
    echo.go.set()
    texts = [transcript.text for transcript in await asyncio.gather(first, *rest)]
    assert texts == ["100", "200", "300", "400", "500", "600"]
    assert echo.batches == [[100], [200, 300, 400, 500], [600]]
    await batcher.close()


async def test_a_failing_decoder_is_an_engine_error_and_the_next_call_works() -> None:
    echo = Echo()
    fail = True

    def decode(pieces: list[Pcm]) -> list[Transcript]:
        if fail:
            raise RuntimeError("the words of the user")
        return echo(pieces)

    batcher = Batcher(decode, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(1000))
    with pytest.raises(EngineError) as caught:
        await stream.finish()
    assert (caught.value.stage, caught.value.code) == ("asr", "failed")
    assert "words" not in caught.value.message
    fail = False
    assert await stream.finish() == Transcript("1000")
    await batcher.close()
    stream.push(speech(1000))
    with pytest.raises(EngineError, match="closed"):
        await stream.finish()


async def test_closing_fails_those_who_wait_but_not_the_one_being_decoded() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    streams = [offline(batcher), offline(batcher)]
    for stream in streams:
        stream.push(speech(500))
    first = asyncio.create_task(streams[0].finish())
    await echo.until_begun()
    second = asyncio.create_task(streams[1].finish())
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(EngineError, match="closed"):
        await second
    echo.go.set()
    await closing
    assert await first == Transcript("500")


async def test_a_cancelled_or_closed_utterance_leaves_the_queue() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    busy, cancelled, closed = offline(batcher), offline(batcher), offline(batcher)
    calls = []
    for stream in (busy, cancelled, closed):
        stream.push(speech(500))
        calls.append(asyncio.create_task(stream.partial()))
        await asyncio.sleep(0)
    await echo.until_begun()
    calls[1].cancel()
    closed.close()
    assert await calls[2] == ""
    echo.go.set()
    assert await calls[0] == "500"
    await batcher.close()
    assert echo.batches == [[500]]


async def test_a_silent_piece_is_not_decoded() -> None:
    echo = Echo()
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(2000))
    stream.push(noise(20.0, rms=20))
    assert len(stream_batches := (await stream.finish()).text.split()) == 1, stream_batches
    assert len(echo.batches) == 1
    await batcher.close()


# --- audio and text helpers -------------------------------------------------------------------------------------------


def test_the_cut_falls_into_the_pause() -> None:
    spoken = Spoken()
    spoken.push(np.concatenate([speech(8000), noise(0.4, rms=20), speech(5000)]))
    piece = spoken.cut(6 * EAR_RATE, 11 * EAR_RATE)
    assert 8.1 * EAR_RATE <= len(piece) <= 8.3 * EAR_RATE
    assert len(piece) + spoken.samples == round(13.4 * EAR_RATE)


def test_a_click_does_not_make_quiet_speech_a_pause() -> None:
    spoken = Spoken()
    spoken.push(np.concatenate([noise(0.04, rms=20_000), noise(1.0, rms=30)]))
    decoded = spoken.samples
    spoken.push(noise(1.0, rms=300))
    assert not spoken.is_covered_by(decoded)


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_any_chunks_are_kept_in_order(chunks: list[bytes]) -> None:
    spoken = Spoken()
    pieces = [np.frombuffer(chunk[: len(chunk) // 2 * 2], dtype="<i2") for chunk in chunks]
    for piece in pieces:
        spoken.push(piece)
        spoken.is_silent()
        spoken.is_covered_by(spoken.samples // 2)
    assert np.array_equal(spoken.audio(), np.concatenate([silence(0), *pieces]))


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["one two.", "Three"], "one two. Three"),
        (["", "one", "", "two"], "one two"),
        (["今天天气", "很好。", "是吗？"], "今天天气很好。是吗？"),
        (["他说", "OK", "了"], "他说OK了"),
        (["안녕", "하세요"], "안녕 하세요"),
        ([], ""),
    ],
)
def test_texts_of_pieces_are_joined(parts: list[str], whole: str) -> None:
    assert join(parts) == whole


# --- which model is in a folder ---------------------------------------------------------------------------------------

ICEFALL_STREAMING = {"model_type": "zipformer2", "decode_chunk_len": "32", "T": "45"}
NEMO_STREAMING = {"model_type": "EncDecHybridRNNTCTCBPEModel", "cache_last_channel_dim1": "17"}


@pytest.mark.parametrize(
    ("family", "metadata", "files"),
    [
        ("moonshine", {}, "encoder_model.ort decoder_model_merged.ort tokens.txt"),
        (
            "moonshine-v1",
            {},
            "preprocess.onnx encode.int8.onnx uncached_decode.int8.onnx cached_decode.int8.onnx tokens.txt",
        ),
        ("whisper", {"model_type": "whisper-tiny.en"}, "tiny.en-encoder.onnx tiny.en-decoder.onnx tiny.en-tokens.txt"),
        (
            "streaming-transducer",
            ICEFALL_STREAMING,
            "encoder-epoch-99-avg-1.onnx decoder-epoch-99-avg-1.onnx joiner-epoch-99-avg-1.onnx tokens.txt",
        ),
        ("streaming-transducer", NEMO_STREAMING, "encoder.onnx decoder.onnx joiner.onnx tokens.txt"),
        ("transducer", {"model_type": "zipformer2"}, "encoder.onnx decoder.onnx joiner.onnx tokens.txt"),
        ("nemo-transducer", {"model_type": "EncDecRNNTBPEModel"}, "encoder.onnx decoder.onnx joiner.onnx tokens.txt"),
        (
            "streaming-paraformer",
            {"model_type": "paraformer", "decoder_num_blocks": "16"},
            "encoder.int8.onnx decoder.int8.onnx tokens.txt",
        ),
        ("paraformer", {"model_type": "paraformer"}, "model.int8.onnx tokens.txt"),
        ("fire-red", {"model_type": "fire-red-asr"}, "encoder.int8.onnx decoder.int8.onnx tokens.txt"),
        ("sense-voice", {"model_type": "sense_voice_ctc"}, "model.int8.onnx tokens.txt"),
        ("streaming-zipformer-ctc", ICEFALL_STREAMING, "ctc-epoch-20-avg-1-chunk-16-left-128.onnx tokens.txt"),
        ("zipformer-ctc", {"model_type": "zipformer2_ctc"}, "model.onnx tokens.txt"),
        ("streaming-nemo-ctc", NEMO_STREAMING, "model.onnx tokens.txt"),
        ("nemo-ctc", {"model_type": "EncDecCTCModelBPE"}, "model.onnx tokens.txt"),
        ("streaming-wenet-ctc", {"model_type": "wenet_ctc", "left_chunks": "4"}, "model-streaming.onnx tokens.txt"),
        ("dolphin", {"model_type": "dolphin"}, "model.int8.onnx tokens.txt"),
        ("omnilingual", {"model_type": "omnilingual-asr"}, "model.int8.onnx tokens.txt"),
    ],
)
def test_family_is_told_by_files_and_metadata(
    tmp_path: Path, family: str, metadata: dict[str, str], files: str
) -> None:
    for name in files.split():
        write_metadata(tmp_path / name, metadata)
    found = detect(tmp_path)
    assert found.name == family
    assert found.family.streaming == any(mark in metadata for mark in STREAMING_MARKS)


def test_quantised_files_are_preferred_where_there_are_both(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.int8.onnx", "tokens.txt"):
        write_metadata(tmp_path / name, {"model_type": "sense_voice_ctc"})
    assert detect(tmp_path).paths["model"].name == "model.int8.onnx"
    assert detect(tmp_path, int8=False).paths["model"].name == "model.onnx"


def test_what_is_not_understood_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is: nothing.*Looked for: .*decoder_model_merged"):
        detect(tmp_path)
    write_metadata(tmp_path / "model.onnx", {"model_type": "kws"})
    (tmp_path / "tokens.txt").touch()
    with pytest.raises(ConfigError, match=r"model\.onnx, tokens\.txt of model_type kws"):
        detect(tmp_path)
    assert detect(tmp_path, "telespeech-ctc").family is FAMILIES["telespeech-ctc"]
    with pytest.raises(ConfigError, match="is unknown"):
        detect(tmp_path, "parrot")


async def test_a_damaged_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    (tmp_path / "tokens.txt").write_text("a 0\n<blk> 1\n")
    options = SherpaOptions(model=str(tmp_path), type="sense-voice")
    with pytest.raises(ConfigError, match="does not load as sense-voice"):
        await SherpaAsr(options, ModelStore(tmp_path)).open()


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=8))
def test_metadata_is_read_back(tmp_path_factory: pytest.TempPathFactory, metadata: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_metadata(path, metadata)
    assert onnx_metadata.read(path) == metadata


@given(st.binary(max_size=200))
def test_no_file_breaks_the_metadata_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    path.write_bytes(data)
    assert isinstance(onnx_metadata.read(path), dict)
