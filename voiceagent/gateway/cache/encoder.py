"""The small sentence encoder all-MiniLM-L6-v2 (English, 90 MB), in numpy: a question takes a few milliseconds.

A BERT of six layers; a sentence's vector is the mean of its tokens', at length one.
"""

import json
import struct
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MODEL = "all-minilm-l6-v2"
"""Its name in the catalogue."""
LAYERS = 6
HEADS = 12
EPSILON = 1e-12
MOST_TOKENS = 128
"""What the model was trained on."""
LONGEST_WORD = 100


class Encoder:
    """Threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError or ValueError for files that are not the model's."""
        self._weights = read_safetensors(folder / "model.safetensors")
        words = (folder / "vocab.txt").read_text("utf-8").splitlines()
        self._vocabulary = {word: number for number, word in enumerate(words)}

    def vector(self, text: str) -> Floats:
        tokens = self.tokens(text)
        weights = self._weights
        x = weights["embeddings.word_embeddings.weight"][tokens]
        x = x + weights["embeddings.position_embeddings.weight"][: len(tokens)]
        x = self._norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}")
        mean: Floats = x.mean(axis=0)
        mean /= np.linalg.norm(mean)
        return mean

    def tokens(self, text: str) -> list[int]:
        """The numbers of its pieces of words, between the marks for beginning and end."""
        pieces = [piece for word in split(text) for piece in self._pieces(word)]
        begin, end = self._vocabulary["[CLS]"], self._vocabulary["[SEP]"]
        return [begin, *pieces[: MOST_TOKENS - 2], end]

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces from the left; a word that cannot be put together is unknown."""
        unknown = [self._vocabulary["[UNK]"]]
        if len(word) > LONGEST_WORD:
            return unknown
        found: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._vocabulary), None)
            if end is None:
                return unknown
            found.append(self._vocabulary[mark + word[start:end]])
            start = end
        return found

    def _layer(self, x: Floats, name: str) -> Floats:
        heads = [
            self._linear(x, f"{name}.attention.self.{part}").reshape(len(x), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        ]
        query, key, value = heads
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        attention = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attention /= attention.sum(axis=-1, keepdims=True)
        seen = (attention @ value).transpose(1, 0, 2).reshape(x.shape)
        x = self._norm(x + self._linear(seen, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = _gelu(self._linear(x, f"{name}.intermediate.dense"))
        return self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, x: Floats, name: str) -> Floats:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled: Floats = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def split(text: str) -> list[str]:
    """Words and marks in lower case, without accents; each Chinese character is a word."""
    plain = "".join(char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")
    spaced = "".join(f" {char} " if _stands_alone(char) else char for char in plain)
    return spaced.split()


def read_safetensors(path: Path) -> Mapping[str, Floats]:
    """The tensors of a file in which all that matter are float32. Raises OSError or ValueError."""
    data = path.read_bytes()
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        tensors: dict[str, Floats] = {}
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] == "F32":
                start, end = tensor["data_offsets"]
                raw = np.frombuffer(data, "<f4", (end - start) // 4, 8 + length + start)
                tensors[name] = raw.reshape(_shape(tensor["shape"]))
    except (struct.error, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no file of tensors") from error
    return tensors


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(shape)


def _stands_alone(char: str) -> bool:
    code = ord(char)
    mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return mark or unicodedata.category(char).startswith("P") or "\u3400" <= char <= "\u9fff"


def _gelu(x: Floats) -> Floats:
    return x * 0.5 * (1 + _erf(x / np.float32(np.sqrt(2))))


def _erf(x: Floats) -> Floats:
    """Abramowitz and Stegun 7.1.26: within 1.5e-7."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    result: Floats = np.sign(x) * (1 - series * np.exp(-x * x))
    return result
