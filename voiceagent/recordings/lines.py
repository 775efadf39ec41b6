"""Lines of a recording: the events of a session as JSON, `{"at": milliseconds on the recording's axis, "type": …,
…}`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TypeAlias

import msgspec

from voiceagent.session import events as ev
from voiceagent.session.conversation import AnyItem, FunctionCall, FunctionOutput, Item

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Line: TypeAlias = dict[str, Json]

VERSION = 1
"""Of what the lines mean."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(dict[str, object])


def encode(at_ms: int, line: Mapping[str, Json]) -> bytes:
    return _ENCODER.encode({"at": at_ms, **line}) + b"\n"


def decode(data: bytes) -> dict[str, object] | None:
    """A line; None for one that was cut off."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError:
        return None


def told(event: ev.Event) -> Line | None:
    """A session's event; None for those that are sound, or told by others."""
    match event:
        case (
            ev.ResponseStarted() | ev.ResponseItemAdded() | ev.ResponseText() | ev.ResponseDone() | ev.ResponsePlayed()
        ):
            return _of_reply(event)
        case ev.SpeechStarted(item_id=item, at_ms=at_ms):
            return {"type": "speech_started", "item": item, "audio_ms": at_ms}
        case ev.SpeechStopped(item_id=item, at_ms=at_ms):
            return {"type": "speech_stopped", "item": item, "audio_ms": at_ms}
        case ev.AudioCommitted(item_id=item):
            return {"type": "committed", "item": item}
        case ev.TurnEnded(item_id=item, cause=cause, silence_ms=silence_ms, wait_ms=wait_ms, evidence=evidence):
            return {
                "type": "turn_ended",
                "item": item,
                "cause": cause,
                "silence_ms": silence_ms,
                "wait_ms": wait_ms,
                "evidence": {rule: round(weight, 3) for rule, weight in evidence.items()},
            }
        case ev.TranscriptDone(item_id=item, seconds=seconds):
            return {"type": "transcribed", "item": item, "seconds": round(seconds, 3)}
        case ev.TranscriptFailed(item_id=item, code=code):
            return {"type": "transcript_failed", "item": item, "code": code}
        case ev.ItemDeleted(item_id=item):
            return {"type": "deleted", "item": item}
        case ev.ItemTruncated(item_id=item, audio_end_ms=end):
            return {"type": "truncated", "item": item, "audio_end_ms": end}
        case ev.ToolCalled(response_id=reply, call=call):
            return {
                "type": "tool_called",
                "reply": reply,
                "call": call.call_id,
                "name": call.name,
                "arguments": call.arguments,
            }
        case ev.IdleTimeoutTriggered():
            return {"type": "idle"}
        case ev.TurnTimed(item_id=item, response_id=reply, timeline=timeline):
            return {
                "type": "timeline",
                "item": item,
                "reply": reply,
                "response_ms": timeline.response_ms,
                "parts": dict(timeline.parts()),
                "marks": dict(timeline.marks()),
            }
        case ev.Speculated(used=used, tokens=tokens):
            return {"type": "speculation", "used": used, "tokens": tokens}
        case ev.StageFailed(stage=stage, code=code, message=message, endpoint=endpoint):
            return {"type": "failed", "stage": stage, "code": code, "message": message, "endpoint": endpoint}
        case ev.Interruption(action=action, reason=reason):
            return {"type": "interruption", "action": action, "reason": reason}
        case _:
            return None


def _of_reply(
    event: ev.ResponseStarted | ev.ResponseItemAdded | ev.ResponseText | ev.ResponseDone | ev.ResponsePlayed,
) -> Line:
    match event:
        case ev.ResponseStarted(response_id=reply, modality=modality):
            return {"type": "reply_started", "reply": reply, "modality": modality}
        case ev.ResponseItemAdded(response_id=reply, item=item):
            return {"type": "reply_item", "reply": reply, "item": item.id}
        case ev.ResponseText(response_id=reply, item_id=item_id, text=text):
            return {"type": "reply_text", "reply": reply, "item": item_id, "text": text}
        case ev.ResponsePlayed(response_id=reply):
            return {"type": "reply_played", "reply": reply}
        case ev.ResponseDone():
            return {
                "type": "reply_done",
                "reply": event.response_id,
                "item": event.item.id if event.item else None,
                "text": event.item.text if event.item else "",
                "status": event.status,
                "reason": event.reason,
                "error": event.error_code,
                "usage": asdict(event.usage),
            }


def noted(item: AnyItem) -> Line | None:
    """An item as conversation and memory now have it; a later line replaces an earlier one of the same item. An
    assistant's text is what was heard of it. None for a call, which is told by its reply."""
    match item:
        case Item():
            return {"type": "item", "item": item.id, "role": item.role, "text": item.text, "status": item.status}
        case FunctionCall():
            return None
        case FunctionOutput():
            return {"type": "tool_output", "call": item.call_id, "output": item.output}
