"""Keeps what the server says and when, beside the conversation that makes use of it."""

from collections.abc import Callable

from voiceagent_client.connection import Backoff, Dropped, RealtimeConnection
from voiceagent_client.wire import ClientEvent, Json, ServerEvent, SessionConfig

from voiceagent.evaluation.record import Arrival, CommitRecord, CutRecord, Record, ResponseRecord
from voiceagent.evaluation.scenario import Scenario


class TappedConnection(RealtimeConnection):
    """A connection whose events are noted before the conversation sees them. A lost one is not opened again: the talk
    would not be the same. After a truncation the server is asked what it takes for heard."""

    def __init__(self, url: str, key: str | None, scenario: Scenario, note: Callable[[ServerEvent], None]) -> None:
        extra: dict[str, Json] = {}
        if scenario.turn_detection is not None:
            extra["audio"] = {"input": {"turn_detection": dict(scenario.turn_detection)}}
        session = SessionConfig(scenario.instructions, language=scenario.language, extra=extra)
        super().__init__(url, key=key, session=session, backoff=Backoff(attempts=0))
        self._note = note

    async def __anext__(self) -> ServerEvent | Dropped:
        event = await super().__anext__()
        if isinstance(event, ServerEvent):
            self._note(event)
            if event.type == "conversation.item.truncated":
                await self.send(ClientEvent("conversation.item.retrieve", {"item_id": event.text("item_id")}))
        return event


class Notes:
    """Writes events into a record."""

    def __init__(self, record: Record, clock: Callable[[], int]) -> None:
        """`clock` tells the microphone's sample of now."""
        self._record = record
        self._clock = clock
        self.active: str | None = None
        """The response the server is at."""
        self.last = 0
        """When the latest event of a response came."""

    @property
    def untold(self) -> bool:
        """Whether words of the user's, or what was heard of a cut item, are still to come."""
        record = self._record
        return any(commit.item_id not in record.user_texts for commit in record.commits) or any(
            cut.item_id not in record.heard_texts for cut in record.cuts
        )

    def cut(self, item_id: str, played_ms: int) -> None:
        self._record.cuts.append(CutRecord(self._clock(), item_id, played_ms))

    def event(self, event: ServerEvent) -> None:
        record, at, item_id = self._record, self._clock(), event.text("item_id")
        if event.type.startswith("response."):
            self.last = at
        match event.type:
            case "input_audio_buffer.committed":
                record.commits.append(CommitRecord(at, item_id))
            case "response.created":
                self.active = event.text("response", "id")
                record.responses[self.active] = ResponseRecord(self.active, at)
            case "response.output_audio.delta":
                pcm = event.audio("delta")
                if pcm is not None:
                    wanted = all(cut.item_id != item_id for cut in record.cuts)
                    record.arrivals.append(Arrival(at, event.text("response_id"), item_id, pcm, wanted))
            case "response.output_audio_transcript.delta":
                record.agent_texts[item_id] = record.agent_texts.get(item_id, "") + event.text("delta")
            case "response.done":
                self._response_done(event, at)
            case "conversation.item.input_audio_transcription.completed":
                record.user_texts[item_id] = event.text("transcript")
            case "conversation.item.input_audio_transcription.failed":
                record.user_texts[item_id] = ""
                record.errors.append(f"transcription failed: {event.text('error', 'code')}")
            case "conversation.item.retrieved":
                text = _transcript(event, "item")
                if text is not None:
                    record.heard_texts[event.text("item", "id")] = text
            case "error":
                record.errors.append(f"the server reports {event.text('error', 'code') or 'an error'}")

    def _response_done(self, event: ServerEvent, at: int) -> None:
        self.active = None
        response = self._record.responses.get(event.text("response", "id"))
        if response is not None:
            response.done, response.status = at, event.text("response", "status")
        code = event.text("response", "status_details", "error", "code")
        if event.text("response", "status") == "failed":
            self._record.errors.append(f"the response failed: {code or 'no reason given'}")


def _transcript(event: ServerEvent, *path: str) -> str | None:
    """The words of an item; None where the server no longer has them."""
    found = [part.get("transcript") for part in event.objects(*path, "content")]
    texts = [text for text in found if isinstance(text, str)]
    return "".join(texts) if texts else None
