"""Client events of OpenAI Realtime: what a client may send, and the error for a message that is none of these."""

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.json import Decoder

from voiceagent.channels.realtime.audio import AudioFormat
from voiceagent.channels.realtime.items import GivenItem
from voiceagent.channels.realtime.session_object import MaxTokens, SessionPatch
from voiceagent.channels.realtime.tools import Name, ToolChoice, Tools
from voiceagent.errors import Refused
from voiceagent.session import commands
from voiceagent.session.options import Modality

MAX_ID = 512
MAX_MS = 2**31 - 1
"""A truncation's position is clamped to this; the session clamps it to the item's real length."""
MAX_INPUT = 2000
"""Items of a response's own input, as many as a conversation keeps."""
MAX_WORDS = 10_000
"""Characters of a set text: ten minutes of speech."""
EventId = Annotated[str, Meta(max_length=MAX_ID)]
MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)]
"""Limits as OpenAI documents them."""


class ClientEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    """`event_id` is the client's own, which an error names."""

    event_id: EventId | None = None

    def command(self) -> commands.Command | None:
        """What the session is to do, for an event that says so by itself; None for one without effect. Events that need
        more, such as the session's audio format, are carried out by the protocol."""
        return None


class SessionUpdate(ClientEvent, frozen=True, tag="session.update"):
    session: SessionPatch


class InputAudioAppend(ClientEvent, frozen=True, tag="input_audio_buffer.append"):
    audio: bytes


class InputAudioCommit(ClientEvent, frozen=True, tag="input_audio_buffer.commit"):
    def command(self) -> commands.Command:
        return commands.CommitAudio()


class InputAudioClear(ClientEvent, frozen=True, tag="input_audio_buffer.clear"):
    def command(self) -> commands.Command:
        return commands.ClearAudio()


class ItemCreate(ClientEvent, frozen=True, tag="conversation.item.create"):
    item: GivenItem
    previous_item_id: Name | None = None


class ItemRetrieve(ClientEvent, frozen=True, tag="conversation.item.retrieve"):
    item_id: Name

    def command(self) -> commands.Command:
        return commands.RetrieveItem(self.item_id)


class ItemTruncate(ClientEvent, frozen=True, tag="conversation.item.truncate"):
    """`content_index` is not read: an item of ours has one part."""

    item_id: Name
    audio_end_ms: int

    def command(self) -> commands.Command:
        return commands.TruncateItem(self.item_id, min(max(self.audio_end_ms, 0), MAX_MS))


class ItemDelete(ClientEvent, frozen=True, tag="conversation.item.delete"):
    item_id: Name

    def command(self) -> commands.Command:
        return commands.DeleteItem(self.item_id)


class ResponseOutputParam(Struct, frozen=True):
    format: AudioFormat | None = None


class ResponseAudioParam(Struct, frozen=True):
    output: ResponseOutputParam | None = None


class ResponseExtension(Struct, frozen=True):
    """Our own key of a response. No voice interrupts a `protected` one; with `words` just these are said."""

    protected: bool = False
    words: Annotated[str, Meta(min_length=1, max_length=MAX_WORDS)] | None = None


class ResponseParams(Struct, frozen=True):
    """Null and left out mean the same: as the session has it. What a session has one of for all its responses (voice,
    prompt, effort, whether calls may be parallel) is not read."""

    instructions: str | None = None
    output_modalities: list[Modality] | None = None
    max_output_tokens: MaxTokens | None = None
    audio: ResponseAudioParam | None = None
    conversation: str | None = None
    input: Annotated[list[GivenItem], Meta(max_length=MAX_INPUT)] | None = None
    metadata: Metadata | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    voiceagent: ResponseExtension | None = None


class ResponseCreate(ClientEvent, frozen=True, tag="response.create"):
    response: ResponseParams | None = None


class ResponseCancel(ClientEvent, frozen=True, tag="response.cancel"):
    response_id: Name | None = None

    def command(self) -> commands.Command:
        return commands.CancelResponse(self.response_id)


class OutputAudioClear(ClientEvent, frozen=True, tag="output_audio_buffer.clear"):
    """For WebRTC and SIP, where the server holds what is played. Over WebSocket the client itself does: no effect."""


AnyRequest = (
    SessionUpdate
    | InputAudioAppend
    | InputAudioCommit
    | InputAudioClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
    | OutputAudioClear
)


T = TypeVar("T")


class _ClientEventHead(Struct, frozen=True):
    event_id: str | None = None


_REQUEST: Decoder[AnyRequest] = Decoder(AnyRequest)
_HEAD = Decoder(_ClientEventHead)
_PLACE = re.compile(r" - at (`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `([^`]+)`")
_VALUE = re.compile(" value .*", re.DOTALL)


def decode(text: str) -> AnyRequest:
    """A client's message. Raises Refused."""
    return decode_with(_REQUEST, text)


def decode_with(decoder: Decoder[T], text: str | bytes) -> T:
    """Raises Refused for anything but what is wanted; its message never repeats what the client wrote."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (ValueError, RecursionError):  # no JSON, lone surrogates, nested too deeply
        raise Refused("invalid_json", "The message is not valid JSON.") from None


def event_id_of(text: str) -> str | None:
    """The client's id of a message that could not be decoded, as far as it can be read."""
    try:
        event_id = _HEAD.decode(text).event_id
    except (ValueError, RecursionError):
        return None
    return event_id if event_id is None or len(event_id) <= MAX_ID else None


def _invalid(problem: str) -> Refused:
    """msgspec's message in the words of the protocol."""
    place = _PLACE.search(problem)
    what = problem[: place.start()] if place else problem
    param = place["path"] if place else ""
    if missing := _MISSING.match(what):
        param = f"{param}.{missing[1]}" if param else missing[1]
        return Refused("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    if param == "type":
        return Refused("invalid_value", "Unknown event type.", param)
    wrong_type = what.startswith("Expected") and not re.search("[<>]=|of length|matching", what)
    what = _VALUE.sub(" value", what).replace("`", "'")
    return Refused("invalid_type" if wrong_type else "invalid_value", f"{what}.", param or None)
