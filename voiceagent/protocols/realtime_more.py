"""The `voiceagent.*` events: what OpenAI's protocol has no words for, told to clients that asked for it.

A client asks by `session.update` with `session.voiceagent.events` true. No known client minds them; see docs/page.md.
"""

from typing import Literal

from voiceagent.protocols.realtime_events import PartialTranscript, ResponsePlayed, ServerEvent, TurnTimeline
from voiceagent.session import events


class Interruption(ServerEvent, tag="voiceagent.interruption"):
    """What was decided of a voice while the agent talked, and why (`turn.interrupt_step.Reason`)."""

    action: Literal["pause", "confirm", "resume"]
    reason: str


class Speculation(ServerEvent, tag="voiceagent.speculation"):
    """An answer prepared before the turn was over was used, or thrown away with so many tokens."""

    used: bool
    tokens: int


class Thinking(ServerEvent, tag="voiceagent.thinking"):
    """The model reasons before it answers; `text` is what it shows of that, often nothing."""

    response_id: str
    text: str


class ResponseUsage(ServerEvent, tag="voiceagent.usage"):
    """What a response took: tokens as in its response.done, their cost at the configured prices (0.0 without prices),
    and the name of the endpoint that answered."""

    response_id: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float
    endpoint: str


def more(event: events.Event) -> list[ServerEvent]:
    """What is told of a session's event beyond the protocol's own events."""
    match event:
        case events.TranscriptPartial(item_id=item_id, text=text):
            return [PartialTranscript(item_id=item_id, text=text)]
        case events.TurnTimed(item_id=item_id, reply_id=reply_id, timeline=timeline):
            return [
                TurnTimeline(
                    item_id=item_id,
                    response_id=reply_id,
                    response_ms=timeline.response_ms,
                    parts=timeline.parts(),
                    events=timeline.marks(),
                )
            ]
        case events.ReplyPlayed(reply_id=reply_id):
            return [ResponsePlayed(response_id=reply_id)]
        case events.Interruption(action=action, reason=reason):
            return [Interruption(action=action, reason=reason)]
        case events.Speculated(used=used, tokens=tokens):
            return [Speculation(used=used, tokens=tokens)]
        case events.ReplyThinking(reply_id=reply_id, text=text):
            return [Thinking(response_id=reply_id, text=text)]
        case events.ReplyDone(reply_id=reply_id, usage=usage):
            return [
                ResponseUsage(
                    response_id=reply_id,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cached_tokens=usage.cached_tokens,
                    cost=usage.cost,
                    endpoint=usage.endpoint,
                )
            ]
        case _:
            return []
