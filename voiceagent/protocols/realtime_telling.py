"""What a session's events are in OpenAI Realtime's words."""

from voiceagent.protocols import realtime_events as wire
from voiceagent.protocols.realtime_captions import Captions
from voiceagent.protocols.realtime_items import wire_item
from voiceagent.protocols.realtime_more import more
from voiceagent.protocols.realtime_replies import Reply
from voiceagent.protocols.realtime_served import Served
from voiceagent.protocols.realtime_session import Extension, Session
from voiceagent.protocols.realtime_unseen import Unseen
from voiceagent.session import events
from voiceagent.session.items import FunctionOutput

ReplyEvent = (
    events.ReplyAudio
    | events.ReplyText
    | events.ReplyItemAdded
    | events.ToolCalled
    | events.ApprovalAsked
    | events.ReplyDone
)
TranscriptEvent = events.TranscriptPartial | events.TranscriptDone | events.TranscriptFailed


class Teller:
    """`session` is the one in force: an update replaces it."""

    def __init__(self, session: Session, conversation_id: str) -> None:
        self.session = session
        self.has_spoken = False
        """Whether the client has heard the voice."""
        self._conversation_id = conversation_id
        self._replies: dict[str, Reply] = {}
        self._unseen = Unseen()
        self._served = Served(self._unseen)
        self._captions = Captions()

    def tell(self, event: events.Event) -> list[wire.ServerEvent]:
        hidden = self._unseen.take(event)
        told = self._tell_of_result(event) if hidden else self._tell(event)
        hidden = hidden and not told
        extension = self.session.voiceagent
        if isinstance(extension, Extension) and extension.events:
            told = [*told, *more(event, hidden=hidden)]
        return told

    def _tell(self, event: events.Event) -> list[wire.ServerEvent]:
        known = self._unseen.known
        match event:
            case (
                events.ReplyAudio()
                | events.ReplyText()
                | events.ReplyItemAdded()
                | events.ToolCalled()
                | events.ApprovalAsked()
                | events.ReplyDone()
            ):
                return self._tell_of_reply(event)
            case events.ToolsAwaited():
                return self._served.awaited(event)
            case events.ToolsListed():
                return self._served.listed(event)
            case events.ToolsFailed():
                return self._served.failed(event)
            case events.ReplyStarted(reply_id=reply_id):
                reply = Reply(event, self.session.audio.output, self._conversation_id, known, self._served)
                self._replies[reply_id] = reply
                return reply.created()
            case events.SpeechStarted(item_id=item_id, at_ms=at_ms):
                return [wire.SpeechStarted(audio_start_ms=at_ms, item_id=item_id)]
            case events.SpeechStopped(item_id=item_id, at_ms=at_ms):
                return [wire.SpeechStopped(audio_end_ms=at_ms, item_id=item_id)]
            case events.IdleTimeout(item_id=item_id, start_ms=start, end_ms=end):
                return [wire.TimeoutTriggered(audio_start_ms=start, audio_end_ms=end, item_id=item_id)]
            case events.AudioCommitted(item_id=item_id, previous_item_id=previous):
                return [wire.AudioCommitted(item_id=item_id, previous_item_id=known(previous))]
            case events.AudioCleared():
                return [wire.AudioCleared()]
            case events.ItemAdded(item=item, previous_item_id=previous):
                return [wire.ItemAdded(previous_item_id=known(previous), item=wire_item(item))]
            case events.ItemDone(item=item, previous_item_id=previous):
                return [wire.ItemDone(previous_item_id=known(previous), item=wire_item(item))]
            case events.ItemRetrieved(item=item, result=result):
                return [wire.ItemRetrieved(item=wire_item(item, result))]
            case events.ItemDeleted(item_id=item_id):
                return [wire.ItemDeleted(item_id=item_id)]
            case events.ItemTruncated(item_id=item_id, audio_end_ms=audio_end_ms):
                return [wire.ItemTruncated(item_id=item_id, audio_end_ms=audio_end_ms)]
            case events.TranscriptPartial() | events.TranscriptDone() | events.TranscriptFailed():
                return self._tell_of_transcript(event)
            case _:
                return []

    def _tell_of_reply(self, event: ReplyEvent) -> list[wire.ServerEvent]:
        if isinstance(event, events.ToolCalled) and event.call.approval_id is not None:
            return self._served.agreed(event)
        reply = self._replies.get(event.reply_id)
        if reply is None:  # it is over: not one sample more of it
            return []
        match event:
            case events.ReplyAudio():
                self.has_spoken = True
                return reply.audio(event)
            case events.ReplyText():
                return reply.text(event)
            case events.ReplyItemAdded():
                return reply.item_added(event)
            case events.ToolCalled() | events.ApprovalAsked():
                return reply.called(event)
            case events.ReplyDone(reply_id=reply_id):
                del self._replies[reply_id]
                return reply.done(event)

    def _tell_of_result(self, event: events.Event) -> list[wire.ServerEvent]:
        """Of a call to a server that the client has named, which is all that a client sees of hidden items."""
        match event:
            case events.ItemAdded(item=FunctionOutput() as output):
                return self._served.result(output)
            case _:
                return []

    def _tell_of_transcript(self, event: TranscriptEvent) -> list[wire.ServerEvent]:
        """Where transcripts are all there is they come word by word, else whole. Nobody gets any unasked."""
        only_listens = self.session.type == "transcription"
        if self.session.audio.input.transcription is None and not only_listens:
            return []
        item_id, delta = event.item_id, ""
        told: list[wire.ServerEvent] = []
        match event:
            case events.TranscriptPartial(text=text):
                delta = self._captions.guess(item_id, text) if only_listens else ""
            case events.TranscriptDone(text=text, seconds=seconds):
                delta = self._captions.done(item_id, text)
                usage = wire.Duration("duration", seconds)
                told.append(wire.TranscriptCompleted(item_id=item_id, transcript=text, usage=usage))
            case events.TranscriptFailed(code=code, message=message):
                error = wire.TranscriptError("server_error", code, message)
                told.append(wire.TranscriptFailed(item_id=item_id, error=error))
        return [wire.TranscriptDelta(item_id=item_id, delta=delta), *told] if delta else told
