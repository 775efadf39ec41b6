"""Metadata of an ONNX file: its key-value pairs, read without loading the network."""

import os
from pathlib import Path
from typing import BinaryIO

METADATA_FIELD = 14
"""`ModelProto.metadata_props` in onnx.proto; the entries are messages of key (1) and value (2)."""

LARGEST_ENTRY = 1 << 20
"""Bytes; longer ones (none is known) are passed over."""

LENGTH_DELIMITED = 2
"""The wire type of strings and messages."""


def read(path: Path) -> dict[str, str]:
    """Metadata of an .onnx file; empty for anything that is not one, such as .ort files."""
    try:
        with path.open("rb") as file:
            return _model(file, path.stat().st_size)
    except (OSError, ValueError):
        return {}


def _model(file: BinaryIO, size: int) -> dict[str, str]:
    found: dict[str, str] = {}
    while file.tell() < size:
        tag = _varint(file)
        if tag & 7 != LENGTH_DELIMITED:
            _skip(file, tag & 7)
            continue
        length = _varint(file)
        if tag >> 3 == METADATA_FIELD and length <= LARGEST_ENTRY:
            key, value = _entry(file, file.tell() + length)
            found[key] = value
        else:
            file.seek(length, os.SEEK_CUR)
    return found


def _entry(file: BinaryIO, end: int) -> tuple[str, str]:
    parts = {1: "", 2: ""}
    while file.tell() < end:
        tag = _varint(file)
        if tag & 7 != LENGTH_DELIMITED:
            _skip(file, tag & 7)
            continue
        length = _varint(file)
        if file.tell() + length > end:
            raise ValueError("entry runs over its end")
        parts[tag >> 3] = file.read(length).decode("utf-8")
    return parts[1], parts[2]


def _skip(file: BinaryIO, wire_type: int) -> None:
    match wire_type:
        case 0:
            _varint(file)
        case 1:
            file.seek(8, os.SEEK_CUR)
        case 5:
            file.seek(4, os.SEEK_CUR)
        case _:
            raise ValueError("not protobuf")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("not protobuf")
