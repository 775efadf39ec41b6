"""Broken and hostile input: no effect, or the end of that connection; never an exception, and the talk can go on."""

import copy
import json
import struct
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.xiaozhi.device import DTX, Device, Json
from tests.support.xiaozhi.line import asked, line, protocol
from voiceagent.channels.base import CloseSocket, Delay, Execute, Frame, Send, SetTimer
from voiceagent.channels.xiaozhi.messages import MAX_MESSAGE
from voiceagent.channels.xiaozhi.protocol import MAX_MALFORMED, XiaozhiProtocol
from voiceagent.channels.xiaozhi.settings import XiaozhiSection
from voiceagent.session import commands, events

V2 = struct.Struct(">HHIII")
DEEP = '{"type":"mcp","payload":' + '{"a":' * 20_000 + "1" + "}" * 20_001

TEXTS: list[tuple[str, str]] = [
    ("empty", ""),
    ("blank", "   "),
    ("a word", "hello"),
    ("half a message", '{"type":"listen"'),
    ("null", "null"),
    ("a number", "7"),
    ("a list", "[1,2]"),
    ("a string", '"listen"'),
    ("no type", "{}"),
    ("a type that is a number", '{"type":7}'),
    ("a type that is null", '{"type":null}'),
    ("a type that is an object", '{"type":{}}'),
    ("a state that is a number", '{"type":"listen","state":7}'),
    ("a text that is a number", '{"type":"listen","state":"detect","text":7}'),
    ("a text that is null", '{"type":"listen","state":"detect","text":null}'),
    ("a mode that is a list", '{"type":"listen","state":"start","mode":["auto"]}'),
    ("a reason that is an object", '{"type":"abort","reason":{}}'),
    ("a version of a thousand digits", '{"type":"hello","version":' + "9" * 1000 + "}"),
    ("a lone surrogate", '{"type":"listen","state":"detect","text":"\\ud800"}'),
    ("a lone surrogate in the type", '{"type":"\\udc00"}'),
    ("NUL", "\x00"),
    ("NUL in a message", '{"type":"abort"}\x00'),
    ("deeply nested", DEEP),
    ("deep lists", "[" * 60_000),
    ("two messages", '{"type":"abort"}{"type":"abort"}'),
    ("a byte order mark", '\ufeff{"type":"abort"}'),
    ("single quotes", "{'type':'abort'}"),
    ("longer than a device can send", json.dumps({"type": "listen", "state": "detect", "text": "x" * MAX_MESSAGE})),
    ("NaN", '{"type":"hello","version":NaN}'),
    ("a huge number", '{"type":"hello","version":1e999}'),
    ("an MCP error without an id", '{"type":"mcp","payload":{"error":{"message":"a "quote""}}}'),
    ("an MCP error with a long id", '{"type":"mcp","payload":{"id":99999999999999,"error":{"message":"a "b""}}}'),
]
BYTES: list[tuple[str, int, bytes]] = [
    ("an empty message", 1, b""),
    ("text", 1, b'\x03{"type":"abort"}'),
    ("no Opus", 1, b"\xff" * 5),
    ("code 3 without a count", 1, b"\x03"),
    ("63 frames in a packet", 1, b"\x03\x3f" + bytes(20)),
    ("longer than a device can send", 1, bytes(MAX_MESSAGE + 1)),
    ("half a head", 2, bytes(9)),
    ("a head alone", 2, V2.pack(2, 0, 0, 0, 0)),
    ("no packet of that length", 2, V2.pack(2, 0, 0, 0, 2**32 - 1) + DTX),
    ("a packet and more", 2, V2.pack(2, 0, 0, 0, 1) + DTX * 9),
    ("another version", 2, V2.pack(3, 0, 0, 0, 1) + DTX),
    ("type JSON", 2, V2.pack(2, 1, 0, 0, 16) + b'{"type":"abort"}'),
    ("a bare packet", 2, DTX),
    ("not Opus in a good frame", 2, V2.pack(2, 0, 0, 0, 5) + b"\xff" * 5),
    ("half a head", 3, bytes(2)),
    ("a head alone", 3, bytes(4)),
    ("no packet of that length", 3, struct.pack(">BBH", 0, 0, 65_535) + DTX),
    ("a packet and more", 3, struct.pack(">BBH", 0, 0, 1) + DTX * 9),
    ("type JSON", 3, struct.pack(">BBH", 1, 0, 2) + b"{}"),
    ("a bare packet", 3, DTX),
]


