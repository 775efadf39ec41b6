"""sherpa-onnx voices: the true runtime on a network of a few nodes that hums, and folders that are no voice.

There is no sherpa-onnx voice to be had in a package.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from tests.support import toy_onnx as onnx
from voiceagent.errors import ConfigError, EngineError
from voiceagent.models.store import ModelStore
from voiceagent.tts.base import TtsAudio, TtsRequest
from voiceagent.tts.sherpa import SherpaTts, detect

RATE = 16_000
TOKEN_SECONDS = 0.1
STORE = ModelStore(Path("/nonexistent"))
TOKENS = ("sil", "eos", "sp", "#0", " ", "n", "i", "h", "a", "o", *"，。！？,.!?")
METADATA = {
    "model_type": "vits",
    "comment": "toy",
    "language": "Chinese",
    "n_speakers": "1",
    "sample_rate": str(RATE),
    "add_blank": "0",
    "punctuation": ", . ! ? ， 。 ！ ？",
}


def humming_network() -> bytes:
    """y = tone * x: each token makes a tenth of a second of sound, as loud as its number."""
    pattern = (np.sin(np.arange(int(RATE * TOKEN_SECONDS)) * 0.17) * 0.03).astype(np.float32).reshape(1, 1, -1)
    to_float = onnx._field(1, "to") + onnx._field(3, onnx.FLOAT) + onnx._field(20, 2)

    def integers(name: str, *values: int) -> bytes:
        numbers = b"".join(onnx._field(8, value % 2**64) for value in values)
        return onnx._node("Constant", [], name, onnx._field(1, "value_ints") + numbers + onnx._field(20, onnx.INTS))

    floats = ("noise_scale", "length_scale", "noise_scale_w")
    return (
        integers("axis", 2)
        + integers("flat", 1, 1, -1)
        + onnx._node("Cast", ["x"], "numbers", to_float)
        + onnx._node("Unsqueeze", ["numbers", "axis"], "levels")
        + onnx._node("Mul", ["levels", "pattern"], "hum")
        + onnx._node("Reshape", ["hum", "flat"], "y")
        + onnx._field(2, "hum")
        + onnx._constant("pattern", pattern)
        + onnx._value(11, "x", onnx.INT64, ["n", "t"])
        + onnx._value(11, "x_length", onnx.INT64, ["n"])
        + b"".join(onnx._value(11, name, onnx.FLOAT, ["one"]) for name in floats)
        + onnx._value(12, "y", onnx.FLOAT, ["n", "c", "s"])
    )


def write_voice(folder: Path, **metadata: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(onnx._model(humming_network(), {**METADATA, **metadata}))
    (folder / "tokens.txt").write_text("".join(f"{token} {number}\n" for number, token in enumerate(TOKENS)))
    (folder / "lexicon.txt").write_text("你 n i\n好 h a o\nhi h i\n")
    return folder


def engine(folder: Path, **options: object) -> SherpaTts:
    return SherpaTts(SherpaTts.Options.model_validate({"model": str(folder), **options}), STORE)


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SherpaTts]:
    """Opened on a loop of its own, used on others."""
    tts = engine(write_voice(tmp_path_factory.mktemp("voice"), speaker_names="hummer"))
    asyncio.run(tts.open())
    yield tts
    asyncio.run(tts.close())


async def said(tts: SherpaTts, text: str, voice: str | None = None) -> list[TtsAudio]:
    return [audio async for audio in tts.speak(TtsRequest(text, voice=voice))]


async def test_sentences_come_one_by_one(voice: SherpaTts) -> None:
    assert voice.sample_rate == RATE
    pieces = [len(audio.pcm) for audio in await said(voice, "你好。你好，你好！") if len(audio.pcm)]
    assert len(pieces) >= 2
    assert all(size > RATE * TOKEN_SECONDS for size in pieces[:2])


async def test_a_number_or_a_name_is_a_voice(voice: SherpaTts) -> None:
    for name in ("0", "hummer", "alloy", None):
        assert await said(voice, "你好。", name)
    for name in ("1", "-1", "someone", "²"):
        with pytest.raises(EngineError) as caught:
            await said(voice, "你好。", name)
        assert caught.value.code == "bad_request"


@pytest.mark.parametrize("text", ["", "...", "。！", "😀"])
async def test_nothing_to_say_is_nothing_said(voice: SherpaTts, text: str) -> None:
    assert await said(voice, text) == []


async def test_what_it_cannot_say_is_an_error_not_silence(tmp_path: Path) -> None:
    tts = engine(write_voice(tmp_path, language="English"))
    await tts.open()
    try:
        assert await said(tts, "hi hi")
        with pytest.raises(EngineError, match="another language") as caught:
            await said(tts, "xyz")
        assert (caught.value.stage, caught.value.code) == ("tts", "bad_request")
    finally:
        await tts.close()


async def test_closing_early_stops_the_work(voice: SherpaTts) -> None:
    long = "你好，你好，你好，你好。" * 400
    start = time.monotonic()
    async with aclosing(voice.speak(TtsRequest(long))) as pieces:
        await anext(pieces)
    assert await said(voice, "你好。")  # on the same, only thread
    stopped = time.monotonic() - start
    start = time.monotonic()
    await said(voice, long)
    assert stopped < (time.monotonic() - start) / 2


async def test_many_at_once_and_those_that_give_up(voice: SherpaTts) -> None:
    tasks = [asyncio.create_task(said(voice, "你好。你好。")) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, list) and result for result in results[1::2])


async def test_closing_the_engine_ends_what_waits(tmp_path: Path) -> None:
    tts = engine(write_voice(tmp_path))
    await tts.open()
    tasks = [asyncio.create_task(said(tts, "你好，你好，你好。" * 50)) for _ in range(5)]
    await asyncio.sleep(0.01)
    await tts.close()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[-1], EngineError)
    with pytest.raises(EngineError, match="not open"):
        await said(tts, "你好。")


async def test_the_voice_in_the_configuration_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 to 0"):
        await engine(write_voice(tmp_path), voice="7").open()


async def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        await engine(tmp_path / "none").open()
    with pytest.raises(ConfigError):
        await SherpaTts(SherpaTts.Options(model="no-such-model"), STORE).open()


FILES = {
    "vits": ["model.onnx", "tokens.txt", "lexicon.txt"],
    "matcha": ["model-steps-3.onnx", "vocos-22khz-univ.onnx", "tokens.txt", "lexicon.txt"],
    "kokoro": ["model.onnx", "model.int8.onnx", "voices.bin", "tokens.txt", "lexicon-us-en.txt", "lexicon-zh.txt"],
    "kitten": ["model.fp16.onnx", "voices.bin", "tokens.txt", "lexicon.txt"],
}


def layout(folder: Path, files: list[str], metadata: dict[str, str]) -> Path:
    for name in files:
        onnx.write_metadata(folder / name, metadata) if name.endswith(".onnx") else (folder / name).write_text("x")
    return folder


@pytest.mark.parametrize("family", FILES)
def test_families_are_told_by_their_files(family: str, tmp_path: Path) -> None:
    metadata = {"sample_rate": "22050", "model_type": "kitten-tts" if family == "kitten" else family}
    found = detect(layout(tmp_path, [*FILES[family], "number.fst", "date.fst"], metadata))
    assert found.family == family
    assert found.model.name == FILES[family][0]
    assert found.lexicon.count("lexicon") == sum(name.startswith("lexicon") for name in FILES[family])
    assert [Path(rule).name for rule in found.rules.split(",")] == ["date.fst", "number.fst"]
    assert bool(found.vocoder) == (family == "matcha")


@pytest.mark.parametrize(
    ("files", "metadata", "says"),
    [
        ([], {}, "no .onnx"),
        (["model.onnx", "tokens.txt", "lexicon.txt"], {}, "sample_rate"),
        (["model.onnx", "lexicon.txt"], {"sample_rate": "1"}, "tokens.txt"),
        (["en_US-amy.onnx", "tokens.txt"], {"sample_rate": "1", "comment": "piper"}, "lexicon.txt"),
        (["encoder.onnx", "decoder.onnx", "tokens.txt"], {"sample_rate": "1"}, "recording"),
        (["lm_flow.onnx"], {}, "recording"),
    ],
)
def test_what_cannot_be_used_is_said(files: list[str], metadata: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        detect(layout(tmp_path, files, metadata))
