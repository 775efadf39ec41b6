"""Which kind of sherpa-onnx voice lies in a folder, told by its files and by the metadata inside them.

sherpa-onnx ends the whole process when a model is not what it was told, so nothing is guessed: what is not recognised
is a ConfigError. From 2.0 on it reads text by a lexicon only, since espeak's licence did not fit its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sherpa_onnx

from voiceagent.errors import ConfigError
from voiceagent.models import onnx_metadata
from voiceagent.tts.languages import NAMES, is_language

Family = Literal["vits", "matcha", "kokoro", "kitten"]

_VOCODERS = ("vocos*.onnx", "hifigan*.onnx", "*vocoder*.onnx")
_CLONING = ("lm_flow*.onnx", "duration_predictor*.onnx", "*encoder*.onnx", "*decoder*.onnx")
"""Parts of pocket, supertonic and zipvoice, which speak after a recording or a style that they must be given."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice found: its model file, what the file says of itself, and the files beside it ('' where there is none)."""

    family: Family
    model: Path
    metadata: Mapping[str, str]
    tokens: str
    lexicon: str
    voices: str
    vocoder: str
    rules: str

    @property
    def speakers(self) -> list[str]:
        """The speakers' names in the order of their numbers, if the model tells them."""
        names = self.metadata.get("speaker_names", "")
        return [name.strip() for name in names.split(",")] if names else []

    @property
    def languages(self) -> frozenset[str]:
        """What it speaks, by ISO 639; empty where the model does not tell, or in words that are not known."""
        told = [name.strip().lower() for name in re.split(r"[,;+/ ]+", self.metadata.get("language", "")) if name]
        by_name = {name.lower(): code for code, name in NAMES.items()} | {"mandarin": "zh", "cmn": "zh"}
        codes = {by_name.get(name) or (name.split("-")[0] if is_language(name) else "") for name in told}
        return frozenset() if "" in codes else frozenset(codes)


def detect(folder: Path) -> Voice:
    """The voice in a folder. Raises ConfigError when there is none, or none that can be used."""
    vocoder = _one(folder, *_VOCODERS)
    voices = _one(folder, "voices*.bin")
    tokens = _one(folder, "tokens.txt", "*tokens.txt")
    lexicon = ",".join(str(path) for path in sorted(folder.glob("*lexicon*.txt")))
    if any(_one(folder, pattern) for pattern in _CLONING):
        raise _unusable(folder, "speaks after a recording or style it must be given, which is not supported")
    model = _model(folder, vocoder)
    metadata = onnx_metadata.read(model)
    if "sample_rate" not in metadata:
        raise _unusable(folder, "was not exported for sherpa-onnx: its metadata lack sample_rate")
    if not tokens:
        raise _unusable(folder, "lacks tokens.txt")
    if not lexicon and metadata.get("frontend") != "characters":
        raise _unusable(
            folder, "lacks lexicon.txt, which sherpa-onnx 2 needs to read text: take the model's newest release"
        )
    return Voice(
        family=_family(metadata, voices, vocoder),
        model=model,
        metadata=metadata,
        tokens=tokens,
        lexicon=lexicon,
        voices=voices,
        vocoder=vocoder,
        rules=",".join(str(path) for path in sorted(folder.glob("*.fst"))),
    )


def configuration(voice: Voice, threads: int) -> sherpa_onnx.OfflineTtsConfig:
    """What sherpa-onnx is to load. Raises ConfigError when it does not accept the files."""
    config = sherpa_onnx.OfflineTtsConfig()
    config.max_num_sentences = 1  # so that the callback has the first sentence as soon as it is made
    config.rule_fsts = voice.rules
    config.model.num_threads = threads
    part = getattr(config.model, voice.family)
    part.tokens, part.lexicon = voice.tokens, voice.lexicon
    match voice.family:
        case "matcha":
            part.acoustic_model, part.vocoder = str(voice.model), voice.vocoder
        case "kokoro" | "kitten":
            part.model, part.voices = str(voice.model), voice.voices
        case "vits":
            part.model = str(voice.model)
    if not config.validate():
        raise _unusable(voice.model.parent, f"is not accepted by sherpa-onnx as a {voice.family} voice")
    return config


def _family(metadata: Mapping[str, str], voices: str, vocoder: str) -> Family:
    if voices:
        return "kitten" if metadata.get("model_type", "").startswith("kitten") else "kokoro"
    return "matcha" if vocoder else "vits"


def _model(folder: Path, vocoder: str) -> Path:
    """The voice's network; of several the full one, since the quantised ones are slower here and there."""
    found = [path for path in sorted(folder.glob("*.onnx")) if str(path) != vocoder]
    if not found:
        raise _unusable(folder, "holds no .onnx file")
    return min(found, key=lambda path: ("int8" in path.name, "fp16" in path.name, path.name))


def _one(folder: Path, *patterns: str) -> str:
    return next((str(path) for pattern in patterns for path in sorted(folder.glob(pattern))), "")


def _unusable(folder: Path, why: str) -> ConfigError:
    return ConfigError(f"[tts] model: the voice in {folder} {why}")
