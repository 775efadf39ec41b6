"""The folder of recordings: `SESSION.jsonl`, what happened, and `SESSION.wav`, both sides; `.part` while the session
goes on. Blocking, as files are."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voiceagent.errors import ConfigError
from voiceagent.recordings import lines, sound

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
ABANDONED_SECONDS = 3600.0
"""Unfinished recordings to which nothing was added for so long are those of a process that died."""
LONGEST_LINE = 4 * 1024 * 1024
"""Bytes: forty times the longest item of a conversation."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,127})\.(jsonl|wav)(\.part)?")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One session. `at` is when it was last added to, in Unix time; `size` in bytes; `finished` False while it goes
    on."""

    session: str
    at: float
    size: int
    sound: bool
    finished: bool


class RecordingStore:
    def __init__(self, folder: Path, days: float) -> None:
        """Recordings older than `days` are deleted by `purge`."""
        self.folder = folder.expanduser()
        self._days = days

    def prepare(self) -> None:
        """Make the folder. Raises ConfigError when that, or writing in it, is not possible."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"[recordings] path: {error.strerror or error}") from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigError(f"[recordings] path: {self.folder} is not writable")

    # -- reading ----------------------------------------------------------------------------------------------------

    def sessions(self) -> list[Recorded]:
        """All recordings, the latest first."""
        found: dict[str, list[Path]] = {}
        for session, path in self._files():
            found.setdefault(session, []).append(path)
        recorded = [one for session, paths in found.items() if (one := _recorded(session, paths)) is not None]
        return sorted(recorded, key=lambda one: one.at, reverse=True)

    def lines(self, session: str) -> Iterator[dict[str, object]] | None:
        """What happened, line by line; None when there is no such recording."""
        path = self._path(session, "jsonl")
        return _lines(path) if path is not None else None

    def sound(self, session: str) -> Path | None:
        """The file with the sound, if there is one."""
        return self._path(session, "wav")

    def _path(self, session: str, kind: str) -> Path | None:
        if not _NAME.fullmatch(session):
            return None
        paths = (self.folder / f"{session}.{kind}", self.folder / f"{session}.{kind}.part")
        return next((path for path in paths if path.is_file()), None)

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Only what is named like a recording: nothing else in the folder is ever touched."""
        with suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if (named := _FILE.fullmatch(path.name)) is not None:
                    yield named[1], path

    # -- writing ----------------------------------------------------------------------------------------------------

    def create(self, session: str, kind: str) -> Path:
        """A new file that only its owner may read. Raises OSError."""
        if not _NAME.fullmatch(session):
            raise OSError("the session's id cannot be the name of a file")
        path = self.folder / f"{session}.{kind}.part"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return path

    def finish(self, session: str) -> None:
        """The session is over: give its files their names."""
        for kind in ("wav", "jsonl"):
            path = self.folder / f"{session}.{kind}.part"
            with suppress(FileNotFoundError):
                path.replace(path.with_suffix(""))

    def delete(self, session: str) -> bool:
        """Whether there was one."""
        deleted = False
        for path in [path for name, path in self._files() if name == session]:
            path.unlink(missing_ok=True)
            deleted = True
        return deleted

    def purge(self, now: float) -> int:
        """Delete what is older than it may be at this Unix time; returns how many files."""
        deleted = 0
        for _, path in list(self._files()):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > self._days * DAY_SECONDS:
                    path.unlink()
                    deleted += 1
        return deleted

    def mend(self, now: float) -> None:
        """Finish the recordings of processes that died."""
        for session, path in list(self._files()):
            with suppress(FileNotFoundError):
                if path.suffix != ".part" or now - path.stat().st_mtime < ABANDONED_SECONDS:
                    continue
                if path.name.endswith(".wav.part"):
                    sound.mend(path)
                path.replace(path.with_suffix(""))
                log.info("recording %s was not finished: it is now", session)


def _recorded(session: str, paths: list[Path]) -> Recorded | None:
    if not any(".jsonl" in path.suffixes for path in paths):
        return None
    try:
        stats = [path.stat() for path in paths]
    except FileNotFoundError:  # deleted meanwhile
        return None
    return Recorded(
        session,
        max(stat.st_mtime for stat in stats),
        sum(stat.st_size for stat in stats),
        sound=any(".wav" in path.suffixes for path in paths),
        finished=all(path.suffix != ".part" for path in paths),
    )


def _lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open("rb") as file:
        while data := file.readline(LONGEST_LINE):
            line = lines.decode(data)
            if line is not None:
                yield line
