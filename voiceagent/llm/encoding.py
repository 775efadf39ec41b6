"""Decoder for compressed bodies that come although none were asked for."""

import zlib
from collections.abc import AsyncIterator

from voiceagent.errors import EngineError

_GZIP = b"\x1f\x8b"


class DecodedPieces:
    """The pieces of a body, decompressed as they come. Whether they are gzip is seen by their first bytes, as some
    proxies compress without saying so and others say so without compressing. Raises EngineError for what is damaged."""

    def __init__(self, pieces: AsyncIterator[bytes], encoding: str) -> None:
        """`encoding` is the header `Content-Encoding`, "" without one."""
        self._pieces = pieces
        self._deflated = encoding.strip().lower() == "deflate"
        self._inflating: zlib._Decompress | None = None
        self._start: bytes | None = b""

    def __aiter__(self) -> "DecodedPieces":
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            if rest := self._start:
                self._start = None
                return rest
            raise
        return self._decoded(piece)

    def _decoded(self, piece: bytes) -> bytes:
        if self._start is not None:
            piece = self._start + piece
            if len(piece) < len(_GZIP):
                self._start = piece
                return b""
            self._start = None
            self._inflating = self._decompressor(piece)
        if self._inflating is None:
            return piece
        try:
            text = self._inflating.decompress(piece)
            while self._inflating.eof and (rest := self._inflating.unused_data).startswith(_GZIP):
                self._inflating = zlib.decompressobj(zlib.MAX_WBITS | 16)
                text += self._inflating.decompress(rest)
        except zlib.error:
            raise EngineError("llm", "bad_response", "the language model's answer is damaged by compression") from None
        return text

    def _decompressor(self, start: bytes) -> "zlib._Decompress | None":
        if start.startswith(_GZIP):
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        if not self._deflated or start[:1] in b"d:{[e":  # it is said to be, and is plain text
            return None
        with_header = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if with_header else -zlib.MAX_WBITS)
