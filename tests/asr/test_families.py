"""Which model is in a folder: told by file names as they are published, and by metadata in true ONNX files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy_onnx import write_metadata
from voiceagent.asr.families import FAMILIES, STREAMING_MARKS, detect
from voiceagent.asr.sherpa import SherpaAsr, SherpaOptions
from voiceagent.errors import ConfigError
from voiceagent.models import onnx_metadata
from voiceagent.models.store import ModelStore

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
