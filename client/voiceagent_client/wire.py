"""The OpenAI Realtime protocol (GA shape) as a client sees it: what it says, and reading what the server says."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from voiceagent_client.pcm import RATE, Pcm

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

FORMAT: dict[str, Json] = {"type": "audio/pcm", "rate": RATE}
TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
"""The name OpenAI's own clients ask for; compatible servers take it for their own recogniser."""


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """One message to the server."""

    type: str
    fields: Mapping[str, Json] = field(default_factory=dict)

    def encode(self) -> str:
        return json.dumps({"type": self.type, **self.fields}, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What `session.update` asks for; None leaves the server's own choice.

    `transcribe` asks for the user's words in text. `timings` asks a voiceagent server for `voiceagent.*` events; other
    servers may refuse the key. `extra` is laid over the session object, key by key, for all that has no field here.
    """

    instructions: str | None = None
    voice: str | None = None
    language: str | None = None
    transcribe: bool = True
    timings: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)

    def update(self) -> ClientEvent:
        source: dict[str, Json] = {"format": FORMAT}
        sink: dict[str, Json] = {"format": FORMAT}
        session: dict[str, Json] = {"type": "realtime", "audio": {"input": source, "output": sink}}
        if self.transcribe:
            language: dict[str, Json] = {} if self.language is None else {"language": self.language}
            source["transcription"] = {"model": TRANSCRIPTION_MODEL, **language}
        if self.voice is not None:
            sink["voice"] = self.voice
        if self.instructions is not None:
            session["instructions"] = self.instructions
        if self.timings:
            session["voiceagent"] = {"events": True}
        return ClientEvent("session.update", {"session": _overlaid(session, self.extra)})


def _overlaid(below: Mapping[str, Json], above: Mapping[str, Json]) -> dict[str, Json]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = _overlaid(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def append(pcm: Pcm) -> ClientEvent:
    """More of the user's audio."""
    data = base64.b64encode(pcm.astype("<i2", copy=False).tobytes()).decode("ascii")
    return ClientEvent("input_audio_buffer.append", {"audio": data})


def truncate(item_id: str, content_index: int, audio_end_ms: int) -> ClientEvent:
    """Of this item the user has heard so much and no more."""
    return ClientEvent(
        "conversation.item.truncate",
        {"item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms},
    )


def commit() -> ClientEvent:
    """The user's audio so far is a turn of theirs: for sessions without turn detection."""
    return ClientEvent("input_audio_buffer.commit")


def clear() -> ClientEvent:
    """The user's audio that is not committed was nothing."""
    return ClientEvent("input_audio_buffer.clear")


def user_text(text: str, item_id: str | None = None) -> ClientEvent:
    """A turn of the user's, typed, or said in an earlier session under this id."""
    return _message("user", item_id, {"type": "input_text", "text": text})


def agent_text(text: str, item_id: str) -> ClientEvent:
    """A turn of the agent's from an earlier session."""
    return _message("assistant", item_id, {"type": "output_text", "text": text})


def _message(role: str, item_id: str | None, part: dict[str, Json]) -> ClientEvent:
    item: dict[str, Json] = {} if item_id is None else {"id": item_id}
    item |= {"type": "message", "role": role, "content": [part]}
    return ClientEvent("conversation.item.create", {"item": item})


def response_create() -> ClientEvent:
    return ClientEvent("response.create")


def response_cancel() -> ClientEvent:
    return ClientEvent("response.cancel")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One message of the server's. What is missing or of another type than asked for reads as empty: servers
    differ, and no field is worth a broken conversation. A path of names leads into nested objects."""

    type: str
    body: dict[str, Json]

    def value(self, *path: str) -> Json:
        found: Json = self.body
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def text(self, *path: str) -> str:
        found = self.value(*path)
        return found if isinstance(found, str) else ""

    def integer(self, *path: str) -> int | None:
        """A whole number; a float is rounded, since some servers write milliseconds so."""
        found = self.value(*path)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return None
        try:
            return round(found)
        except (OverflowError, ValueError):  # infinity, NaN
            return None

    def objects(self, *path: str) -> list[dict[str, Json]]:
        """The objects of a list."""
        found = self.value(*path)
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def integers(self, *path: str) -> dict[str, int]:
        """The whole numbers of an object."""
        found = self.value(*path)
        numbers = found if isinstance(found, dict) else {}
        return {
            name: value for name, value in numbers.items() if isinstance(value, int) and not isinstance(value, bool)
        }

    def audio(self, *path: str) -> Pcm | None:
        """Base64 PCM; None when it is not that (a half sample at the end is not that either)."""
        try:
            data = base64.b64decode(self.text(*path), validate=True)
            return np.frombuffer(data, dtype="<i2") if data else None
        except (binascii.Error, ValueError):
            return None


def parse(message: str | bytes) -> ServerEvent | None:
    """A message as an event; None when it is not one."""
    if isinstance(message, bytes):
        return None
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        return None
    return ServerEvent(body["type"], body)
