"""Records a server's talks, where that is configured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from voiceagent.recordings.settings import RecordingsSection
from voiceagent.recordings.store import Store
from voiceagent.recordings.talk import About
from voiceagent.recordings.writer import Recording, Writer
from voiceagent.session.clock import now
from voiceagent.session.commands import AppendAudio, Command, Configure, ReportPlayed, TruncateItem
from voiceagent.session.events import Event, ItemRetrieved, ReplyThinking, TranscriptPartial
from voiceagent.session.items import AnyItem
from voiceagent.session.options import SessionOptions


class Recorder:
    """One talk's onlooker."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def asked(self, command: Command) -> None:
        if isinstance(command, AppendAudio | Configure | ReportPlayed | TruncateItem):
            self._recording.put(now(), command)

    def told(self, event: Event) -> None:
        if not isinstance(event, TranscriptPartial | ReplyThinking | ItemRetrieved):
            self._recording.put(now(), event)

    def noted(self, item: AnyItem) -> None:
        self._recording.put(now(), item)

    def ended(self, reason: str) -> None:
        self._recording.end(now(), reason)


class Recorders:
    """`store` is None where nothing is recorded."""

    def __init__(self, section: RecordingsSection) -> None:
        self.store = Store(Path(section.path), section.days) if section.path else None
        self._writer = Writer(self.store, audio=section.audio) if self.store is not None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Raises ConfigError when the folder cannot be written to."""
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
    ) -> Recorder | None:
        """For a talk that begins now."""
        if self._writer is None:
            return None
        date = datetime.now(UTC).isoformat(timespec="seconds")
        about = About(session, protocol, tenant, user, now(), date, options)
        return Recorder(self._writer.begin(about))
