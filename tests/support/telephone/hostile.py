"""What no vendor sends: broken, misplaced, oversized and absurd messages, for every dialect."""

import base64
import json
from typing import cast

from hypothesis import strategies as st

from voiceagent.channels.base import Frame

Json = dict[str, object]

DEEP = '{"event":' * 5_000 + "1" + "}" * 5_000


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


def json_values(*words: str) -> st.SearchStrategy[object]:
    """Any JSON, with some words in it that a parser knows."""
    return st.recursive(
        SCALARS | st.sampled_from(words),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )


def places(value: object) -> list[tuple[dict[object, object], object]]:
    """Every (object, key) of a JSON value."""
    if not isinstance(value, dict):
        return []
    inner = cast(dict[object, object], value)
    return [(inner, key) for key in inner] + [place for key in inner for place in places(inner[key])]


def mutated_json(draw: st.DrawFn, text: str, values: st.SearchStrategy[object]) -> str:
    """A valid message with one to three values replaced or removed, or its text cut."""
    message = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        where = places(message)
        if not where:
            break
        container, key = draw(st.sampled_from(where))
        if draw(st.booleans()):
            container[key] = draw(values)
        else:
            container.pop(key, None)
    changed = json.dumps(message)
    return changed[: draw(st.integers(0, len(changed)))] if draw(st.integers(0, 9)) == 0 else changed


def media(payload: object, **fields: object) -> str:
    return json.dumps({"event": "media", "media": {"payload": payload, **fields}})


def start(body: object, **fields: object) -> str:
    return json.dumps({"event": "start", "start": body, **fields})


def audio(size: int) -> str:
    return base64.b64encode(b"\xff" * size).decode()


