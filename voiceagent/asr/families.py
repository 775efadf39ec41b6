"""Which kind of sherpa-onnx model lies in a folder, told by its files and by the metadata inside them.

sherpa-onnx ends the whole process when it is given a model of another kind than it was told, so nothing is guessed:
what is not recognised is a ConfigError.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voiceagent.errors import ConfigError
from voiceagent.models import onnx_metadata

STREAMING_MARKS = ("decode_chunk_len", "cache_last_channel_dim1", "left_chunks", "decoder_num_blocks")
"""Metadata that only streaming exports carry: icefall's, NeMo's, WeNet's and Paraformer's chunks and caches."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table.

    `make`: the constructor of sherpa_onnx's OnlineRecognizer (streaming) or OfflineRecognizer. `files`: its parameters,
    each with the patterns of the file or folder it wants; the first file is the one whose metadata is looked at.
    `model_types`: beginnings of its `model_type`; without any, the files alone tell. `batched`: several utterances
    really are decoded together, not one after another. `language`: the parameter that names the language.
    """

    make: str
    files: Mapping[str, tuple[str, ...]]
    model_types: tuple[str, ...] = ()
    streaming: bool = False
    batched: bool = False
    language: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def fits(self, metadata: Mapping[str, str]) -> bool:
        if not self.model_types:
            return True
        streaming = any(mark in metadata for mark in STREAMING_MARKS)
        return streaming == self.streaming and metadata.get("model_type", "").startswith(self.model_types)


def _files(**patterns: str) -> Mapping[str, tuple[str, ...]]:
    return {parameter: tuple(text.split()) for parameter, text in patterns.items()}


_TOKENS = "*tokens.txt"
_PAIR = _files(encoder="*encoder*.onnx", decoder="*decoder*.onnx", tokens=_TOKENS)
_TRIPLE = _files(encoder="*encoder*.onnx", decoder="*decoder*.onnx", joiner="*joiner*.onnx", tokens=_TOKENS)
_SINGLE = _files(model="*model*.onnx *ctc*.onnx", tokens=_TOKENS)
_NEMO = ("EncDec",)
_ICEFALL = ("zipformer", "conformer", "lstm", "ebranchformer")

FAMILIES: Mapping[str, Family] = {
    "moonshine": Family(
        "from_moonshine_v2",
        _files(
            encoder="encoder*.ort encoder*.onnx",
            decoder="decoder_model_merged*.ort decoder_model_merged*.onnx",
            tokens=_TOKENS,
        ),
    ),
    "moonshine-v1": Family(
        "from_moonshine",
        _files(
            preprocessor="preprocess*.onnx",
            encoder="encode*.onnx",
            uncached_decoder="uncached_decode*.onnx",
            cached_decoder="cached_decode*.onnx",
            tokens=_TOKENS,
        ),
    ),
    "qwen3": Family(
        "from_qwen3_asr",
        _files(
            conv_frontend="conv_frontend*.onnx",
            encoder="encoder*.onnx",
            decoder="decoder*.onnx",
            tokenizer="tokenizer* Qwen*",
        ),
    ),
    "funasr-nano": Family(
        "from_funasr_nano",
        _files(
            encoder_adaptor="encoder_adaptor*.onnx", llm="llm*.onnx", embedding="embedding*.onnx", tokenizer="Qwen*"
        ),
        language="language",
    ),
    "streaming-transducer": Family("from_transducer", _TRIPLE, _ICEFALL + _NEMO, streaming=True, batched=True),
    "transducer": Family("from_transducer", _TRIPLE, _ICEFALL, batched=True),
    "nemo-transducer": Family("from_transducer", _TRIPLE, _NEMO, batched=True, extra={"model_type": "nemo_transducer"}),
    "streaming-paraformer": Family("from_paraformer", _PAIR, ("paraformer",), streaming=True, batched=True),
    "whisper": Family("from_whisper", _PAIR, ("whisper",), language="language"),
    "canary": Family("from_nemo_canary", _PAIR, ("EncDecMultiTask",), language="src_lang"),
    "fire-red": Family("from_fire_red_asr", _PAIR, ("fire-red-asr",)),
    "cohere": Family("from_cohere_transcribe", _PAIR, ("cohere-transcribe",), language="language"),
    "sense-voice": Family("from_sense_voice", _SINGLE, ("sense_voice_ctc",), batched=True, language="language"),
    "paraformer": Family(
        "from_paraformer",
        _files(paraformer="*model*.onnx *paraformer*.onnx", tokens=_TOKENS),
        ("paraformer",),
        batched=True,
    ),
    "streaming-zipformer-ctc": Family("from_zipformer2_ctc", _SINGLE, ("zipformer2",), streaming=True, batched=True),
    "zipformer-ctc": Family("from_zipformer_ctc", _SINGLE, ("zipformer2_ctc",), batched=True),
    "streaming-nemo-ctc": Family("from_nemo_ctc", _SINGLE, _NEMO, streaming=True, batched=True),
    "nemo-ctc": Family("from_nemo_ctc", _SINGLE, _NEMO, batched=True),
    "streaming-wenet-ctc": Family("from_wenet_ctc", _SINGLE, ("wenet_ctc",), streaming=True),
    "wenet-ctc": Family("from_wenet_ctc", _SINGLE, ("wenet_ctc",)),
    "telespeech-ctc": Family("from_telespeech_ctc", _SINGLE, ("telespeech_ctc",), batched=True),
    "dolphin": Family("from_dolphin_ctc", _SINGLE, ("dolphin",), batched=True),
    "fire-red-ctc": Family("from_fire_red_asr_ctc", _SINGLE, ("fire-red-asr-2-ctc",)),
    "medasr": Family("from_medasr_ctc", _SINGLE, ("medasr_ctc",)),
    "omnilingual": Family("from_omnilingual_asr_ctc", _SINGLE, ("omnilingual-asr",)),
}
"""Sources of the metadata's words: the export scripts and model loaders of sherpa-onnx 2.0 and icefall."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model that can be loaded: its kind, and the path for each of the constructor's parameters."""

    name: str
    family: Family
    paths: Mapping[str, Path]


def detect(folder: Path, name: str = "", *, int8: bool = True) -> ModelFolder:
    """Look at a folder; `name` says its family where its metadata does not. `int8` prefers quantised files.

    Raises ConfigError saying what is there and what was looked for.
    """
    if name and name not in FAMILIES:
        raise ConfigError(f"[asr] type = {name!r} is unknown; there is: {', '.join(FAMILIES)}")
    seen: set[str] = set()
    for candidate, family in FAMILIES.items():
        paths = _find(folder, family, int8) if name in ("", candidate) else None
        if paths is None:
            continue
        metadata = onnx_metadata.read(next(iter(paths.values())))
        if name or family.fits(metadata):
            return ModelFolder(candidate, family, paths)
        seen.add(metadata.get("model_type", "none"))
    raise ConfigError(_not_understood(folder, name, seen))


def _find(folder: Path, family: Family, int8: bool) -> dict[str, Path] | None:
    """The files a family wants, or None if one is missing. Of several that match, the first by name."""
    paths: dict[str, Path] = {}
    for parameter, patterns in family.files.items():
        matches = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        if not matches:
            return None
        paths[parameter] = next((path for path in matches if ("int8" in path.name) == int8), matches[0])
    return paths


def _not_understood(folder: Path, name: str, seen: set[str]) -> str:
    layouts = {
        " + ".join(patterns[0] for patterns in family.files.values()): candidate
        for candidate, family in FAMILIES.items()
        if name in ("", candidate)
    }
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
    kind = f" of model_type {', '.join(sorted(seen))}" if seen else ""
    return (
        f"[asr] model: {folder} holds no speech model that is understood (there is: {there}{kind}). Looked for: "
        + "; ".join(layouts)
        + ". If it is one of these, name its kind with type = ..."
    )