def test_there_are_enough_of_them() -> None:
    assert len(TEXTS) + len(BYTES) >= 49


def well(device: XiaozhiProtocol, frame: Frame) -> None:
    """It still hears and answers."""
    (append,) = asked(device.receive(frame))
    assert isinstance(append, commands.AppendAudio)
    assert commands.Interrupt(withdraw=True) in asked(device.receive('{"type":"abort"}'))


@pytest.mark.parametrize(("name", "text"), TEXTS, ids=[name for name, _ in TEXTS])
def test_text_that_is_no_message_has_no_effect(name: str, text: str) -> None:
    talk = line(device=Device(mcp=True)).listen()
    assert talk.protocol.receive(text) == []
    well(talk.protocol, DTX)


@pytest.mark.parametrize(("name", "version", "frame"), BYTES, ids=[f"{name} {version}" for name, version, _ in BYTES])
def test_bytes_that_are_no_audio_have_no_effect(name: str, version: int, frame: bytes) -> None:
    talk = line(XiaozhiSection(), device=Device(version=version)).listen()
    assert talk.protocol.receive(frame) == []
    talk.device.outbox.append(talk.device.frame(DTX))
    well(talk.protocol, talk.device.outbox.pop())


@pytest.mark.parametrize("frame", ["nonsense", b"\xff" * 5])
def test_who_sends_nothing_else_is_let_go(frame: Frame) -> None:
    talk = line().listen()
    for _ in range(MAX_MALFORMED):
        assert talk.protocol.receive(frame) == []
    (close,) = talk.protocol.receive(frame)
    assert isinstance(close, CloseSocket)
    assert close.code == 1008
    assert str(frame) not in close.reason


def test_now_and_then_is_forgiven() -> None:
    talk = line().listen()
    for _ in range(5 * MAX_MALFORMED):
        assert talk.protocol.receive(b"\xff" * 5) == []
        talk.protocol.receive(DTX)


def test_nothing_is_kept_of_what_is_sent_for_hours() -> None:
    import tracemalloc

    talk = line(device=Device(mcp=True, version=2, aec=True, mode="realtime")).listen()
    frames: list[Frame] = [
        '{"type":"iot","states":[{"name":"' + "x" * 2_000 + '"}]}',
        '{"type":"mcp","payload":{"id":77,"result":{"tools":[]}}}',
        V2.pack(2, 0, 0, 123_456, 1) + DTX,
        '{"type":"listen","state":"start","mode":"auto"}',
        '{"type":"listen","state":"start","mode":"realtime"}',
        '{"type":"abort"}',
    ]

    def send(times: int) -> None:
        for _ in range(times):
            for frame in frames:
                talk.protocol.receive(frame)

    send(50)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    send(400)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 50_000


# -- by property ------------------------------------------------------------------------------------------------------

