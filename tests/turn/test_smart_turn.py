"""The log-mel against its definition, and the Smart Turn engine: real answers, and what happens when there are none."""

import asyncio
import cmath
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from voiceagent.audio import wav
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import ConfigError
from voiceagent.models.catalogue import find
from voiceagent.models.store import MARKER, ModelStore
from voiceagent.turn.smart_turn import BANDS, FRAME, HOP, MOST_WAITING, SECONDS, SmartTurn, log_mel

NAME = "smart-turn-v3.2"
NOISE: Pcm = np.random.default_rng(0).integers(-9000, 9000, 2 * EAR_RATE, dtype=np.int16)


@pytest.fixture(scope="module")
def fetched() -> ModelStore:
    store = ModelStore()
    if not store.installed(NAME):
        pytest.skip(f"the optional model is not fetched; run: {store.fetch_command(NAME)}")
    return store


@asynccontextmanager
async def opened(store: ModelStore) -> AsyncIterator[SmartTurn]:
    model = SmartTurn(store)
    await model.open()
    try:
        yield model
    finally:
        await model.close()


# -- log-mel ----------------------------------------------------------------------------------------------------------


def by_definition(samples: list[float], frame: int) -> list[float]:
    """One column before the limits, term by term: windowed transform around sample `frame * HOP`, triangular bands."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * k / FRAME) for k in range(FRAME)]
    around = [samples[frame * HOP - FRAME // 2 + k] * window[k] for k in range(FRAME)]
    power = [
        abs(sum(value * cmath.exp(-2j * math.pi * k * bin_ / FRAME) for k, value in enumerate(around))) ** 2
        for bin_ in range(FRAME // 2 + 1)
    ]

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(8) / math.log(6.4)
    edges = [hertz(top * i / (BANDS + 1)) for i in range(BANDS + 2)]
    columns = []
    for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
        weights = [min((f - low) / (peak - low), (high - f) / (high - peak)) for f in (40.0 * b for b in range(201))]
        energy = sum(max(0.0, w) * p for w, p in zip(weights, power, strict=True)) * 2 / (high - low)
        columns.append(math.log10(max(energy, 1e-10)))
    return columns


def test_log_mel_is_what_its_definition_says() -> None:
    mel = log_mel(NOISE, 2)
    assert mel.shape == (BANDS, 200)
    assert mel.dtype == np.float32
    floats = NOISE.astype(np.float64)
    normal = ((floats - floats.mean()) / floats.std()).tolist()
    for frame in (2, 100, 190):
        expected = (np.array(by_definition(normal, frame)) + 4) / 4
        assert mel[:, frame] == pytest.approx(expected, abs=1e-3)


def test_short_audio_stands_at_the_end_and_of_long_audio_only_the_end_counts() -> None:
    short = log_mel(NOISE, SECONDS)
    assert short.shape == (BANDS, 100 * SECONDS)
    assert np.ptp(short[:, :590], axis=1).max() < 0.001 < 0.1 < np.ptp(short[:, 610:], axis=1).min()
    longer = np.concatenate((silence(EAR_RATE), NOISE))
    assert np.array_equal(log_mel(longer, 2), log_mel(NOISE, 2))


def test_silence_and_nothing_have_a_log_mel() -> None:
    for pcm in (silence(0), silence(EAR_RATE)):
        assert np.isfinite(log_mel(pcm, 1)).all()


# -- the engine -------------------------------------------------------------------------------------------------------


async def test_a_model_that_is_not_there_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"voiceagent models fetch .*{NAME}"):
        await SmartTurn(ModelStore(tmp_path)).open()


async def test_a_broken_file_says_to_fetch_it_again(tmp_path: Path) -> None:
    model = find(NAME)
    (tmp_path / NAME).mkdir()
    for file in model.files:
        (tmp_path / NAME / file.name).write_bytes(bytes(file.size))
    (tmp_path / NAME / MARKER).write_text(model.fingerprint, "ascii")
    with pytest.raises(ConfigError, match="fetch it again"):
        await SmartTurn(ModelStore(tmp_path)).open()


async def test_unopened_and_closed_it_has_no_answer(tmp_path: Path) -> None:
    model = SmartTurn(ModelStore(tmp_path))
    assert await model.finished(NOISE) is None
    await model.close()


@pytest.mark.real
async def test_it_hears_where_a_speaker_has_finished(fetched: ModelStore, models: ModelStore) -> None:
    pcm, rate = wav.read(models.path("speech-samples") / "beckett.wav")
    assert rate == EAR_RATE
    async with opened(fetched) as model:
        at_the_end = await model.finished(pcm)
        within = await model.finished(pcm[: len(pcm) // 2])
        assert at_the_end is not None
        assert within is not None
        assert 0.0 <= within < at_the_end <= 1.0
        assert await model.finished(pcm) == at_the_end
        assert await model.finished(pcm[-SECONDS * EAR_RATE :]) == at_the_end
    assert await model.finished(pcm) is None


@pytest.mark.real
async def test_a_failure_is_no_answer_and_is_logged(fetched: ModelStore, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(fetched) as model:
        assert await model.finished(np.zeros((9, 2), np.int16)) is None
        assert "ValueError" in caplog.text
        assert await model.finished(NOISE) is not None


@pytest.mark.real
async def test_too_many_questions_get_no_answer_and_a_cancelled_one_makes_room(fetched: ModelStore) -> None:
    async with opened(fetched) as model:
        questions = [asyncio.create_task(model.finished(NOISE)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        assert await model.finished(NOISE) is None
        for question in questions[4:]:
            question.cancel()
        await asyncio.gather(*questions[4:], return_exceptions=True)
        assert await model.finished(NOISE) is not None
        assert None not in await asyncio.gather(*questions[:4])


@pytest.mark.real
async def test_closing_answers_whoever_still_waits(fetched: ModelStore) -> None:
    async with opened(fetched) as model:
        questions = [asyncio.create_task(model.finished(NOISE)) for _ in range(6)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*questions)
    assert answers[-1] is None


@pytest.mark.real
def test_one_engine_serves_several_loops(fetched: ModelStore) -> None:
    model = SmartTurn(fetched)
    asyncio.run(model.open())
    first, second = (asyncio.run(model.finished(NOISE)) for _ in range(2))
    asyncio.run(model.close())
    assert first is not None
    assert first == second
