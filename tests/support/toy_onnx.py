"""Writes tiny ONNX files: a streaming recogniser of two noises, and empty networks that carry only metadata.

There is no small streaming model to be had in a package, so the streaming path is tested with the true runtime on a
network of seven nodes: it hears noise below 1.75 kHz as 你 and above as 好.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

FLOAT, INT64, INTS = 1, 7, 7
MELS, WINDOW = 80, 20
LOW, HIGH, BLANK = 0, 1, 2
BORDER_HZ = 1750
"""Where the 40th of 80 mel bands from 20 Hz to 7.6 kHz ends."""
LOUD_ENOUGH = 8.0
"""Added to the mean log energy of a band: silence has -16, a band filled with noise about 0."""


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _node(op: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    names = b"".join(_field(1, name) for name in inputs) + _field(2, output)
    return _field(1, names + _field(4, op) + (_field(5, attribute) if attribute else b""))


def _constant(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    dims = b"".join(_field(1, size) for size in values.shape)
    return _field(5, dims + _field(2, FLOAT) + _field(8, name) + _field(9, values.astype("<f4").tobytes()))


def _value(number: int, name: str, kind: int, shape: list[str]) -> bytes:
    dims = b"".join(_field(1, _field(2, size)) for size in shape)
    return _field(number, _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dims))))


def _model(graph: bytes, metadata: Mapping[str, str | int]) -> bytes:
    entries = b"".join(_field(14, _field(1, key) + _field(2, str(value))) for key, value in metadata.items())
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13)) + entries


def write_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """An ONNX file with an empty network."""
    path.write_bytes(_model(_field(2, "empty"), metadata))


def write_noise_recogniser(folder: Path) -> None:
    """A folder laid out as NeMo's streaming CTC models are exported for sherpa-onnx."""
    weights = np.zeros((MELS, 3), np.float32)
    weights[: MELS // 2, LOW] = weights[MELS // 2 :, HIGH] = 2 / MELS
    bias = np.full(3, LOUD_ENOUGH, np.float32)
    bias[BLANK] = 0
    caches = ["channel", "time"]
    perm = _field(1, "perm") + b"".join(_field(8, axis) for axis in (0, 2, 1)) + _field(20, INTS)
    graph = (
        _node("Transpose", ["audio_signal"], "frames", perm)
        + _node("MatMul", ["frames", "weights"], "scores")
        + _node("Add", ["scores", "bias"], "logits")
        + _node("Identity", ["length"], "logits_length")
        + b"".join(_node("Identity", [name], f"{name}_next") for name in (*caches, "channel_len"))
        + _field(2, "noises")
        + _constant("weights", weights)
        + _constant("bias", bias)
        + _value(11, "audio_signal", FLOAT, ["n", "mels", "t"])
        + _value(11, "length", INT64, ["n"])
        + b"".join(_value(11, name, FLOAT, ["n", "a", "b", "c"]) for name in caches)
        + _value(11, "channel_len", INT64, ["n"])
        + _value(12, "logits", FLOAT, ["n", "t", "v"])
        + _value(12, "logits_length", INT64, ["n"])
        + b"".join(_value(12, f"{name}_next", FLOAT, ["n", "a", "b", "c"]) for name in caches)
        + _value(12, "channel_len_next", INT64, ["n"])
    )
    sizes: dict[str, str | int] = {f"cache_last_{name}_dim{dim}": 1 for name in caches for dim in (1, 2, 3)}
    sizes |= {"window_size": WINDOW, "chunk_shift": WINDOW, "subsampling_factor": 1, "vocab_size": 2}
    (folder / "model.onnx").write_bytes(_model(graph, {"model_type": "EncDecCTCModelBPE", **sizes}))
    (folder / "tokens.txt").write_text(f"你 {LOW}\n好 {HIGH}\n<blk> {BLANK}\n", encoding="utf-8")
