"""The client's devices: recordings at real-time pace (in virtual time), and what is said without a sound library."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from voiceagent_client.audio_io import WavDevice
from voiceagent_client.echo import HalfDuplex
from voiceagent_client.errors import AudioError
from voiceagent_client.pcm import FRAME, RATE, Pcm, silence
from voiceagent_client.playback import Player
from voiceagent_client.resample import CARD_FRAME
from voiceagent_client.sound import HELD_FRAMES, LATENCY_SECONDS, NO_PORTAUDIO, SoundDevice, list_devices

from tests.support.client_server import tone


@pytest.mark.looptime
async def test_frames_come_by_an_absolute_schedule_however_slow_the_reader() -> None:
    loop, device = asyncio.get_running_loop(), WavDevice(Player())
    start = loop.time()
    for number in range(1, 1001):
        await device.read()
        assert loop.time() >= start + number * 0.02 - 1e-6
        if number % 100 == 0:
            await asyncio.sleep(0.15)  # the reader is held up; the frames after it make up for it
    assert loop.time() - start == pytest.approx(20.15, abs=0.005)


@pytest.mark.looptime
async def test_recordings_are_spoken_one_after_the_other_with_the_end_of_speech_marked() -> None:
    device = WavDevice(Player())
    first = np.concatenate((tone(50), silence(RATE // 10)))
    second = tone(40)
    saying = asyncio.gather(device.say(first), device.say(second), device.say(silence(0)))
    await asyncio.sleep(0)
    frames = [await device.read() for _ in range(12)]
    await saying
    heard = np.concatenate([frame.pcm for frame in frames])
    assert np.array_equal(heard[: len(first)], first)
    assert np.array_equal(heard[8 * FRAME : 8 * FRAME + len(second)], second)
    assert not heard[8 * FRAME + len(second) :].any()
    assert [number for number, frame in enumerate(frames) if frame.speech_ends] == [2, 9, 10]


@pytest.mark.looptime
async def test_a_recording_that_is_called_off_stops() -> None:
    device = WavDevice(Player())
    saying = asyncio.create_task(device.say(tone(1000)))
    await asyncio.sleep(0)
    assert (await device.read()).pcm.any()
    saying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saying
    assert not (await device.read()).pcm.any()


class PortAudio(ModuleType):
    """Stands in for a machine with sound: streams that call back from a thread of their own, as PortAudio's do."""

    class PortAudioError(Exception):
        pass

    def __init__(self, frames: int, fails: bool = False) -> None:
        super().__init__("sounddevice")
        self.frames = frames
        self.fails = fails
        self.played: list[Pcm] = []
        self.open = 0
        self.all_played = threading.Event()
        self.InputStream = self._stream(self._capture)
        self.OutputStream = self._stream(self._play)

    Callback = Callable[[Pcm, int, object, object], None]

    def _stream(self, work: Callable[[Callback], None]) -> Callable[..., object]:
        audio = self

        class Stream:
            def __init__(self, *, device: object, callback: PortAudio.Callback, **form: object) -> None:
                if audio.fails and device == "missing":
                    raise PortAudio.PortAudioError("no such device")
                assert form == {
                    "samplerate": 48000,
                    "blocksize": CARD_FRAME,
                    "channels": 1,
                    "dtype": "int16",
                    "latency": LATENCY_SECONDS,
                }
                self.thread = threading.Thread(target=work, args=(callback,))

            def __enter__(self) -> None:
                audio.open += 1
                self.thread.start()

            def __exit__(self, *_: object) -> None:
                self.thread.join()
                audio.open -= 1

        return Stream

    def _capture(self, callback: Callback) -> None:
        self.all_played.wait(5)
        for number in range(self.frames):
            callback(np.full((CARD_FRAME, 1), number * 100, dtype=np.int16), CARD_FRAME, None, None)

    def _play(self, callback: Callback) -> None:
        for _ in range(10):
            block = np.full((CARD_FRAME, 1), -1, dtype=np.int16)
            callback(block, CARD_FRAME, None, None)
            self.played.append(block[:, 0])
        self.all_played.set()


async def test_sound_goes_in_and_out(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = PortAudio(frames=10)
    monkeypatch.setitem(sys.modules, "sounddevice", audio)
    player = Player()
    player.add("a", 0, tone(100))
    with SoundDevice(player) as device:
        frames = [await device.read() for _ in range(10)]
    assert audio.open == 0
    assert [int(frame.pcm[-1]) for frame in frames] == [number * 100 for number in range(10)]
    assert all(frame.pcm.shape == (FRAME,) for frame in frames)
    played = np.concatenate(audio.played)
    assert np.abs(played[: CARD_FRAME * 5]).max() > 7000
    assert not played[CARD_FRAME * 6 :].any()
    assert player.played_ms("a") == 100


async def test_the_echo_control_gets_what_was_heard_and_what_was_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", PortAudio(frames=10))
    player = Player()
    player.add("a", 0, tone(100))
    echo = HalfDuplex()
    with SoundDevice(player, echo=echo) as device:
        frames = [await device.read() for _ in range(10)]
    assert not any(frame.pcm[-1] for frame in frames), "the loudspeaker sounded"


async def test_frames_that_nobody_reads_are_dropped_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", PortAudio(frames=HELD_FRAMES + 7))
    with SoundDevice(Player()) as device:
        time.sleep(0.05)  # noqa: ASYNC251 (the loop is held up, as it may be)
        await asyncio.sleep(0.05)
        assert int((await device.read()).pcm[-1]) == 700


@pytest.mark.looptime
async def test_a_microphone_that_falls_silent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", PortAudio(frames=0))
    with SoundDevice(Player()) as device, pytest.raises(AudioError, match="unplugged"):
        await device.read()


async def test_a_device_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = PortAudio(frames=0, fails=True)
    monkeypatch.setitem(sys.modules, "sounddevice", audio)
    with pytest.raises(AudioError, match="--list-devices"), SoundDevice(Player(), input_device="missing"):
        pass
    assert audio.open == 0, "the speaker, opened before, is closed again"


def test_without_portaudio_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(AudioError) as failed:
        list_devices()
    assert str(failed.value) == NO_PORTAUDIO
    assert "apt install libportaudio2" in NO_PORTAUDIO
    assert "--wav" in NO_PORTAUDIO


def test_without_sounddevice_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match="pip install sounddevice"):
        list_devices()