# Name, message, and the close code when it is the first message (None: ignored). During a call all are passed over.
JSON: list[tuple[str, Frame, int | None]] = [
    ("empty", "", 1007),
    ("no json", "hello", 1007),
    ("xml", "<Response/>", 1007),
    ("cut", '{"event":"media","media":{"payl', 1007),
    ("two messages in one", '{"event":"connected"}{"event":"connected"}', 1007),
    ("null", "null", 1007),
    ("number", "7", 1007),
    ("text", '"start"', 1007),
    ("array", '[{"event":"start"}]', 1007),
    ("no event", "{}", 1007),
    ("event is null", '{"event":null}', 1007),
    ("event is a number", '{"event":5}', 1007),
    ("event is an object", '{"event":{}}', 1007),
    ("NUL", "\x00", 1007),
    ("lone surrogate", '{"event":"\\ud800"}', 1007),
    ("deep objects", DEEP, 1007),
    ("deep arrays", "[" * 10_000, 1007),
    ("NaN", '{"event":"media","media":{"payload":"","timestamp":NaN}}', 1007),
    ("endless number", '{"event":"media","media":{"payload":"AAAA","timestamp":' + "9" * 5000 + "}}", 1007),
    ("unknown event", '{"event":"no.such.event"}', None),
    ("empty event", '{"event":""}', None),
    ("error of the vendor", '{"event":"error","payload":{"code":100,"title":"x"}}', None),
    ("connected again", '{"event":"connected","protocol":"Call","version":"9.9.9"}', None),
    ("connected with nonsense", '{"event":"connected","protocol":[1,{}],"version":{}}', None),
    ("start without a body", '{"event":"start"}', 1007),
    ("start is null", start(None), 1007),
    ("start is text", start("x"), 1007),
    ("start is an array", start([]), 1007),
    ("unknown encoding", start({"mediaFormat": {"encoding": "audio/opus", "sampleRate": 48000}}), 1003),
    ("AMR", start({"media_format": {"encoding": "AMR-WB", "sample_rate": 16000}}), 1003),
    ("G722", start({"media_format": {"encoding": "G722", "sample_rate": 8000}}), 1003),
    ("rate of zero", start({"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 0}}), None),
    ("negative rate", start({"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": -8000}}), None),
    ("huge rate", start({"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 10**12}}), 1003),
    ("mu-law at 16 kHz", start({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000}}), 1003),
    ("stereo", start({"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 8000, "channels": 2}}), 1003),
    ("media without a body", '{"event":"media"}', 1007),
    ("media is text", '{"event":"media","media":"x"}', 1007),
    ("media without a payload", '{"event":"media","media":{}}', 1007),
    ("payload is a number", media(7), 1007),
    ("payload is an array", media([1, 2, 3]), 1007),
    ("payload is null", media(None), 1007),
    ("payload is not base64", media("***"), 1007),
    ("payload of half a group", media("AAAAA"), 1007),
    ("payload in another alphabet", media("__--"), 1007),
    ("payload with line breaks", media("AA\nAA"), 1007),
    ("media before the call", media(audio(320)), None),
    ("track is a number", media(audio(320), track=5), None),
    ("chunk is an object", media(audio(320), chunk={}), None),
    ("timestamp is true", media(audio(320), timestamp=True), None),
    ("too much audio", media(audio(1_000_000)), None),
    ("dtmf without a body", '{"event":"dtmf"}', 1007),
    ("dtmf is text", '{"event":"dtmf","dtmf":"5"}', 1007),
    ("dtmf without a digit", '{"event":"dtmf","dtmf":{}}', 1007),
    ("digit is an array", '{"event":"dtmf","dtmf":{"digit":[1]}}', 1007),
    ("digit is no key", '{"event":"dtmf","dtmf":{"digit":"x"}}', None),
    ("digit is a word", '{"event":"dtmf","dtmf":{"digit":"12345"}}', None),
    ("digit is nothing", '{"event":"dtmf","dtmf":{"digit":""}}', None),
    ("mark is text", '{"event":"mark","mark":"x"}', 1007),
    ("mark without a name", '{"event":"mark","mark":{}}', 1007),
    ("mark of another", '{"event":"mark","mark":{"name":"g0:m1:100"}}', None),
    ("mark with a number", '{"event":"mark","mark":{"name":7}}', None),
    ("played stream of another", '{"event":"playedStream","streamId":"x","name":"y"}', None),
    ("cleared audio", '{"event":"clearedAudio","streamId":"x"}', None),
    ("binary", b"\x00\x01" * 160, 1003),
    ("empty binary", b"", 1003),
    ("json in binary", b'{"event":"start","start":{}}', 1003),
]

JAMBONZ: list[tuple[str, Frame, int | None]] = [
    *(case for case in JSON if case[2] == 1007 and isinstance(case[1], str) and case[0] != "dtmf is text"),
    ("an object without a call", "{}", 1007),
    ("call is null", '{"callSid":null}', 1007),
    ("call is empty", '{"callSid":""}', 1007),
    ("call is an object", '{"callSid":{}}', 1007),
    ("stereo", '{"callSid":"CA1","mixType":"stereo"}', 1003),
    ("mixed", '{"callSid":"CA1","mixType":"mixed"}', 1003),
    ("odd rate", '{"callSid":"CA1","sampleRate":11111}', 1003),
    ("huge rate", '{"callSid":"CA1","sampleRate":1000000000000}', 1003),
    ("audio before the call", b"\x00\x01" * 160, None),
    ("half a sample", b"\x00\x01\x02", None),
    ("empty audio", b"", None),
    ("too much audio", bytes(1_000_000), None),
    ("text in binary", b'{"callSid":"CA1"}', None),
    ("dtmf is an object", '{"event":"dtmf","dtmf":{}}', 1007),
    ("dtmf is a word", '{"event":"dtmf","dtmf":"hello"}', 1007),
    ("mark without data", '{"type":"mark"}', 1007),
    ("mark with nonsense", '{"type":"mark","data":7}', 1007),
    ("mark of another", '{"type":"mark","data":{"name":"g0:m1:100"}}', 1007),
    ("cleared mark", '{"type":"mark","data":{"name":"g0:m1:100","event":"cleared"}}', 1007),
    ("an unknown command", '{"type":"selfDestruct"}', 1007),
]


def cases(vendor: str) -> list[tuple[str, Frame, int | None]]:
    return JAMBONZ if vendor == "jambonz" else JSON
