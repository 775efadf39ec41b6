"""Around the network: which decodings are asked for, what is reused, dropped and cut."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.asr.base import AsrStream, Transcript
from voiceagent.asr.batch import Batcher
from voiceagent.asr.offline import OfflineStream, join
from voiceagent.asr.spoken import SpeechAudio
from voiceagent.audio.pcm import EAR_RATE, Pcm, silence
from voiceagent.errors import EngineError


def noise(seconds: float, rms: float, seed: int = 0) -> Pcm:
    return (np.random.default_rng(seed).standard_normal(round(seconds * EAR_RATE)) * rms).astype(np.int16)


class Echo:
    """Stands in the network's place: 'decodes' audio into its length in ms, and can be held up."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.begun = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        if not held:
            self.go.set()

    def __call__(self, pieces: list[Pcm]) -> list[Transcript]:
        self.batches.append([len(piece) * 1000 // EAR_RATE for piece in pieces])
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(10)
        return [Transcript(str(ms)) for ms in self.batches[-1]]

    async def until_begun(self) -> None:
        async with asyncio.timeout(10):
            await self.begun.wait()


def offline(batcher: Batcher[Pcm], partial_ms: int = 0) -> AsrStream:
    return OfflineStream(batcher, longest=12 * EAR_RATE, step=partial_ms * EAR_RATE // 1000)


def speech(ms: int, seed: int = 0) -> Pcm:
    return noise(ms / 1000, rms=2000, seed=seed)


async def test_final_reuses_the_partial_over_the_same_speech() -> None:
    echo = Echo()
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(1000))
    assert await stream.partial() == "1000"
    assert await stream.finish() == Transcript("1000")
    stream.push(noise(0.04, rms=20))  # 40 ms of background
    assert await stream.finish() == Transcript("1000")
    stream.push(noise(0.2, rms=20))  # too much to be sure: the word may have had an end
    assert await stream.finish() == Transcript("1240")
    stream.push(noise(3.0, rms=20))  # now the pause had been heard
    assert await stream.finish() == Transcript("1240")
    stream.push(speech(20))
    assert await stream.finish() == Transcript("4260")
    assert echo.batches == [[1000], [1240], [4260]]
    await batcher.close()


async def test_final_joins_a_partial_under_way() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(1000))
    partial = asyncio.create_task(stream.partial())
    await echo.until_begun()
    partial.cancel()  # as a session does when the user falls silent
    final = asyncio.create_task(stream.finish())
    await asyncio.sleep(0)
    echo.go.set()
    assert await final == Transcript("1000")
    assert echo.batches == [[1000]]
    await batcher.close()


async def test_partials_wait_for_enough_new_audio() -> None:
    echo = Echo()
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher, partial_ms=300)
    heard = []
    for _ in range(10):
        stream.push(speech(100))
        heard.append(await stream.partial())
    assert heard == ["", "", "300", "300", "300", "600", "600", "600", "900", "900"]
    await batcher.close()


async def test_finals_go_first_and_overtaken_partials_are_dropped() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=4)
    busy, slow, quick = offline(batcher), offline(batcher), offline(batcher)
    busy.push(speech(500))
    tasks = [asyncio.create_task(busy.partial())]
    await echo.until_begun()
    for ms in (600, 800):  # the second guess overtakes the first
        slow.push(speech(ms))
        tasks.append(asyncio.create_task(slow.partial()))
        await asyncio.sleep(0)
    quick.push(speech(700))
    tasks.append(asyncio.create_task(quick.finish()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    echo.go.set()
    assert await asyncio.gather(*tasks) == ["500", "", "1400", Transcript("700")]
    assert echo.batches == [[500], [700], [1400]]
    await batcher.close()


async def test_those_who_wait_are_decoded_together() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=4)
    streams = [offline(batcher) for _ in range(6)]
    for count, stream in enumerate(streams):
        stream.push(speech(100 * (count + 1)))
    first = asyncio.create_task(streams[0].finish())
    await echo.until_begun()
    rest = [asyncio.create_task(stream.finish()) for stream in streams[1:]]
    await asyncio.sleep(0)
    echo.go.set()
    texts = [transcript.text for transcript in await asyncio.gather(first, *rest)]
    assert texts == ["100", "200", "300", "400", "500", "600"]
    assert echo.batches == [[100], [200, 300, 400, 500], [600]]
    await batcher.close()


async def test_a_final_under_way_keeps_its_words_when_the_user_goes_on() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(11_000))
    final = asyncio.create_task(stream.finish())
    await echo.until_begun()
    stream.push(speech(2_000))
    partial = asyncio.create_task(stream.partial())  # now the first piece is closed
    await asyncio.sleep(0)
    echo.go.set()
    assert await final == Transcript("11000")
    lengths = [int(ms) for ms in (await partial).split()]
    assert len(lengths) == 2
    assert 12_998 <= sum(lengths) <= 13_000
    await batcher.close()


