"""Raw samples or a WAV file, as they stream from a server."""

from voiceagent.audio.pcm import Pcm, from_bytes, silence

_MOST_HEADER = 65_536
_UNKNOWN_SIZES = (0, 0x7FFFFFFF)
"""A WAV file that is written as it is made does not know its size: it says 0, or as much as fits."""

_PCM_TAGS = (1, 0xFFFE)


class PcmStream:
    """Mono 16-bit samples at a stated rate from bytes cut anywhere. A WAV header, if there is one, is checked and left
    out. Raises ValueError for a WAV file of another kind."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._rest = b""
        self._begun = False
        self._left: int | None = None  # bytes of samples still to come, when a header told it

    def push(self, data: bytes) -> Pcm:
        data = self._rest + data
        if not self._begun:
            start = self._start(data)
            if start is None:
                self._rest = data
                return silence(0)
            self._begun = True
            data = data[start:]
        if self._left is not None:
            data = data[: self._left]
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        if self._left is not None:
            self._left -= whole
        return from_bytes(data[:whole])

    def _start(self, data: bytes) -> int | None:
        """Where the samples begin, None while that is not known."""
        if not data.startswith(b"RIFF"[: len(data)]):
            return 0
        at = 12
        while len(data) >= at + 8:
            name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if data[8:12] != b"WAVE" or (size > _MOST_HEADER and name != b"data"):
                raise ValueError("a WAV header that is not understood")
            if name == b"data":
                self._left = None if size == 0 or size >= _UNKNOWN_SIZES[1] else size
                return at + 8
            if name == b"fmt " and len(data) >= at + 24:
                self._check_format(data[at + 8 : at + 24])
            at += 8 + size + size % 2
        if len(data) > _MOST_HEADER:
            raise ValueError("a WAV header that does not end")
        return None

    def _check_format(self, fmt: bytes) -> None:
        tag, channels = int.from_bytes(fmt[0:2], "little"), int.from_bytes(fmt[2:4], "little")
        rate, bits = int.from_bytes(fmt[4:8], "little"), int.from_bytes(fmt[14:16], "little")
        if tag not in _PCM_TAGS or channels != 1 or bits != 16:
            raise ValueError(f"WAV of {channels} channels, {bits} bits; wanted is mono of 16 bits")
        if rate != self._rate:
            raise ValueError(f"audio of {rate} Hz; set sample_rate = {rate}")
