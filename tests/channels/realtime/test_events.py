"""What OpenAI Realtime is told of a talk: every event by itself."""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
from pydantic import ValidationError

from tests.support.realtime.wire import DONE, PCM, Json, begin, protocol, read, tell, types, update
from voiceagent.audio import g711
from voiceagent.audio.pcm import Pcm, silence
from voiceagent.channels.base import EndReason
from voiceagent.session import events
from voiceagent.session.conversation import Item, Part
from voiceagent.session.timeline import Timeline


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("cancelled", "client_cancelled"),
        ("incomplete", "max_output_tokens"),
        ("incomplete", "content_filter"),
        ("failed", None),
    ],
)
def test_how_a_reply_ended(status: events.ResponseStatus, reason: events.ResponseReason | None) -> None:
    told = tell(protocol(), *begin(), replace(DONE, status=status, reason=reason))
    details = cast(Json, cast(Json, told[-1]["response"])["status_details"])
    assert details["type"] == status
    assert details.get("reason") == reason
    assert ("error" in details) == (status == "failed")


def test_usage() -> None:
    told = tell(protocol(), *begin(), replace(DONE, usage=events.TokenUsage(120, 30, 100)))
    assert cast(Json, told[-1]["response"])["usage"] == {
        "total_tokens": 150,
        "input_tokens": 120,
        "output_tokens": 30,
        "input_token_details": {
            "text_tokens": 120,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 100,
            "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 0},
    }


@pytest.mark.parametrize(("kind", "coded"), [("pcmu", g711.encode_ulaw), ("pcma", g711.encode_alaw)])
def test_g711_out(kind: str, coded: Callable[[Pcm], bytes]) -> None:
    realtime = protocol()
    update(realtime, audio={"output": {"format": {"type": f"audio/{kind}"}}})
    told = tell(realtime, *begin(), events.ResponseAudio("resp_1", "item_a", PCM))
    assert base64.b64decode(str(told[-1]["delta"])) == coded(PCM)
    output = cast(dict[str, Json], cast(Json, told[0]["response"])["audio"])["output"]
    assert output["format"] == {"type": f"audio/{kind}"}


def test_a_reply_keeps_the_format_it_began_with() -> None:
    realtime = protocol()
    tell(realtime, *begin())
    update(realtime, audio={"output": {"format": {"type": "audio/pcmu"}}})
    (delta,) = tell(realtime, events.ResponseAudio("resp_1", "item_a", PCM))
    assert base64.b64decode(str(delta["delta"])) == PCM.tobytes()
    done = tell(realtime, DONE)[-1]
    assert "pcmu" not in str(done)


def test_a_voice_with_an_id_is_a_string_in_responses() -> None:
    realtime = protocol()
    update(realtime, audio={"output": {"voice": {"id": "v_1"}}})
    (created,) = tell(realtime, begin()[0])
    assert cast(dict[str, Json], cast(Json, created["response"])["audio"])["output"]["voice"] == "v_1"


def test_nothing_is_sent_for_nothing() -> None:
    realtime = protocol()
    tell(realtime, *begin())
    assert tell(realtime, events.ResponseText("resp_1", "item_a", "")) == []
    assert tell(realtime, events.ResponseAudio("resp_1", "item_a", silence(0))) == []


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (events.AudioCleared(), {"type": "input_audio_buffer.cleared"}),
        (events.ItemDeleted("i"), {"type": "conversation.item.deleted", "item_id": "i"}),
        (
            events.ItemTruncated("i", 5),
            {"type": "conversation.item.truncated", "item_id": "i", "content_index": 0, "audio_end_ms": 5},
        ),
    ],
)
def test_plain_events(event: events.Event, told: Json) -> None:
    assert tell(protocol(), event) == [{**told, "event_id": "event_2"}]


