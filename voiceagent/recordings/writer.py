"""The one thread of the process that writes recordings, and what sessions hand it.

A session only puts a note of what happened into a queue. When the disk cannot keep up the queue is full one day: then
recordings are cut, never talks.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from voiceagent.recordings.store import DAY_SECONDS, RecordingStore
from voiceagent.recordings.talk import Moment, RecordingHeader, SessionRecording
from voiceagent.session.commands import AppendAudio
from voiceagent.session.events import ResponseAudio

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024 * 1024
"""Of sound and notes that may wait for the disk: six minutes of one session, or seven seconds of a hundred."""
NOTE_BYTES = 300
"""What one note takes besides its sound."""
BATCH_SECONDS = 0.25
"""Between two looks into the queue while sessions are recorded."""
CLOSE_SECONDS = 10.0
"""How long the disk is waited for at the end."""


class Recording:
    """A session's end of the queue. `started` on the loop's clock."""

    def __init__(self, writer: "RecordingWriter", about: RecordingHeader) -> None:
        self.about = about
        self.cut_at: float | None = None
        """From when on nothing is recorded any more."""
        self.file: SessionRecording | None = None
        """The writer's."""
        self._writer = writer

    def put(self, now: float, moment: Moment) -> None:
        """This happens now, on the loop's clock."""
        if self.cut_at is None and not self._writer.put(self, now, moment):
            self.cut_at = now
            log.error("session %s: the disk is too slow: the recording is cut", self.about.session)

    def end(self, now: float, reason: str) -> None:
        self._writer.put(self, now, EndRecording(reason))


@dataclass(frozen=True, slots=True)
class BeginRecording:
    pass


@dataclass(frozen=True, slots=True)
class EndRecording:
    reason: str


Note = BeginRecording | EndRecording | Moment


class RecordingWriter:
    def __init__(
        self,
        store: RecordingStore,
        *,
        audio: bool,
        clock: Callable[[], float] = time.time,
        purge_seconds: float = DAY_SECONDS,
    ) -> None:
        """`clock` is Unix time, by which old recordings are deleted every `purge_seconds`."""
        self._store = store
        self._audio = audio
        self._clock = clock
        self._purge_seconds = purge_seconds
        self._queue: deque[tuple[Recording, float, Note]] = deque()
        self._put_bytes = 0  # changed by the loop only
        self._taken_bytes = 0  # changed by the thread only
        self._open: set[Recording] = set()
        self._waiting = threading.Event()
        self._closing = threading.Event()
        self._closed: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None

    # -- on the loop ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises ConfigError when nothing can be written."""
        self._store.prepare()
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        # A disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, args=(loop, self._closed), name="recordings", daemon=True)
        self._thread.start()

    def begin(self, about: RecordingHeader) -> Recording:
        recording = Recording(self, about)
        self.put(recording, about.started, BeginRecording())
        return recording

    def put(self, recording: Recording, now: float, note: Note) -> bool:
        """False when there is no room; a beginning and an end always have some."""
        more = size(note)
        if self._put_bytes - self._taken_bytes + more > MOST_BYTES and not isinstance(
            note, BeginRecording | EndRecording
        ):
            return False
        self._put_bytes += more
        self._queue.append((recording, now, note))
        if not self._waiting.is_set():
            self._waiting.set()
        return True

    async def close(self) -> None:
        """Write what waits; then the thread is gone, unless the disk hangs."""
        if self._thread is None or self._closed is None:
            return
        self._closing.set()
        self._waiting.set()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.shield(self._closed)
            self._thread.join()
        except TimeoutError:
            log.error("the disk does not take the recordings: %d notes are lost", len(self._queue))

    # -- in the thread ----------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop, closed: "asyncio.Future[None]") -> None:
        next_purge = 0.0
        try:
            while True:
                if time.monotonic() >= next_purge:
                    self._clean()
                    next_purge = time.monotonic() + self._purge_seconds
                self._waiting.wait(max(0.0, next_purge - time.monotonic()))
                closing = self._closing.wait(BATCH_SECONDS)
                self._waiting.clear()
                self._write()
                if closing and not self._queue:
                    break
            for recording in list(self._open):
                self._finish(recording, recording.about.started, "server ended")
        finally:
            with suppress(RuntimeError):  # the loop did not wait
                loop.call_soon_threadsafe(closed.set_result, None)

    def _clean(self) -> None:
        try:
            now = self._clock()
            self._store.mend(now)
            deleted = self._store.purge(now)
            if deleted:
                log.info("%d files of old recordings deleted", deleted)
        except OSError as error:
            log.error("old recordings cannot be deleted: %s", error.strerror)

    def _write(self) -> None:
        """All that waits."""
        latest: dict[Recording, float] = {}
        for _ in range(len(self._queue)):
            recording, now, note = self._queue.popleft()
            self._taken_bytes += size(note)
            self._take(recording, now, note)
            latest[recording] = now
        for recording, now in latest.items():
            self._take(recording, now, None)

    def _take(self, recording: Recording, now: float, note: Note | None) -> None:
        """A disk that fails ends the recording, not the session."""
        try:
            match note:
                case BeginRecording():
                    recording.file = SessionRecording(self._store, recording.about, audio=self._audio)
                    self._open.add(recording)
                case EndRecording(reason):
                    self._finish(recording, now, reason)
                case None:
                    if recording.file is not None:
                        recording.file.flush(now)
                case _:
                    if recording.file is not None:
                        recording.file.take(now, note)
        except Exception as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else type(error).__name__
            log.error("session %s: the recording is cut: %s", recording.about.session, why)
            recording.cut_at = recording.cut_at or now
            if recording.file is not None:
                self._finish(recording, now, "cut")

    def _finish(self, recording: Recording, now: float, reason: str) -> None:
        self._open.discard(recording)
        file, recording.file = recording.file, None
        if file is None:
            return
        try:
            if recording.cut_at is not None:
                file.note(recording.cut_at, {"type": "cut"})
            file.end(now, reason)
        except Exception as error:
            log.error("session %s: the recording has no end: %s", recording.about.session, type(error).__name__)
            with suppress(OSError):
                file.close()


def size(note: Note) -> int:
    """Bytes that it takes while it waits."""
    return NOTE_BYTES + (note.pcm.nbytes if isinstance(note, AppendAudio | ResponseAudio) else 0)