async def test_a_failing_decoder_is_an_engine_error_and_the_next_call_works() -> None:
    echo = Echo()
    fail = True

    def decode(pieces: list[Pcm]) -> list[Transcript]:
        if fail:
            raise RuntimeError("the words of the user")
        return echo(pieces)

    batcher = Batcher(decode, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(1000))
    with pytest.raises(EngineError) as caught:
        await stream.finish()
    assert (caught.value.stage, caught.value.code) == ("asr", "failed")
    assert "words" not in caught.value.message
    fail = False
    assert await stream.finish() == Transcript("1000")
    await batcher.close()
    stream.push(speech(1000))
    with pytest.raises(EngineError, match="closed"):
        await stream.finish()


async def test_closing_fails_those_who_wait_but_not_the_one_being_decoded() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    streams = [offline(batcher), offline(batcher)]
    for stream in streams:
        stream.push(speech(500))
    first = asyncio.create_task(streams[0].finish())
    await echo.until_begun()
    second = asyncio.create_task(streams[1].finish())
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(EngineError, match="closed"):
        await second
    echo.go.set()
    await closing
    assert await first == Transcript("500")


async def test_a_cancelled_or_closed_utterance_leaves_the_queue() -> None:
    echo = Echo(held=True)
    batcher = Batcher(echo, workers=1, size=1)
    busy, cancelled, closed = offline(batcher), offline(batcher), offline(batcher)
    calls = []
    for stream in (busy, cancelled, closed):
        stream.push(speech(500))
        calls.append(asyncio.create_task(stream.partial()))
        await asyncio.sleep(0)
    await echo.until_begun()
    calls[1].cancel()
    closed.close()
    assert await calls[2] == ""
    echo.go.set()
    assert await calls[0] == "500"
    await batcher.close()
    assert echo.batches == [[500]]


async def test_a_silent_piece_is_not_decoded() -> None:
    echo = Echo()
    batcher = Batcher(echo, workers=1, size=1)
    stream = offline(batcher)
    stream.push(speech(2000))
    stream.push(noise(20.0, rms=20))
    assert len(stream_batches := (await stream.finish()).text.split()) == 1, stream_batches
    assert len(echo.batches) == 1
    await batcher.close()


def test_the_cut_falls_into_the_pause() -> None:
    spoken = SpeechAudio()
    spoken.push(np.concatenate([speech(8000), noise(0.4, rms=20), speech(5000)]))
    piece = spoken.cut(6 * EAR_RATE, 11 * EAR_RATE)
    assert 8.1 * EAR_RATE <= len(piece) <= 8.3 * EAR_RATE
    assert len(piece) + spoken.samples == round(13.4 * EAR_RATE)


def test_a_click_does_not_make_quiet_speech_a_pause() -> None:
    spoken = SpeechAudio()
    spoken.push(np.concatenate([noise(0.04, rms=20_000), noise(1.0, rms=30)]))
    decoded = spoken.samples
    spoken.push(noise(1.0, rms=300))
    assert not spoken.is_covered_by(decoded)


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_any_chunks_are_kept_in_order(chunks: list[bytes]) -> None:
    spoken = SpeechAudio()
    pieces = [np.frombuffer(chunk[: len(chunk) // 2 * 2], dtype="<i2") for chunk in chunks]
    for piece in pieces:
        spoken.push(piece)
        spoken.is_silent()
        spoken.is_covered_by(spoken.samples // 2)
    assert np.array_equal(spoken.audio(), np.concatenate([silence(0), *pieces]))


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["one two.", "Three"], "one two. Three"),
        (["", "one", "", "two"], "one two"),
        (["今天天气", "很好。", "是吗？"], "今天天气很好。是吗？"),
        (["他说", "OK", "了"], "他说OK了"),
        (["안녕", "하세요"], "안녕 하세요"),
        ([], ""),
    ],
)
def test_texts_of_pieces_are_joined(parts: list[str], whole: str) -> None:
    assert join(parts) == whole
