"""webrtcvad alone, on recorded speech, silence and noise."""

import numpy as np
import pytest

from voiceagent.audio import wav
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.audio.resample import Resampler
from voiceagent.errors import ConfigError
from voiceagent.models.store import ModelStore
from voiceagent.vad.base import VAD_ENGINES, WINDOW
from voiceagent.vad.silero import SileroVad
from voiceagent.vad.webrtc import WebRtcVad


def make(models: ModelStore) -> WebRtcVad:
    vad = VAD_ENGINES.make("[vad]", {"engine": "webrtc"}, models)
    assert isinstance(vad, WebRtcVad)
    return vad


def speech(models: ModelStore) -> Pcm:
    pcm, rate = wav.read(models.path("speech-samples") / "beckett.wav")
    resampler = Resampler(rate, EAR_RATE, "low")
    return np.concatenate((resampler.push(pcm), resampler.flush()))


async def test_silence_and_faint_hiss_are_no_voice(models: ModelStore) -> None:
    hiss = (np.random.default_rng(0).standard_normal(EAR_RATE) * 30).astype(np.int16)
    for pcm in (silence(EAR_RATE), hiss):
        assert max(await make(models).stream().push(pcm)) == 0.0


async def test_speech_is_heard_where_silero_hears_it(models: ModelStore) -> None:
    pcm = speech(models)
    judge = SileroVad(SileroVad.Options(), models)
    await judge.open()
    sure = np.array(await judge.stream().push(pcm)) >= 0.5
    await judge.close()
    found = np.array(await make(models).stream().push(pcm)) >= 0.5
    assert len(found) == len(pcm) // WINDOW
    assert (found & sure).sum() / sure.sum() > 0.95


@pytest.mark.parametrize("size", [1, 160, 333, 512, 4000])
async def test_pushes_may_be_cut_anywhere(models: ModelStore, size: int) -> None:
    pcm = speech(models)[: EAR_RATE * 2 if size > 1 else 2000]
    whole = await make(models).stream().push(pcm)
    stream = make(models).stream()
    assert [p for at in range(0, len(pcm), size) for p in await stream.push(pcm[at : at + size])] == whole


async def test_after_a_reset_it_begins_anew(models: ModelStore) -> None:
    pcm, stream = speech(models)[:20_000], make(models).stream()
    first = await stream.push(pcm)
    stream.reset()
    assert await stream.push(pcm) == first


def test_options_it_does_not_know_are_refused(models: ModelStore) -> None:
    with pytest.raises(ConfigError, match="gate"):
        VAD_ENGINES.make("[vad]", {"engine": "webrtc", "gate": False}, models)
