"""A strict OpenAI Realtime client for tests: reads frames as the official package and the pickiest clients would."""

import base64
import itertools
import json
from collections.abc import Iterable
from typing import cast

import numpy as np
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

from voiceagent.channels.base import Action, Execute, Frame, Send
from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.channels.realtime.session_object import SessionPatch, SessionType
from voiceagent.session import events
from voiceagent.session.commands import Command
from voiceagent.session.conversation import Item, ItemStatus, Part
from voiceagent.session.options import Modality, SessionOptions

Json = dict[str, object]

_OFFICIAL: TypeAdapter[BaseModel] = TypeAdapter(RealtimeServerEvent)
_KNOWN_EXTRAS = {"id", "object", "expires_at", "voiceagent"}
"""Keys of the session that the package's types do not name but real servers (or we) send."""
_ITEM_PARTS = {
    "user": {"input_text", "input_audio"},
    "assistant": {"output_text", "output_audio"},
    "system": {"input_text"},
}


def protocol(
    defaults: SessionOptions | None = None, *, kind: SessionType = "realtime", given: SessionPatch | None = None
) -> RealtimeProtocol:
    """A protocol whose ids count up, so that frames can be compared."""
    numbers = itertools.count(1)
    return RealtimeProtocol(
        session_id="sess_1",
        model="voiceagent",
        defaults=defaults or SessionOptions(instructions="Be brief."),
        expires_at=1_800_000_000,
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        kind=kind,
        given=given,
    )


def extra_keys(value: object) -> set[str]:
    """Keys that the official types do not know."""
    if isinstance(value, BaseModel):
        inner = [getattr(value, name) for name in type(value).model_fields]
        return set(value.model_extra or {}).union(*map(extra_keys, inner))
    if isinstance(value, list):
        return set().union(*map(extra_keys, value))
    return set()


def read(frame: Frame) -> Json:
    """One event, refused unless every known client would understand it."""
    assert isinstance(frame, str)
    event = cast(Json, json.loads(frame))
    assert isinstance(event["event_id"], str)
    assert event["event_id"]
    if not str(event["type"]).startswith("voiceagent."):
        parsed = _OFFICIAL.validate_json(frame, strict=True)
        assert extra_keys(parsed) <= _KNOWN_EXTRAS
        assert parsed.model_dump(include={"type"}) == {"type": event["type"]}
    check_items(event)
    if "session" in event:
        check_session(cast(Json, event["session"]))
    return event


def check_items(value: object) -> None:
    """agents-js ignores items and parts with a null in them or with the other place's part types."""
    if isinstance(value, list):
        for entry in value:
            check_items(entry)
    if not isinstance(value, dict):
        return
    if value.get("object") == "realtime.item":
        assert None not in value.values()
        assert value["type"] == "message" or "content" not in value
        for part in value.get("content", ()):
            assert None not in part.values()
            assert part["type"] in _ITEM_PARTS[value["role"]]
            assert ("text" if part["type"].endswith("text") else "transcript") in part
    if "part" in value:
        part = value["part"]
        assert None not in part.values()
        assert set(part) == ({"type", "text"} if part["type"] == "text" else {"type", "transcript"})
    for entry in value.values():
        check_items(entry)


def check_session(session: Json) -> None:
    """Pipecat ends the talk on a session whose parts it does not know, and wants every key to be there."""
    audio = cast(dict[str, Json], session["audio"])
    if session["type"] == "transcription":  # which Pipecat does not ask for
        assert set(session) - {"voiceagent"} == {"type", "object", "id", "expires_at", "audio", "include"}
        assert set(audio) == {"input"}
        return
    given, output = audio["input"], audio["output"]
    assert set(session) - {"voiceagent"} == {
        *("type", "object", "id", "expires_at", "model", "instructions", "output_modalities", "audio", "tools"),
        *("tool_choice", "max_output_tokens", "truncation", "tracing", "include", "prompt", "parallel_tool_calls"),
        "reasoning",
    }
    assert set(given) == {"format", "turn_detection", "transcription", "noise_reduction"}
    assert set(output) == {"format", "voice", "speed"}
    if given["transcription"] is not None:
        assert set(cast(Json, given["transcription"])) == {"model", "language", "prompt"}
    if given["noise_reduction"] is not None:
        assert "type" in cast(Json, given["noise_reduction"])


def sent(actions: Iterable[Action]) -> list[Json]:
    return [read(action.frame) for action in actions if isinstance(action, Send)]


def asked(actions: Iterable[Action]) -> list[Command]:
    return [action.command for action in actions if isinstance(action, Execute)]


def say(to: RealtimeProtocol, kind: str, **fields: object) -> list[Action]:
    return to.receive(json.dumps({"type": kind, **fields}))


def update(to: RealtimeProtocol, **session: object) -> Json:
    """Change the session; returns it as answered."""
    (answer,) = sent(say(to, "session.update", session={"type": "realtime", **session}))
    assert answer["type"] == "session.updated", answer
    return cast(Json, answer["session"])


def error(actions: Iterable[Action]) -> Json:
    """The one error event these actions consist of."""
    actions = list(actions)
    (event,) = sent(actions)
    assert len(actions) == 1
    assert event["type"] == "error", event
    return cast(Json, event["error"])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tell(realtime: RealtimeProtocol, *told: events.Event) -> list[Json]:
    return [read(cast(Frame, frame)) for event in told for frame in realtime.encode(event)]


def types(told: list[Json]) -> list[object]:
    return [event["type"] for event in told]


PCM = np.arange(-480, 480, dtype=np.int16)
"""40 ms at 24 kHz."""


def agent(kind: Modality, text: str, status: ItemStatus = "completed") -> Item:
    return Item("item_a", "assistant", (Part(kind, text),), status)


def begin(kind: Modality = "audio", *, stored: bool = True) -> list[events.Event]:
    """A reply up to its first words."""
    return [
        events.ResponseStarted("resp_1", kind, None, stored, {}),
        events.ResponseItemAdded("resp_1", Item("item_a", "assistant", (), "in_progress"), "item_u"),
        events.ResponseText("resp_1", "item_a", "你好, "),
    ]


DONE = events.ResponseDone("resp_1", agent("audio", "你好, friend."), "item_u", "completed")
"""How the reply that `begin` began ends."""
