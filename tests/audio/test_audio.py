"""Resampling, G.711 and WAV files."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceagent.audio import g711, wav
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.audio.resample import Latency, Resampler
from voiceagent.models.store import ModelStore

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

latencies = st.sampled_from(("low", "quality"))
rates = st.sampled_from(RATES)


def noise(samples: int, peak: int = 32767, seed: int = 0) -> Pcm:
    return np.random.default_rng(seed).integers(-peak, peak, samples, dtype=np.int16, endpoint=True)


def tone(hertz: float, rate: int, samples: int, amplitude: float = 16_000.0) -> Pcm:
    return np.rint(amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.int16)


def convert(pcm: Pcm, resampler: Resampler, cuts: list[int]) -> Pcm:
    pieces = [resampler.push(piece) for piece in np.split(pcm, sorted(min(cut, len(pcm)) for cut in cuts))]
    return np.concatenate((*pieces, resampler.flush()))


@given(rates, rates, latencies, st.integers(0, 5_000))
@settings(max_examples=150, deadline=None)
def test_output_is_as_long_as_the_input(rate_in: int, rate_out: int, latency: Latency, samples: int) -> None:
    output = convert(noise(samples), Resampler(rate_in, rate_out, latency), [])
    assert abs(len(output) - samples * rate_out / rate_in) <= 1
    assert output.dtype == np.int16


@given(rates, rates, latencies, st.lists(st.integers(0, 3_000), max_size=40))
@settings(max_examples=150, deadline=None)
def test_cutting_the_input_does_not_change_the_output(
    rate_in: int, rate_out: int, latency: Latency, cuts: list[int]
) -> None:
    pcm = noise(3_000)
    whole = convert(pcm, Resampler(rate_in, rate_out, latency), [])
    assert np.array_equal(convert(pcm, Resampler(rate_in, rate_out, latency), cuts), whole)


@pytest.mark.parametrize("latency", ["low", "quality"])
@pytest.mark.parametrize("rate_in", [8_000, 24_000, 44_100, 48_000])
def test_full_scale_is_clipped_not_wrapped(rate_in: int, latency: Latency) -> None:
    square = np.where(tone(500, rate_in, rate_in) >= 0, 32767, -32768).astype(np.int16)
    output = convert(square, Resampler(rate_in, 16_000, latency), [])
    positive = tone(500, 16_000, len(output)) > 8_000
    negative = tone(500, 16_000, len(output)) < -8_000
    # Ringing brings single samples down a little; a wrapped one would have the other sign.
    assert output[positive].min() > 20_000
    assert output[negative].max() < -20_000


@pytest.mark.parametrize("latency", ["low", "quality"])
@pytest.mark.parametrize("rate_in", [8_000, 24_000, 32_000, 44_100, 48_000])
def test_a_tone_stays_a_tone_in_time_and_level(rate_in: int, latency: Latency) -> None:
    output = convert(tone(1_000, rate_in, rate_in), Resampler(rate_in, 16_000, latency), [])
    middle = slice(1_000, 15_000)
    wanted = tone(1_000, 16_000, len(output))
    assert np.abs(output[middle].astype(int) - wanted[middle]).max() <= 32  # -54 dB


@pytest.mark.parametrize("rate_in", [24_000, 48_000])
def test_what_the_lower_rate_cannot_carry_is_taken_out(rate_in: int) -> None:
    output = convert(tone(10_000, rate_in, rate_in), Resampler(rate_in, 16_000, "low"), [])
    assert np.abs(output[1_000:15_000].astype(int)).max() <= 16  # -60 dB


@pytest.mark.parametrize("rate_in", [8_000, 24_000, 32_000, 48_000])
def test_low_latency_holds_back_two_milliseconds_at_most(rate_in: int) -> None:
    resampler = Resampler(rate_in, 16_000, "low")
    frame = noise(rate_in // 50)
    returned = 0
    for frames in range(1, 11):
        returned += len(resampler.push(frame))
        assert frames * 320 - returned <= 33


def test_equal_rates_change_nothing() -> None:
    resampler = Resampler(16_000, 16_000, "low")
    pcm = noise(777)
    assert np.array_equal(resampler.push(pcm), pcm)
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize(("rate_in", "latency"), [(24_000, "low"), (44_100, "low"), (24_000, "quality")])
def test_after_a_flush_a_new_stream_begins(rate_in: int, latency: Latency) -> None:
    resampler = Resampler(rate_in, 16_000, latency)
    first = convert(noise(2_000), resampler, [700])
    assert np.array_equal(convert(noise(2_000), resampler, [1_300]), first)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(0, 16_000), (16_000, 0), (-8_000, 16_000)])
def test_an_impossible_rate_is_refused(rate_in: int, rate_out: int) -> None:
    with pytest.raises(ValueError, match="sampling rates must be above 0"):
        Resampler(rate_in, rate_out, "low")


ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32768, 32768).astype(np.int16)


def ffmpeg_decode(codec: str, data: bytes) -> Pcm:
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.sample_rate = 8_000
    context.layout = "mono"
    return context.decode(av.Packet(data))[0].to_ndarray().ravel().astype(np.int16)


def test_g711_decodes_as_ffmpeg_does() -> None:
    assert np.array_equal(g711.decode_ulaw(ALL_CODES), ffmpeg_decode("pcm_mulaw", ALL_CODES))
    assert np.array_equal(g711.decode_alaw(ALL_CODES), ffmpeg_decode("pcm_alaw", ALL_CODES))


def test_g711_codes_survive_a_round_trip() -> None:
    negative_zero = 0x7F
    again = g711.encode_ulaw(g711.decode_ulaw(ALL_CODES))
    assert [code for code in range(256) if again[code] != code] == [negative_zero]
    assert again[negative_zero] == 0xFF
    assert g711.encode_alaw(g711.decode_alaw(ALL_CODES)) == ALL_CODES


def test_ulaw_decision_values_are_those_of_the_recommendation() -> None:
    # ITU-T G.711 table 2a, on its 14-bit scale: decision value x(n) begins the interval of the n-th code from zero.
    decisions = {1: 1, 2: 3, 17: 35, 33: 103, 49: 239, 65: 511, 81: 1055, 97: 2143, 113: 4319, 127: 7903}
    for number, decision in decisions.items():
        just_below, at = g711.encode_ulaw(np.array([decision * 4 - 1, decision * 4], np.int16))
        assert (just_below, at) == (0xFF - (number - 1), 0xFF - number)


def test_alaw_decision_values_are_those_of_the_recommendation() -> None:
    # ITU-T G.711 table 1a, on its 13-bit scale; even bits are inverted on the line.
    decisions = {1: 2, 16: 32, 32: 64, 48: 128, 64: 256, 80: 512, 96: 1024, 112: 2048, 127: 3968}
    for number, decision in decisions.items():
        just_below, at = g711.encode_alaw(np.array([decision * 8 - 1, decision * 8], np.int16))
        assert (just_below ^ 0xD5, at ^ 0xD5) == (number - 1, number)


@pytest.mark.parametrize(
    ("encode", "decode"), [(g711.encode_ulaw, g711.decode_ulaw), (g711.encode_alaw, g711.decode_alaw)]
)
def test_g711_error_is_a_share_of_the_level(encode: object, decode: object) -> None:
    assert callable(encode)
    assert callable(decode)
    samples = ALL_SAMPLES.astype(int)
    error = np.abs(decode(encode(ALL_SAMPLES)).astype(int) - samples)
    assert (error <= np.maximum(16, np.abs(samples) / 31 + 8)).all()


def test_g711_of_nothing_is_nothing() -> None:
    assert g711.encode_ulaw(silence(0)) == g711.encode_alaw(silence(0)) == b""
    assert len(g711.decode_ulaw(b"")) == len(g711.decode_alaw(b"")) == 0


def write_wav(path: Path, pcm: Pcm, rate: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())


def test_wav_is_read_as_written(tmp_path: Path) -> None:
    write_wav(tmp_path / "mono.wav", noise(1_000), 22_050)
    pcm, rate = wav.read(tmp_path / "mono.wav")
    assert rate == 22_050
    assert np.array_equal(pcm, noise(1_000))


def test_wav_of_real_speech(models: ModelStore) -> None:
    pcm, rate = wav.read(models.path("speech-samples") / "beckett.wav")
    assert (rate, len(pcm)) == (16_000, 159_414)


def test_stereo_wav_grows_piece_by_piece_and_is_whole_after_each(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    left, right = noise(3_000, seed=1), noise(3_000, seed=2)
    with wav.StereoWav(path, 16_000) as recording:
        for start in range(0, 3_000, 1_000):
            recording.write(left[start : start + 1_000], right[start : start + 1_000])
            pcm, rate = wav.read(path)
            assert rate == 16_000
            assert np.array_equal(pcm, left[: start + 1_000])
    with wave.open(str(path), "rb") as file:
        assert file.getnchannels() == 2
        both = np.frombuffer(file.readframes(3_000), "<i2").reshape(-1, 2)
    assert np.array_equal(both, np.stack((left, right), axis=1))


def test_stereo_wav_refuses_channels_of_unequal_length(tmp_path: Path) -> None:
    with wav.StereoWav(tmp_path / "talk.wav", 16_000) as recording:
        with pytest.raises(ValueError, match="equally long"):
            recording.write(silence(10), silence(11))
        recording.write(silence(10), silence(10))
    assert len(wav.read(tmp_path / "talk.wav")[0]) == 10


def test_wav_cut_off_gives_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    write_wav(path, noise(1_000), 16_000, channels=2)
    path.write_bytes(path.read_bytes()[:-7])
    assert len(wav.read(path)[0]) == 498


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"not a sound at all, whatever the name says", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0"]
)
def test_what_is_no_wav_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is not a WAV file of 16-bit PCM"):
        wav.read(path)


def test_other_sample_widths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(16_000)
        file.writeframes(bytes(300))
    with pytest.raises(ValueError, match="24 bits; only 16-bit PCM"):
        wav.read(path)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_broken_wav_headers_never_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.wav"
    for head in (b"", b"RIFF\xff\0\0\0WAVE", b"RIFF\xff\0\0\0WAVEfmt \x10\0\0\0\x01\0"):
        path.write_bytes(head + tail)
        try:
            pcm, rate = wav.read(path)
        except ValueError:
            continue
        assert pcm.dtype == np.int16
        assert rate > 0
