"""Whole turns as OpenAI Realtime tells them, in the order that clients rely on."""

import base64
from dataclasses import replace
from typing import cast

from tests.support.realtime.wire import DONE, PCM, Json, agent, begin, protocol, tell, types, update
from voiceagent.session import events
from voiceagent.session.conversation import Item, Part

USER = Item("item_u", "user", (Part("audio", ""),))

HEARD: list[events.Event] = [
    events.SpeechStarted("item_u", 320),
    events.SpeechStopped("item_u", 1480),
    events.AudioCommitted("item_u", None),
    events.ItemAdded(USER, None),
    events.ItemDone(USER, None),
]
HEARD_TYPES = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
BEGUN_TYPES = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
SPOKEN_TYPES = [*BEGUN_TYPES, "response.output_audio_transcript.delta", "response.output_audio.delta"]
SAID_TYPES = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


def test_a_voice_turn() -> None:
    realtime = protocol()
    update(realtime, audio={"input": {"transcription": {"model": "whisper-1"}}})
    heard = tell(realtime, *HEARD, events.TranscriptDone("item_u", "你好", 1.16))
    assert types(heard) == [
        *HEARD_TYPES,
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert heard[0] == {
        "type": "input_audio_buffer.speech_started",
        "event_id": heard[0]["event_id"],
        "audio_start_ms": 320,
        "item_id": "item_u",
    }
    assert heard[1]["audio_end_ms"] == 1480
    assert heard[2]["previous_item_id"] is None
    assert heard[3]["item"] == {
        "id": "item_u",
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": ""}],
    }
    assert (heard[5]["delta"], heard[5]["content_index"]) == ("你好", 0)
    assert (heard[6]["transcript"], heard[6]["usage"]) == ("你好", {"type": "duration", "seconds": 1.16})

    said = tell(realtime, *begin(), events.ResponseAudio("resp_1", "item_a", PCM), DONE)
    assert types(said) == SPOKEN_TYPES + SAID_TYPES
    created, added = cast(Json, said[0]["response"]), cast(Json, said[1]["item"])
    assert created == {
        "id": "resp_1",
        "object": "realtime.response",
        "status": "in_progress",
        "status_details": None,
        "output": [],
        "conversation_id": "conv_1",
        "output_modalities": ["audio"],
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "default"}},
        "max_output_tokens": "inf",
        "metadata": None,
        "usage": None,
    }
    assert (added["status"], added["content"]) == ("in_progress", [])
    assert said[2]["previous_item_id"] == "item_u"
    assert said[3]["part"] == {"type": "audio", "transcript": ""}
    assert base64.b64decode(str(said[5]["delta"])) == PCM.tobytes()
    assert said[7]["transcript"] == "你好, friend."
    assert said[8]["part"] == {"type": "audio", "transcript": "你好, friend."}
    done = cast(Json, said[11]["response"])
    assert done["status"] == "completed"
    assert done["status_details"] is None
    assert done["output"] == [said[9]["item"]] == [said[10]["item"]]
    assert said[9]["item"] == {
        "id": "item_a",
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_audio", "transcript": "你好, friend."}],
    }
    ids = {(event["response_id"], event.get("item_id", "item_a"), event["output_index"]) for event in said[3:9]}
    assert ids == {("resp_1", "item_a", 0)}


def test_a_text_turn() -> None:
    realtime = protocol()
    typed = Item("mine", "user", (Part("text", "hi"),))
    told = tell(
        realtime,
        events.ItemAdded(typed, "item_0"),
        events.ItemDone(typed, "item_0"),
        *begin("text"),
        events.ResponseText("resp_1", "item_a", "friend."),
        replace(DONE, item=agent("text", "你好, friend.")),
    )
    assert types(told) == [
        "conversation.item.added",
        "conversation.item.done",
        *BEGUN_TYPES,
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert cast(Json, told[0]["item"])["content"] == [{"type": "input_text", "text": "hi"}]
    assert told[5]["part"] == {"type": "text", "text": ""}
    assert told[8]["text"] == "你好, friend."
    assert told[9]["part"] == {"type": "text", "text": "你好, friend."}
    assert cast(Json, told[10]["item"])["content"] == [{"type": "output_text", "text": "你好, friend."}]
    assert cast(Json, told[12]["response"])["output_modalities"] == ["text"]


def test_a_barge_in() -> None:
    realtime = protocol()
    audio = events.ResponseAudio("resp_1", "item_a", PCM)
    cut = replace(DONE, item=agent("audio", "你好,", "incomplete"), status="cancelled", reason="turn_detected")
    told = tell(
        realtime,
        *HEARD,
        *begin(),
        audio,
        events.SpeechStarted("item_u2", 2000),
        cut,
        audio,
        events.ResponseText("resp_1", "item_a", "late"),
        events.ItemTruncated("item_a", 700),
        events.SpeechStopped("item_u2", 2900),
        events.AudioCommitted("item_u2", "item_a"),
    )
    assert types(told) == [
        *HEARD_TYPES,
        *SPOKEN_TYPES,
        "input_audio_buffer.speech_started",
        *SAID_TYPES,
        "conversation.item.truncated",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]
    done = cast(Json, told[17]["response"])
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert cast(list[Json], done["output"])[0]["status"] == "incomplete"
    assert (told[18]["item_id"], told[18]["content_index"], told[18]["audio_end_ms"]) == ("item_a", 0, 700)
    assert told[20]["previous_item_id"] == "item_a"


def test_a_reply_outside_the_conversation() -> None:
    told = tell(protocol(), *begin(stored=False), events.ResponseAudio("resp_1", "item_a", PCM), DONE)
    inside = {"conversation.item.added", "conversation.item.done"}
    assert types(told) == [kind for kind in SPOKEN_TYPES + SAID_TYPES if kind not in inside]
    assert cast(Json, told[0]["response"])["conversation_id"] is None
    assert cast(Json, told[-1]["response"])["conversation_id"] is None


def test_a_reply_that_never_got_a_word_out() -> None:
    started = events.ResponseStarted("resp_1", "audio", 50, True, {"client_event_id": "c1"})
    failed = replace(DONE, item=None, status="failed", error_code="timeout", error_message="The model did not answer.")
    created, done = tell(protocol(), started, failed)
    assert cast(Json, created["response"])["metadata"] == {"client_event_id": "c1"}
    response = cast(Json, done["response"])
    assert response["output"] == []
    assert response["metadata"] == {"client_event_id": "c1"}
    assert response["max_output_tokens"] == 50
    assert response["status_details"] == {
        "type": "failed",
        "error": {"type": "server_error", "code": "timeout", "message": "The model did not answer."},
    }
