"""Whatever arrives, the protocol answers with commands and valid events, few of them, and never raises."""

import copy
import json
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tests.support.realtime.wire import Json, asked, protocol, say, sent
from voiceagent.errors import Refused
from voiceagent.session import commands

VALID: list[Json] = [
    {
        "type": "session.update",
        "event_id": "e",
        "session": {
            "type": "realtime",
            "model": "m",
            "instructions": "i",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 500,
                        "idle_timeout_ms": 6000,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                    "transcription": {"model": "m", "language": "zh", "prompt": "p", "keywords": ["k"], "delay": "low"},
                    "noise_reduction": {"type": "near_field", "strength": 0.5},
                },
                "output": {"format": {"type": "audio/pcmu"}, "voice": {"id": "v"}, "speed": 1.2},
            },
            "tools": [
                {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
            ],
            "tool_choice": {"type": "function", "name": "f"},
            "max_output_tokens": 100,
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 9}},
            "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {}},
            "include": ["item.input_audio_transcription.logprobs"],
            "prompt": {"id": "p", "version": "1", "variables": {"a": "b"}},
            "parallel_tool_calls": True,
            "reasoning": {"effort": "low"},
            "voiceagent": {"events": True},
        },
    },
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": {}}}}},
    {"type": "input_audio_buffer.append", "audio": "AAAAAA=="},
    {"type": "input_audio_buffer.commit", "event_id": "e"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {
            "type": "message",
            "id": "i",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_text", "text": "t"}, {"type": "input_audio", "transcript": "t"}],
        },
    },
    {"type": "conversation.item.retrieve", "item_id": "i"},
    {"type": "conversation.item.delete", "item_id": "i"},
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 5},
    {
        "type": "response.create",
        "response": {
            "instructions": "i",
            "output_modalities": ["text"],
            "max_output_tokens": "inf",
            "conversation": "none",
            "input": [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": "t"}]}],
            "metadata": {"k": "v"},
            "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "v"}},
        },
    },
    {"type": "response.cancel", "response_id": "r"},
    {
        "type": "session.update",
        "session": {
            "type": "transcription",
            "audio": {"input": {"transcription": {"model": "m", "language": "zh"}}},
            "include": ["item.input_audio_transcription.logprobs"],
        },
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "id": "c", "call_id": "call", "name": "f", "arguments": "{}"},
    },
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "call", "output": "{}"}},
    {
        "type": "response.create",
        "response": {
            "tools": [{"type": "function", "name": "g", "parameters": {"type": "object"}}],
            "tool_choice": {"type": "function", "name": "g"},
            "input": [
                {"type": "item_reference", "id": "i"},
                {"type": "function_call", "call_id": "call", "name": "f", "arguments": ""},
                {"type": "function_call_output", "call_id": "call", "output": ""},
            ],
            "voiceagent": {"protected": True, "words": "w"},
        },
    },
]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
WORDS = st.sampled_from(
    [
        *("audio/pcma", "semantic_vad", "none", "auto", "message", "assistant", "input_image", "", "text", "realtime"),
        *("transcription", "function_call", "function_call_output", "item_reference", "mcp", "required", "function"),
    ]
)
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: object) -> list[tuple[object, object]]:
    """Every (container, key) of a JSON value."""
    if isinstance(value, dict):
        keys: list[object] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return []
    inner = cast(dict[object, object], value)
    return [(value, key) for key in keys] + [place for key in keys for place in places(inner[key])]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid event with one to three values replaced or removed, or its text cut."""
    event = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(event) or [({"type": None}, "type")]))
        inner = cast(dict[object, object], container)
        if draw(st.booleans()):
            inner[key] = draw(VALUES)
        else:
            del inner[key]
    text = json.dumps(event)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@given(st.lists(mutated() | st.text() | st.binary() | VALUES.map(json.dumps), min_size=1, max_size=4))
def test_nothing_that_arrives_breaks_it(frames: list[str | bytes]) -> None:
    realtime = protocol()
    for frame in frames:
        actions = realtime.receive(frame)
        assert len(actions) <= 3
        answers = sent(actions)
        assert len(answers) + len(asked(actions)) == len(actions)
        for command in asked(actions):  # the session knows no item
            if isinstance(command, commands.RetrieveItem):
                realtime.refuse(Refused("item_retrieve_invalid_item_id", ""), None)
    assert asked(say(realtime, "response.cancel")) == [commands.CancelResponse()]


def test_the_events_that_are_mutated_are_valid() -> None:
    for event in VALID:
        answers = sent(protocol().receive(json.dumps(event)))
        assert [answer["type"] for answer in answers if answer["type"] != "session.updated"] == []
