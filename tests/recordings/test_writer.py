"""The thread that writes: it never holds a talk up, and a disk that fails ends recordings only."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.recorded import SESSION, STARTED, about, recorded, tone
from tests.support.wire_client import eventually
from voiceagent.errors import ConfigError
from voiceagent.recordings import writer as writing
from voiceagent.recordings.store import DAY_SECONDS, RecordingStore
from voiceagent.recordings.writer import RecordingWriter
from voiceagent.session.commands import AppendAudio
from voiceagent.session.events import Interruption


@asynccontextmanager
async def writer(store: RecordingStore, purge_seconds: float = DAY_SECONDS) -> AsyncIterator[RecordingWriter]:
    made = RecordingWriter(store, audio=True, clock=lambda: 1_800_000_000.0, purge_seconds=purge_seconds)
    made.start()
    try:
        yield made
    finally:
        await made.close()


def kinds(store: RecordingStore, session: str = SESSION) -> list[object]:
    return [line["type"] for line in store.lines(session) or ()]


async def test_all_that_waits_is_written_before_the_end(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path, 30)
    async with writer(store) as made:
        recording = made.begin(about())
        for number in range(1000):
            recording.put(STARTED + number, Interruption("pause", "voice"))
        recording.end(STARTED + 1000, "finished")
    assert kinds(store) == ["talk", *["interruption"] * 1000, "end"]
    assert all(thread.name != "recordings" for thread in threading.enumerate())


async def test_a_talk_that_never_ends_is_ended_with_the_server(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path, 30)
    async with writer(store) as made:
        made.begin(about()).put(STARTED + 1, AppendAudio(tone(1.0), 24_000))
    assert kinds(store) == ["talk", "end"]
    assert store.sessions()[0].finished


async def test_a_full_queue_cuts_the_recording_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "MOST_BYTES", 100_000)
    store = RecordingStore(tmp_path, 30)
    async with writer(store) as made:
        recording = made.begin(about())
        for number in range(10):
            recording.put(STARTED + number, AppendAudio(tone(1.0), 24_000))
        assert recording.cut_at == STARTED + 2
        recording.put(STARTED + 11, Interruption("pause", "voice"))
        recording.end(STARTED + 12, "finished")
    assert kinds(store) == ["talk", "cut", "end"]
    assert caplog.text.count("the recording is cut") == 1


async def test_a_disk_that_fails_ends_one_recording_and_not_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RecordingStore(tmp_path, 30)
    (tmp_path / f"{SESSION}.wav.part").write_text("in the way")
    os.utime(tmp_path / f"{SESSION}.wav.part", (1_800_000_000.0,) * 2)
    async with writer(store) as made:
        broken, well = made.begin(about()), made.begin(about("sess_well"))
        for recording in (broken, well):
            recording.put(STARTED + 1, AppendAudio(tone(1.0), 24_000))
            recording.end(STARTED + 2, "finished")
        unnamed = made.begin(about("../sess"))
        unnamed.put(STARTED + 1, AppendAudio(tone(1.0), 24_000))
        unnamed.end(STARTED + 2, "finished")
    assert kinds(store) == ["talk", "cut", "end"]
    assert kinds(store, "sess_well") == ["talk", "end"]
    assert store.sound("sess_well") is not None
    assert caplog.text.count("the recording is cut") == 2


async def test_old_recordings_go_at_the_start_and_every_day(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path, 30)

    def old(session: str) -> None:
        recorded(store, session)
        for path in tmp_path.glob(f"{session}.*"):
            os.utime(path, (1_700_000_000.0,) * 2)

    async def gone() -> bool:
        return not store.sessions()

    old("sess_1")
    async with writer(store, purge_seconds=0.1):
        await eventually(gone)
        old("sess_2")
        await eventually(gone)


async def test_a_folder_that_cannot_be_written_to_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[recordings\] path"):
        RecordingWriter(RecordingStore(tmp_path / "file" / "x", 30), audio=True).start()
    await asyncio.sleep(0)
