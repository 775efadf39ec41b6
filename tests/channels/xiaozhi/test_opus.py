"""Opus packet by packet."""

import numpy as np
import pytest

from tests.support.xiaozhi.device import DTX, encoded, encoder
from tests.support.xiaozhi.line import tone
from voiceagent.audio.opus import DECODED_RATE, OpusDecoder, OpusEncoder
from voiceagent.audio.pcm import Pcm


def loudness(pcm: Pcm) -> float:
    return float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2)))


@pytest.mark.parametrize("frame_ms", [20, 40, 60])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_there_and_back(rate: int, frame_ms: int) -> None:
    opus, back = OpusEncoder(rate, frame_ms), OpusDecoder()
    assert opus.samples == rate * frame_ms // 1000
    audio = tone(0.6, rate)
    packets = [opus.encode(audio[at : at + opus.samples]) for at in range(0, len(audio), opus.samples)]
    decoded = [back.decode(packet) for packet in packets]
    assert {len(pcm) for pcm in decoded} == {DECODED_RATE * frame_ms // 1000}
    heard = np.concatenate(decoded)[DECODED_RATE // 10 :]
    assert 0.8 < loudness(heard) / loudness(audio) < 1.2
    spectrum = np.abs(np.fft.rfft(heard[:24_000]))
    assert abs(int(spectrum.argmax()) * 2 - 330) <= 4


@pytest.mark.parametrize("frame_ms", [20, 40, 60])
def test_packets_of_the_firmware_are_decoded_whatever_their_length(frame_ms: int) -> None:
    codec, back = encoder(16_000, frame_ms), OpusDecoder()
    for _ in range(3):
        assert len(back.decode(encoded(codec, tone(frame_ms / 1000, 16_000)))) == 48 * frame_ms


def test_silence_of_a_single_byte_is_decoded() -> None:
    back = OpusDecoder()
    assert len(DTX) == 1
    for _ in range(5):
        silent = back.decode(DTX)
        assert (len(silent), int(np.abs(silent).max())) == (2880, 0)


@pytest.mark.parametrize("packet", [b"", b"\x03", b"\xff" * 5, b"\x03\x3f" + bytes(20)])
def test_what_is_no_packet_is_refused_and_the_stream_goes_on(packet: bytes) -> None:
    back = OpusDecoder()
    with pytest.raises(ValueError, match=r"packet|Opus"):
        back.decode(packet)
    assert len(back.decode(DTX)) == 2880


def test_an_encoder_takes_only_its_own_frames() -> None:
    with pytest.raises(ValueError, match="1200 samples instead of 1440"):
        OpusEncoder(24_000, 60).encode(tone(0.05))
    for rate, frame_ms in ((44_100, 60), (24_000, 30)):
        with pytest.raises(ValueError, match="no frames of"):
            OpusEncoder(rate, frame_ms)