@pytest.mark.parametrize(
    ("item", "content"),
    [
        (Item("i", "system", (Part("text", "s"),)), [{"type": "input_text", "text": "s"}]),
        (Item("i", "user", (Part("audio", "u"),)), [{"type": "input_audio", "transcript": "u"}]),
        (Item("i", "assistant", (Part("audio", "a"),)), [{"type": "output_audio", "transcript": "a"}]),
        (
            Item("i", "assistant", (Part("text", "a"), Part("text", "b")), "incomplete"),
            [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
        ),
    ],
)
def test_retrieved_items(item: Item, content: list[Json]) -> None:
    (told,) = tell(protocol(), events.ItemRetrieved(item))
    assert told["type"] == "conversation.item.retrieved"
    shown = cast(Json, told["item"])
    assert (shown["id"], shown["role"], shown["status"]) == ("i", item.role, item.status)
    assert shown["content"] == content


def test_transcripts_are_told_only_when_asked_for() -> None:
    realtime = protocol()
    done = events.TranscriptDone("item_u", "hi", 0.5)
    failed = events.TranscriptFailed("item_u", "timeout", "Nothing was understood in time.")
    assert tell(realtime, done, failed) == []
    update(realtime, audio={"input": {"transcription": {"model": "any"}}})
    told = tell(realtime, done, events.TranscriptDone("item_u", "", 0.5), failed)
    assert [str(kind).rpartition(".")[2] for kind in types(told)] == ["delta", "completed", "completed", "failed"]
    assert told[2]["transcript"] == ""
    assert told[3]["error"] == {
        "type": "server_error",
        "code": "timeout",
        "message": "Nothing was understood in time.",
    }
    assert told[3]["content_index"] == 0


def test_our_own_events_are_told_only_when_asked_for() -> None:
    realtime = protocol()
    more: list[events.Event] = [
        events.TranscriptPartial("item_u", "你"),
        events.TurnTimed("item_u", "resp_1", Timeline(speech_end=1.0, committed=1.3, first_audio=1.5)),
        events.TurnTimed("item_u", "resp_1", Timeline()),
        events.ResponsePlayed("resp_1"),
    ]
    assert tell(realtime, *more) == []
    update(realtime, voiceagent={"events": True})
    for event in (told := tell(realtime, *more)):
        del event["event_id"]
    assert told == [
        {"type": "voiceagent.transcript.partial", "item_id": "item_u", "text": "你"},
        {
            "type": "voiceagent.timeline",
            "item_id": "item_u",
            "response_id": "resp_1",
            "response_ms": 500,
            "parts": {"endpointing": 300, "tts_first_audio": 200},
            "events": {"speech_end": 0, "committed": 300, "first_audio": 500},
        },
        {
            "type": "voiceagent.timeline",
            "item_id": "item_u",
            "response_id": "resp_1",
            "response_ms": None,
            "parts": {},
            "events": {},
        },
        {"type": "voiceagent.response.played", "response_id": "resp_1"},
    ]


@pytest.mark.parametrize(
    ("reason", "error", "close"),
    [
        ("finished", None, 1000),
        ("draining", None, 1001),
        ("idle", ("invalid_request_error", "session_idle"), 1001),
        ("expired", ("invalid_request_error", "session_expired"), 1001),
        ("too_slow", None, 1008),
        ("internal_error", ("server_error", "internal_error"), 1011),
    ],
)
def test_the_end(reason: EndReason, error: tuple[str, str] | None, close: int) -> None:
    frames, code = protocol().end(reason)
    told = [cast(Json, read(frame)["error"]) for frame in frames]
    assert [(event["type"], event["code"]) for event in told] == ([] if error is None else [error])
    assert code == close


def test_ids_of_events_differ() -> None:
    told = tell(protocol(), events.AudioCleared(), *begin(), events.ResponseAudio("resp_1", "item_a", PCM), DONE)
    assert len({event["event_id"] for event in told}) == len(told)


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "input_audio_buffer.cleared"}',
        '{"type": "input_audio_buffer.cleared", "event_id": "e", "extra": 1}',
        '{"type": "input_audio_buffer.speech_started", "event_id": "e", "item_id": "i", "audio_start_ms": 1.0}',
        '{"type": "conversation.item.deleted", "event_id": "e"}',
        '{"type": "response.audio.delta", "event_id": "e"}',
        '{"type": "conversation.item.retrieved", "event_id": "e", "item": {"id": "i", "object": "realtime.item", '
        '"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": null}]}}',
        '{"type": "conversation.item.retrieved", "event_id": "e", "item": {"id": "i", "object": "realtime.item", '
        '"type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": ""}]}}',
    ],
)
def test_the_strict_client_of_these_tests_is_strict(frame: str) -> None:
    with pytest.raises((AssertionError, KeyError, ValidationError)):
        read(frame)
