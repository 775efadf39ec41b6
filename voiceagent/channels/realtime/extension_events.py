"""The `voiceagent.*` events: what OpenAI's protocol has no words for, told to clients that asked for it.

A client asks by `session.update` with `session.voiceagent.events` true; a `voiceagent.warning` is told to all. No known
client minds them; see docs/guides/python/openai-realtime.md.
"""

from typing import Literal

from voiceagent.channels.realtime.server_events import ServerEvent
from voiceagent.session import events
from voiceagent.session.conversation import FunctionOutput


class PartialTranscriptEvent(ServerEvent, tag="voiceagent.transcript.partial"):
    """What the user is saying, as far as understood; replaces the one before."""

    item_id: str
    text: str


class TurnTimelineEvent(ServerEvent, tag="voiceagent.timeline"):
    """Milliseconds from the user's last sound to the response's first one, and of each part of that."""

    item_id: str
    response_id: str
    response_ms: int | None
    parts: dict[str, int]
    events: dict[str, int]


class ResponsePlayedEvent(ServerEvent, tag="voiceagent.response.played"):
    """By the server's clock the client has played all that it was sent of the response."""

    response_id: str


class WarningEvent(ServerEvent, tag="voiceagent.warning"):
    """Something was left out of what the client sent as `client_event_id`, at `param`; the rest was carried out. An
    `error` would end the talk with some clients."""

    code: str
    message: str
    param: str
    client_event_id: str | None


class ToolCalledEvent(ServerEvent, tag="voiceagent.tool.called"):
    """A response called a tool that the server runs. The client has nothing to do."""

    response_id: str
    call_id: str
    name: str
    arguments: str


class ToolDoneEvent(ServerEvent, tag="voiceagent.tool.done"):
    """What came of it, as the model is told."""

    call_id: str
    output: str


class InterruptionEvent(ServerEvent, tag="voiceagent.interruption"):
    """What was decided of a voice while the agent talked, and why (`turn.interrupt_step.Reason`)."""

    action: Literal["pause", "confirm", "resume"]
    reason: str


class FailedEvent(ServerEvent, tag="voiceagent.failed"):
    """A part of the session has failed: its stage (vad, asr, llm, tts, memory, tool), a short code, and what is known
    of it; `endpoint` names the server that failed, where it was one."""

    stage: str
    code: str
    message: str
    endpoint: str


class SpeculationEvent(ServerEvent, tag="voiceagent.speculation"):
    """An answer prepared before the turn was over was used, or thrown away with so many tokens."""

    used: bool
    tokens: int


class ThinkingEvent(ServerEvent, tag="voiceagent.thinking"):
    """The model reasons before it answers; `text` is what it shows of that, often nothing."""

    response_id: str
    text: str


class ResponseUsageEvent(ServerEvent, tag="voiceagent.usage"):
    """What a response took: tokens as in its response.done, their cost at the configured prices (0.0 without prices),
    and the name of the endpoint that answered."""

    response_id: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    endpoint: str


class TurnEndedEvent(ServerEvent, tag="voiceagent.turn.ended"):
    """Why a turn was taken to be over. With cause `silence`: how long it was, how long it had to be, and the log-odds
    by rule that made it so."""

    item_id: str
    cause: Literal["client", "longest", "silence"]
    silence_ms: int
    wait_ms: int
    evidence: dict[str, float]


def extension_events(event: events.Event, *, hidden: bool) -> list[ServerEvent]:
    """What is told of a session's event beyond the protocol's own events. `hidden`: those tell nothing of it, since it
    is about a tool of the server's."""
    match event:
        case events.TranscriptPartial(item_id=item_id, text=text):
            return [PartialTranscriptEvent(item_id=item_id, text=text)]
        case events.TurnTimed(item_id=item_id, response_id=response_id, timeline=timeline):
            return [
                TurnTimelineEvent(
                    item_id=item_id,
                    response_id=response_id,
                    response_ms=timeline.response_ms,
                    parts=timeline.parts(),
                    events=timeline.marks(),
                )
            ]
        case events.TurnEnded(item_id, cause, silence_ms, wait_ms, evidence):
            return [
                TurnEndedEvent(
                    item_id=item_id, cause=cause, silence_ms=silence_ms, wait_ms=wait_ms, evidence=dict(evidence)
                )
            ]
        case events.ResponsePlayed(response_id=response_id):
            return [ResponsePlayedEvent(response_id=response_id)]
        case events.StageFailed(stage=stage, code=code, message=message, endpoint=endpoint):
            return [FailedEvent(stage=stage, code=code, message=message, endpoint=endpoint)]
        case events.Interruption(action=action, reason=reason):
            return [InterruptionEvent(action=action, reason=reason)]
        case events.Speculated(used=used, tokens=tokens):
            return [SpeculationEvent(used=used, tokens=tokens)]
        case events.ResponseThinking(response_id=response_id, text=text):
            return [ThinkingEvent(response_id=response_id, text=text)]
        case events.ToolCalled(response_id=response_id, call=call) if hidden:
            return [
                ToolCalledEvent(
                    response_id=response_id, call_id=call.call_id, name=call.name, arguments=call.arguments or "{}"
                )
            ]
        case events.ItemAdded(item=FunctionOutput(call_id=call_id, output=output)) if hidden:
            return [ToolDoneEvent(call_id=call_id, output=output)]
        case events.ResponseDone(response_id=response_id, usage=usage):
            return [
                ResponseUsageEvent(
                    response_id=response_id,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cached_tokens=usage.cached_tokens,
                    cost=usage.cost,
                    endpoint=usage.endpoint,
                )
            ]
        case _:
            return []


def shortened(event: events.ItemShortened) -> WarningEvent:
    """The warning that an item is longer than what the model may be shown."""
    message = (
        f"The item {event.item_id} has {event.chars} characters: the model is shown its beginning and its end only."
    )
    return WarningEvent(code="item_shortened", message=message, param="item.content", client_event_id=None)
