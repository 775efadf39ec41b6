"""Session recorder: writes sessions to the recordings folder, where that is configured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from voiceagent.recordings.settings import RecordingsSection
from voiceagent.recordings.store import RecordingStore
from voiceagent.recordings.talk import RecordingHeader
from voiceagent.recordings.writer import Recording, RecordingWriter
from voiceagent.session.commands import AppendAudio, Command, Configure, ReportPlayed, TruncateItem
from voiceagent.session.conversation import AnyItem
from voiceagent.session.events import Event, ItemRetrieved, ResponseThinking, TranscriptPartial
from voiceagent.session.options import SessionOptions
from voiceagent.session.timeline import now


class SessionRecorder:
    """The observer that records one session."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def on_command(self, command: Command) -> None:
        if isinstance(command, AppendAudio | Configure | ReportPlayed | TruncateItem):
            self._recording.put(now(), command)

    def on_event(self, event: Event) -> None:
        if not isinstance(event, TranscriptPartial | ResponseThinking | ItemRetrieved):
            self._recording.put(now(), event)

    def on_item(self, item: AnyItem) -> None:
        self._recording.put(now(), item)

    def on_end(self, reason: str) -> None:
        self._recording.end(now(), reason)


class RecorderFactory:
    """Makes a recorder for each session. `store` is None where nothing is recorded."""

    def __init__(self, section: RecordingsSection) -> None:
        self.store = RecordingStore(Path(section.path), section.days) if section.path else None
        self._writer = RecordingWriter(self.store, audio=section.audio) if self.store is not None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the writer running. Raises ConfigError when the folder cannot be written to."""
        if self._writer is None:
            yield
            return
        self._writer.start()
        try:
            yield
        finally:
            await self._writer.close()

    def recorder(
        self, session: str, *, protocol: str, tenant: str, user: str, options: SessionOptions
    ) -> SessionRecorder | None:
        """The recorder of a session that begins now; None where nothing is recorded."""
        if self._writer is None:
            return None
        date = datetime.now(UTC).isoformat(timespec="seconds")
        about = RecordingHeader(session, protocol, tenant, user, now(), date, options)
        return SessionRecorder(self._writer.begin(about))
