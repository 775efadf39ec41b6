"""Recordings as files: what they hold, who may read them, how long they stay, and what becomes of one cut off."""

import os
import stat
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.recorded import RATE, SESSION, STARTED, about, interrupted_turn, microphone, recorded, tone
from voiceagent.audio.pcm import silence
from voiceagent.cli.main import app
from voiceagent.errors import ConfigError
from voiceagent.recordings.sound import SoundFile, mend
from voiceagent.recordings.store import ABANDONED_SECONDS, DAY_SECONDS, RecordingStore
from voiceagent.recordings.talk import SessionRecording
from voiceagent.session.commands import AppendAudio, Configure
from voiceagent.session.options import SessionOptions

DYING = """
import os, sys
from pathlib import Path
from tests.support.recorded import *
from voiceagent.recordings.store import RecordingStore
recording = SessionRecording(RecordingStore(Path(sys.argv[1]), 30), about(), audio=True)
microphone(recording, STARTED, tone(10.0))
recording.flush(STARTED + 10)
os._exit(9)
"""


@pytest.fixture
def store(tmp_path: Path) -> RecordingStore:
    store = RecordingStore(tmp_path / "talks", 30)
    store.prepare()
    return store


def test_a_finished_recording_is_two_files_that_only_their_owner_reads(store: RecordingStore) -> None:
    recorded(store)
    assert sorted(path.name for path in store.folder.iterdir()) == [f"{SESSION}.jsonl", f"{SESSION}.wav"]
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    for path in store.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sounding = store.sound(SESSION)
    assert sounding is not None
    with wave.open(str(sounding)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        assert file.getnframes() == 4 * RATE
    with SoundFile(sounding) as sound:
        user, agent = np.concatenate(list(sound.blocks())).T
    assert np.abs(user[:RATE]).min() == 8000
    assert user[RATE:].max() == 0
    assert np.abs(agent[round(1.5 * RATE) : round(1.9 * RATE)]).min() == 12_000
    assert agent[round(1.9 * RATE) :].max() == agent[: round(1.5 * RATE)].max() == 0


def test_without_sound_times_are_the_same(store: RecordingStore) -> None:
    recorded(store, "sess_a", audio=True)
    recorded(store, "sess_b", audio=False)
    loud, mute = (list(store.lines(session) or ()) for session in ("sess_a", "sess_b"))
    assert [line["at"] for line in loud] == [line["at"] for line in mute]
    assert (store.sound("sess_a") is None, store.sound("sess_b") is None) == (False, True)


def test_a_telephone_is_recorded_at_its_own_rate(store: RecordingStore) -> None:
    recording = SessionRecording(store, about(), audio=True)
    recording.take(STARTED, Configure(SessionOptions(output_rate=8_000)))
    recording.take(STARTED + 1, AppendAudio(tone(1.0)[:8_000], 8_000))
    recording.end(STARTED + 1, "finished")
    path = store.sound(SESSION)
    assert path is not None
    with SoundFile(path) as sound:
        assert (sound.rate, round(sound.seconds, 2)) == (16_000, 1.0)


def test_a_process_that_dies_leaves_what_it_wrote(store: RecordingStore) -> None:
    died = subprocess.run([sys.executable, "-c", DYING, str(store.folder)], cwd=Path(__file__).parents[2], check=False)
    assert died.returncode == 9
    (one,) = store.sessions()
    assert (one.session, one.sound, one.finished) == (SESSION, True, False)
    part = store.sound(SESSION)
    assert part is not None
    with SoundFile(part) as sound:
        assert sound.seconds > 8
    store.mend(one.at + ABANDONED_SECONDS / 2)
    assert not store.sessions()[0].finished, "it may be going on"
    store.mend(one.at + ABANDONED_SECONDS * 2)
    assert store.sessions()[0].finished
    with wave.open(str(store.sound(SESSION))) as file:
        assert file.getnframes() > 8 * RATE
    assert [line["type"] for line in store.lines(SESSION) or ()] == ["talk"]


def test_a_header_that_is_out_of_date_is_put_right(store: RecordingStore) -> None:
    recorded(store)
    path = store.sound(SESSION)
    assert path is not None
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\0\0\0\0" + whole[8:40] + b"\0\0\0\0" + whole[44:] + b"\1\2\3")
    with SoundFile(path) as sound:
        assert sound.frames == 4 * RATE
    mend(path)
    assert path.read_bytes() == whole
    other = store.folder / "sess_x.wav"
    other.write_bytes(b"RIFF, but not ours")
    mend(other)
    assert other.read_bytes() == b"RIFF, but not ours"
    with pytest.raises(ValueError, match="not a recording"):
        SoundFile(other)


def test_a_line_cut_off_is_left_out(store: RecordingStore) -> None:
    recorded(store)
    path = store.folder / f"{SESSION}.jsonl"
    path.write_bytes(path.read_bytes()[:-10] + b"\n\xff\xfe\n[1]\n")
    kinds = [line["type"] for line in store.lines(SESSION) or ()]
    assert kinds[0] == "talk"
    assert "end" not in kinds


@pytest.mark.parametrize("session", ["", "..", "../sess", "a/b", "sess_\0", ".hidden", "é", "a" * 200, "sess.wav"])
def test_no_name_leads_out_of_the_folder(store: RecordingStore, session: str) -> None:
    (store.folder.parent / "sess.jsonl").write_text("{}")
    assert store.lines(session) is None
    assert store.sound(session) is None
    assert not store.delete(session)
    with pytest.raises(OSError, match="name"):
        store.create(session, "wav")
    assert (store.folder.parent / "sess.jsonl").exists()


def test_a_recording_never_overwrites_another(store: RecordingStore) -> None:
    store.create(SESSION, "wav")
    with pytest.raises(FileExistsError):
        store.create(SESSION, "wav")


def test_old_recordings_go_and_nothing_else_does(store: RecordingStore) -> None:
    now = 1_800_000_000.0
    for session, days in (("sess_old", 31), ("sess_new", 29)):
        recorded(store, session)
        for path in store.folder.glob(f"{session}.*"):
            os.utime(path, (now - days * DAY_SECONDS,) * 2)
    for name in ("notes.txt", "sess_old.mp3", "sess_old"):
        (store.folder / name).write_text("mine")
        os.utime(store.folder / name, (1, 1))
    assert store.purge(now) == 2
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "notes.txt",
        "sess_new.jsonl",
        "sess_new.wav",
        "sess_old",
        "sess_old.mp3",
    ]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\[recordings\] path"):
        RecordingStore(tmp_path / "file" / "talks", 30).prepare()
    assert RecordingStore(tmp_path / "none", 30).sessions() == []


