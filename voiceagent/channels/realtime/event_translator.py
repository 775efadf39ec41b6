"""Event translator: turns a session's events into the server events of OpenAI Realtime."""

from voiceagent.channels.realtime import server_events as wire
from voiceagent.channels.realtime.extension_events import extension_events, shortened
from voiceagent.channels.realtime.items import wire_item
from voiceagent.channels.realtime.mcp import McpEvents
from voiceagent.channels.realtime.responses import ResponseWriter
from voiceagent.channels.realtime.session_object import Extension, SessionObject
from voiceagent.channels.realtime.tools import HiddenTools
from voiceagent.session import events
from voiceagent.session.conversation import FunctionOutput

# A transcript while it grows: `delta` events can only append, the recogniser's guesses may change.


class Captions:
    """What two guesses in a row agree on is told, but for the word it breaks off in."""

    def __init__(self) -> None:
        self._item_id = ""
        self._guess = ""
        self._told = ""

    def guess(self, item_id: str, text: str) -> str:
        """The words that can be told now."""
        if item_id != self._item_id:
            self._item_id, self._guess, self._told = item_id, "", ""
        sure, self._guess = _whole_words(_agreed(self._guess, text)), text
        if len(sure) <= len(self._told) or not sure.startswith(self._told):
            return ""
        told, self._told = self._told, sure
        return sure[len(told) :]

    def done(self, item_id: str, text: str) -> str:
        """The rest, when the turn's words are final; nothing if they differ from what was told."""
        told = self._told if item_id == self._item_id else ""
        self._item_id = ""
        return text[len(told) :] if text.startswith(told) else ""


def _agreed(one: str, other: str) -> str:
    """How both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]


def _whole_words(text: str) -> str:
    """Without the last word, which may go on; in Chinese that is the last character."""
    end = len(text)
    while end and text[end - 1].isascii() and not text[end - 1].isspace():
        end -= 1
    return text[:end] if end < len(text) else text[: max(0, end - 1)]


ReplyEvent = (
    events.ResponseAudio
    | events.ResponseText
    | events.ResponseItemAdded
    | events.ToolCalled
    | events.ApprovalAsked
    | events.ResponseDone
)
TranscriptEvent = events.TranscriptPartial | events.TranscriptDone | events.TranscriptFailed


class EventTranslator:
    """`session` is the one in force: an update replaces it."""

    def __init__(self, session: SessionObject, conversation_id: str) -> None:
        self.session = session
        self.has_spoken = False
        """Whether the client has heard the voice."""
        self._conversation_id = conversation_id
        self._replies: dict[str, ResponseWriter] = {}
        self._unseen = HiddenTools()
        self._served = McpEvents(self._unseen)
        self._captions = Captions()

    def tell(self, event: events.Event) -> list[wire.ServerEvent]:
        hidden = self._unseen.take(event)
        told = self._tell_of_result(event) if hidden else self._tell(event)
        hidden = hidden and not told
        extension = self.session.voiceagent
        if isinstance(extension, Extension) and extension.events:
            told = [*told, *extension_events(event, hidden=hidden)]
        return told

    def _tell(self, event: events.Event) -> list[wire.ServerEvent]:
        known = self._unseen.known
        match event:
            case (
                events.ResponseAudio()
                | events.ResponseText()
                | events.ResponseItemAdded()
                | events.ToolCalled()
                | events.ApprovalAsked()
                | events.ResponseDone()
            ):
                return self._tell_of_reply(event)
            case events.ToolsAwaited():
                return self._served.awaited(event)
            case events.ToolsListed():
                return self._served.listed(event)
            case events.ToolsFailed():
                return self._served.failed(event)
            case events.ResponseStarted(response_id=response_id):
                reply = ResponseWriter(event, self.session.audio.output, self._conversation_id, known, self._served)
                self._replies[response_id] = reply
                return reply.created()
            case events.SpeechStarted(item_id=item_id, at_ms=at_ms):
                return [wire.SpeechStartedEvent(audio_start_ms=at_ms, item_id=item_id)]
            case events.SpeechStopped(item_id=item_id, at_ms=at_ms):
                return [wire.SpeechStoppedEvent(audio_end_ms=at_ms, item_id=item_id)]
            case events.IdleTimeoutTriggered(item_id=item_id, start_ms=start, end_ms=end):
                return [wire.TimeoutTriggeredEvent(audio_start_ms=start, audio_end_ms=end, item_id=item_id)]
            case events.AudioCommitted(item_id=item_id, previous_item_id=previous):
                return [wire.AudioCommittedEvent(item_id=item_id, previous_item_id=known(previous))]
            case events.AudioCleared():
                return [wire.AudioClearedEvent()]
            case events.ItemAdded(item=item, previous_item_id=previous):
                return [wire.ItemAddedEvent(previous_item_id=known(previous), item=wire_item(item))]
            case events.ItemDone(item=item, previous_item_id=previous):
                return [wire.ItemDoneEvent(previous_item_id=known(previous), item=wire_item(item))]
            case events.ItemRetrieved(item=item, result=result):
                return [wire.ItemRetrievedEvent(item=wire_item(item, result))]
            case events.ItemDeleted(item_id=item_id):
                return [wire.ItemDeletedEvent(item_id=item_id)]
            case events.ItemTruncated(item_id=item_id, audio_end_ms=audio_end_ms):
                return [wire.ItemTruncatedEvent(item_id=item_id, audio_end_ms=audio_end_ms)]
            case events.TranscriptPartial() | events.TranscriptDone() | events.TranscriptFailed():
                return self._tell_of_transcript(event)
            case events.ItemShortened():
                return [shortened(event)]
            case _:
                return []

    def _tell_of_reply(self, event: ReplyEvent) -> list[wire.ServerEvent]:
        if isinstance(event, events.ToolCalled) and event.call.approval_id is not None:
            return self._served.agreed(event)
        reply = self._replies.get(event.response_id)
        if reply is None:  # it is over: not one sample more of it
            return []
        match event:
            case events.ResponseAudio():
                self.has_spoken = True
                return reply.audio(event)
            case events.ResponseText():
                return reply.text(event)
            case events.ResponseItemAdded():
                return reply.item_added(event)
            case events.ToolCalled() | events.ApprovalAsked():
                return reply.called(event)
            case events.ResponseDone(response_id=response_id):
                del self._replies[response_id]
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
                told.append(wire.TranscriptCompletedEvent(item_id=item_id, transcript=text, usage=usage))
            case events.TranscriptFailed(code=code, message=message):
                error = wire.TranscriptError("server_error", code, message)
                told.append(wire.TranscriptFailedEvent(item_id=item_id, error=error))
        return [wire.TranscriptDeltaEvent(item_id=item_id, delta=delta), *told] if delta else told