VALID: list[Json] = [
    {
        "type": "hello",
        "version": 1,
        "features": {"aec": True, "mcp": True, "glyph_push": True},
        "text_font": {"bundle": "b", "charset": "c", "size": 16, "bpp": 4},
        "transport": "websocket",
        "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
    },
    {"type": "listen", "state": "start", "mode": "auto", "session_id": "s"},
    {"type": "listen", "state": "start", "mode": "manual"},
    {"type": "listen", "state": "stop"},
    {"type": "listen", "state": "detect", "text": "你好小智"},
    {"type": "listen", "state": "detect", "text": "what time is it"},
    {"type": "abort", "reason": "wake_word_detected"},
    {"type": "iot", "descriptors": []},
    {
        "type": "mcp",
        "payload": {"jsonrpc": "2.0", "id": 1, "result": {"serverInfo": {"name": "board", "version": "1.0"}}},
    },
    {
        "type": "mcp",
        "payload": {
            "id": 2,
            "result": {
                "tools": [
                    {
                        "name": "self.a",
                        "description": "d",
                        "inputSchema": {"type": "object", "properties": {"v": {"type": "integer"}}},
                        "annotations": {"audience": ["user"]},
                    }
                ],
                "nextCursor": "self.b",
            },
        },
    },
    {"type": "mcp", "payload": {"id": 3, "result": {"content": [{"type": "text", "text": "t"}], "isError": False}}},
    {"type": "mcp", "payload": {"id": 3, "error": {"message": "m"}}},
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value: object) -> list[tuple[object, object]]:
    """Every (container, key) of a JSON value."""
    keys: list[object] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    inner = cast(dict[object, object], value)
    return [(value, key) for key in keys] + [place for key in keys for place in places(inner[key])]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid message with up to three values replaced or removed, or its text cut."""
    message = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(places(message) or [({"type": None}, "type")]))
        inner = cast(dict[object, object], container)
        if draw(st.booleans()):
            inner[key] = draw(VALUES)
        else:
            del inner[key]
    text = json.dumps(message)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


FRAMES = mutated() | st.text() | st.binary(max_size=300) | st.sampled_from([DTX, V2.pack(2, 0, 0, 60, 1) + DTX])
TOLD = st.sampled_from(
    [
        events.ResponseStarted("resp_1", "audio", None, True, {}),
        events.ResponseText("resp_1", "item_1", "Hi. "),
        events.ResponseDone("resp_1", None, None, "completed"),
        events.ResponseDone("resp_1", None, None, "cancelled"),
        events.ResponsePlayed("resp_1"),
        events.SpeechStarted("u", 0),
        events.SpeechStopped("u", 0),
        events.TranscriptDone("u", "Hi.", 1.0),
        events.TranscriptDone("u", "", 1.0),
    ]
)
WAKES = st.sampled_from(["stop", "fill", "watchdog", "silence", "farewell", "tool:1", "tool:2", "tool:99"])


@given(st.sampled_from([None, 1, 2, 3]), st.lists(FRAMES | TOLD | WAKES.map(lambda name: ("wake", name)), max_size=12))
def test_nothing_that_arrives_breaks_it(version: int | None, happened: list[object]) -> None:
    device = protocol(version, XiaozhiSection(wake_audio=True))
    if version is not None:
        device.receive(json.dumps(VALID[0]))
    for event in happened:
        match event:
            case str() | bytes():
                actions = device.receive(event)
            case ("wake", str(name)):
                actions = device.on_timer(name)
            case _:
                actions = list(device.encode(cast(events.Event, event)))  # type: ignore[arg-type]
        assert len(actions) <= 12
        for action in actions:
            match action:
                case Send(str(text)):
                    assert len(text.encode()) <= 4_096
                    assert json.loads(text)["type"] in ("hello", "mcp", "tts", "stt", "alert", "llm")
                case Send() | Execute() | SetTimer() | CloseSocket():
                    pass
                case Delay(seconds):
                    assert seconds < 0.1
                case _:
                    raise AssertionError(action)
    assert device.end("ended")[1] == 1000


def test_the_messages_that_are_mutated_are_valid() -> None:
    for message in VALID[1:]:
        device = protocol()
        device.receive(json.dumps(VALID[0]))
        for _ in range(2 * MAX_MALFORMED):
            assert not any(isinstance(action, CloseSocket) for action in device.receive(json.dumps(message)))