def test_peaks_before_and_after_the_sound_are_silence(store: RecordingStore) -> None:
    recorded(store)
    path = store.sound(SESSION)
    assert path is not None
    with SoundFile(path) as sound:
        user, agent = sound.peaks(-200, 250, 20)
    assert len(user) == len(agent) == 250
    assert user[:10] == [0.0] * 10
    assert user[10:60] == [0.244] * 50
    assert agent[85:105] == [0.366] * 20
    assert max(user[60:] + agent[105:]) == 0


def test_opus_sounds_like_it(store: RecordingStore, tmp_path: Path) -> None:
    recorded(store)
    path = store.sound(SESSION)
    assert path is not None
    with SoundFile(path) as sound:
        packed = sound.opus()
    assert packed.startswith(b"OggS")
    assert len(packed) < 60_000
    (tmp_path / "talk.ogg").write_bytes(packed)
    with av.open(str(tmp_path / "talk.ogg")) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate(frames, axis=1)
    assert samples.shape[0] == 2
    assert samples.shape[1] / 48_000 == pytest.approx(4.0, abs=0.1)
    second = slice(10_000, 40_000)
    assert np.abs(samples[1][second]).max() < 0.01 < np.abs(samples[0][second]).max()


# -- the command line -------------------------------------------------------------------------------------------------


def test_recordings_are_listed_and_deleted(store: RecordingStore) -> None:
    recorded(store)
    path = ["--path", str(store.folder)]
    listed = CliRunner().invoke(app, ["recordings", "list", *path])
    assert (listed.exit_code, SESSION in listed.output) == (0, True)
    kept = CliRunner().invoke(app, ["recordings", "delete", SESSION, *path], input="n\n")
    assert (kept.exit_code, len(store.sessions())) == (1, 1)
    gone = CliRunner().invoke(app, ["recordings", "delete", SESSION, "sess_none", "--yes", *path])
    assert (gone.exit_code, store.sessions()) == (1, [])
    assert "no recording of sess_none" in gone.stderr
    assert "Nothing is recorded." in CliRunner().invoke(app, ["recordings", "list", *path]).output


def test_a_report_is_written(store: RecordingStore, tmp_path: Path) -> None:
    recorded(store)
    out = tmp_path / "report.html"
    arguments = ["report", SESSION, "--out", str(out), "--path", str(store.folder)]
    written = CliRunner().invoke(app, arguments)
    assert (written.exit_code, written.stdout.strip()) == (0, str(out))
    size = out.stat().st_size
    assert CliRunner().invoke(app, [*arguments, "--audio"]).exit_code == 0
    assert out.stat().st_size > size + 10_000
    missing = CliRunner().invoke(app, ["report", "sess_none", "--path", str(store.folder)])
    assert (missing.exit_code, "no recording of sess_none" in missing.stderr) == (1, True)
    nowhere = CliRunner().invoke(
        app, ["report", SESSION, "--out", str(tmp_path / "no" / "r"), "--path", str(store.folder)]
    )
    assert (nowhere.exit_code, "Traceback" in nowhere.output) == (1, False)


def test_the_folder_is_that_of_the_configuration(
    store: RecordingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(store)
    monkeypatch.setenv("VOICEAGENT_RECORDINGS__PATH", str(store.folder))
    assert SESSION in CliRunner().invoke(app, ["recordings", "list"]).output
    monkeypatch.setenv("VOICEAGENT_RECORDINGS__PATH", "")
    none = CliRunner().invoke(app, ["recordings", "list"])
    assert (none.exit_code, "[recordings] path is empty" in none.stderr) == (2, True)
    absent = CliRunner().invoke(app, ["recordings", "list", "--path", str(tmp_path / "absent")])
    assert (absent.exit_code, "there is no folder" in absent.stderr) == (2, True)


def test_what_is_not_yet_certain_is_not_yet_written(store: RecordingStore) -> None:
    recording = SessionRecording(store, about(), audio=True)
    interrupted_turn(recording, "a", "b", "c")
    microphone(recording, STARTED + 4, silence(RATE))
    recording.flush(STARTED + 5)
    path = store.sound(SESSION)
    assert path is not None
    with SoundFile(path) as sound:
        assert sound.seconds == pytest.approx(3.5, abs=0.05)
    recording.end(STARTED + 5, "finished")
