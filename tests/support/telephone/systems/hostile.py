"""What none of these systems sends: broken, misplaced, oversized and absurd messages, for each of them."""

import json
import uuid

from tests.support.telephone.systems.vendors import CALL_ID, MEDIA_START, OPEN
from voiceagent.channels.base import Frame
from voiceagent.channels.telephone.vendors.audiosocket import message

Json = dict[str, object]
Case = tuple[str, Frame, int | None]
"""Name, message, and the close code when it is the first message (None: not closed)."""

ID = message(0x01, uuid.UUID(CALL_ID).bytes)
HUGE = bytes(4_000_000)

BROKEN: list[tuple[str, str]] = [
    ("empty", ""),
    ("blank", "  \n"),
    ("no json", "hello"),
    ("xml", "<NCCO/>"),
    ("cut", '{"event":"websocket:conn'),
    ("two messages in one", "{}{}"),
    ("null", "null"),
    ("number", "7"),
    ("text", '"start"'),
    ("array", '[{"event":"x"}]'),
    ("NUL", "\x00"),
    ("lone surrogate", '{"event":"\\ud800"}'),
    ("deep objects", '{"event":' * 5_000 + "1" + "}" * 5_000),
    ("deep arrays", "[" * 10_000),
    ("NaN", '{"event":NaN}'),
    ("endless number", '{"event":' + "9" * 5000 + "}"),
    ("long text", "x" * 100_000),
    ("only a brace", "{"),
    ("quotes", '""""'),
    ("a comment", '/* */ {"event":"x"}'),
]
EMPTY: list[tuple[str, str]] = [
    ("no event", "{}"),
    ("event is null", '{"event":null}'),
    ("event is a number", '{"event":5}'),
    ("event is an object", '{"event":{}}'),
    ("event is an array", '{"event":["MEDIA_START"]}'),
    ("unknown event", '{"event":"no.such.event"}'),
    ("empty event", '{"event":""}'),
]


def connected(content_type: object, **fields: object) -> str:
    return json.dumps({"event": "websocket:connected", "content-type": content_type, **fields})


VONAGE: list[Case] = [
    *((name, text, 1007) for name, text in BROKEN),
    *((name, text, 1002) for name, text in EMPTY),
    ("audio before the call", bytes(320), None),
    ("half a sample", b"\x00", None),
    ("empty audio", b"", None),
    ("too much audio", HUGE, None),
    ("json in binary", b'{"event":"websocket:connected"}', None),
    ("no content type", '{"event":"websocket:connected"}', 1003),
    ("content type is null", connected(None), 1003),
    ("content type is a number", connected(7), 1003),
    ("content type is an object", connected({"rate": 8000}), 1003),
    ("content type is empty", connected(""), 1003),
    ("mu-law", connected("audio/pcmu;rate=8000"), 1003),
    ("opus", connected("audio/opus"), 1003),
    ("rate of zero", connected("audio/l16;rate=0"), 1003),
    ("negative rate", connected("audio/l16;rate=-8000"), 1003),
    ("huge rate", connected("audio/l16;rate=" + "9" * 400), 1003),
    ("rate in words", connected("audio/l16;rate=fast"), 1003),
    ("rate without a number", connected("audio/l16;rate="), 1003),
    ("rate with a sign", connected("audio/l16;rate=+8000"), 1003),
    ("many parameters", connected("audio/l16" + ";a=b" * 5000 + ";rate=11025"), 1003),
    ("cleared", '{"event":"websocket:cleared"}', None),
    ("notify", '{"event":"websocket:notify","payload":{"mark":"g0:m1:100"}}', None),
    ("notify without a payload", '{"event":"websocket:notify"}', None),
    ("payload is text", '{"event":"websocket:notify","payload":"x"}', None),
    ("mark is a number", '{"event":"websocket:notify","payload":{"mark":7}}', None),
    ("key before the call", '{"event":"websocket:dtmf","digit":"5"}', None),
    ("digit is a number", '{"event":"websocket:dtmf","digit":5}', None),
    ("digit is a word", '{"event":"websocket:dtmf","digit":"hello"}', None),
    ("no digit", '{"event":"websocket:dtmf"}', None),
]


def genesys(kind: object = "open", parameters: object = None, **fields: object) -> str:
    told = {"version": "2", "id": CALL_ID, "type": kind, "seq": 1, "serverseq": 0, "position": "PT0S"}
    return json.dumps({**told, "parameters": parameters if parameters is not None else {}, **fields})


def opened(**fields: object) -> str:
    return genesys("open", {**OPEN, **fields})


def media(**fields: object) -> str:
    return opened(media=[{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000, **fields}])


GENESYS: list[Case] = [
    *((name, text, 1007) for name, text in BROKEN),
    *((name, text, 1007) for name, text in EMPTY),
    ("audio before the call", bytes(160), None),
    ("empty audio", b"", None),
    ("too much audio", HUGE, None),
    ("version one", genesys(version="1"), 1002),
    ("version is a number", genesys(version=2), 1008),
    ("type is null", genesys(None), 1007),
    ("id is a number", genesys(id=7), 1007),
    ("seq is text", genesys(seq="1"), 1007),
    ("seq is a fraction", genesys(seq=1.5), 1007),
    ("seq is missing", '{"version":"2","id":"x","type":"open"}', 1007),
    ("seq of zero", opened().replace('"seq": 1', '"seq": 0'), 1002),
    ("seq is negative", genesys("ping", seq=-1), 1002),
    ("seq leaps", genesys("ping", seq=10**15), 1002),
    ("seq is huge", genesys("ping", seq=10**18), 1002),
    ("serverseq of what was never sent", genesys("ping", serverseq=99), 1002),
    ("serverseq is negative", genesys("ping", serverseq=-1), 1002),
    ("parameters are an array", genesys("open", []), 1007),
    ("parameters are text", genesys("open", "x"), 1007),
    ("no media", genesys("open", {}), 1008),
    ("media is null", opened(media=None), 1003),
    ("media is empty", opened(media=[]), 1003),
    ("media is an object", opened(media={}), 1003),
    ("media of numbers", opened(media=[1, 2]), 1003),
    ("opus", media(format="OPUS"), 1003),
    ("format is an array", media(format=["PCMU"]), 1003),
    ("rate of zero", media(rate=0), 1003),
    ("16 kHz", media(rate=16_000), 1003),
    ("stereo", media(channels=["external", "internal"]), 1003),
    ("only the agent", media(channels=["internal"]), 1003),
    ("video", media(type="video"), 1003),
    ("another organization", opened(organizationId="another"), 1008),
    ("organization is a number", opened(organizationId=7), 1008),
    ("key before the call", genesys("dtmf", {"digit": "5"}), None),
    ("digit is an object", genesys("dtmf", {"digit": {}}), None),
    ("discarded nonsense", genesys("discarded", {"discarded": "PT1e9S"}), None),
    ("discarded for ever", genesys("discarded", {"discarded": "PT999999999S"}), None),
    ("an error of theirs", genesys("error", {"code": 500}), None),
]


def start(**fields: object) -> str:
    return json.dumps({**MEDIA_START, **fields})


ASTERISK: list[Case] = [
    *((name, text, 1007 if "{" in text[:1] else None) for name, text in BROKEN),
    *((name, text, None) for name, text in EMPTY),
    ("audio before the call", bytes(160), None),
    ("empty audio", b"", None),
    ("too much audio", HUGE, None),
    ("text in binary", b"MEDIA_START format:ulaw", None),
    ("start without a format", "MEDIA_START", 1003),
    ("start with a bare colon", "MEDIA_START :", 1003),
    ("opus", "MEDIA_START format:opus", 1003),
    ("g722", start(format="g722"), 1003),
    ("format is null", start(format=None), 1003),
    ("format is an object", start(format={}), 1003),
    ("frame of zero", start(optimal_frame_size=0), 1003),
    ("negative frame", start(optimal_frame_size=-160), 1007),
    ("frame of a byte", start(optimal_frame_size=1), 1003),
    ("huge frame", start(optimal_frame_size=10**12), 1007),
    ("frame is a fraction", start(optimal_frame_size=160.5), 1007),
    ("frame in words", "MEDIA_START format:ulaw optimal_frame_size:many", 1007),
    ("frame of a second", start(optimal_frame_size=8000), 1003),
    ("key before the call", "DTMF_END digit:5", None),
    ("no digit", "DTMF_END", None),
    ("digit is a word", "DTMF_END digit:hello", None),
    ("mark before the call", "MEDIA_MARK_PROCESSED g0:m1:100", None),
    ("mark without a name", "MEDIA_MARK_PROCESSED", None),
    ("XOFF before the call", "MEDIA_XOFF", None),
    ("XON before the call", "MEDIA_XON", None),
    ("an error of theirs", "ERROR error_text:no", None),
    ("many pairs", "STATUS " + "a:b " * 10_000, None),
    ("our own command", "HANGUP", None),
    ("json of a command", '{"command":"HANGUP"}', None),
]

FREESWITCH: list[Case] = [
    *((name, text, None) for name, text in BROKEN),
    *((name, text, None) for name, text in EMPTY),
    ("half a sample", b"\x00", 1007),
    ("half a sample more", bytes(321), 1007),
    ("too much audio", HUGE, None),
    ("empty audio", b"", None),
    ("rate of zero", '{"rate":0}', 1003),
    ("negative rate", '{"rate":-8000}', 1003),
    ("huge rate", '{"rate":1' + "0" * 300 + "}", 1003),
    ("odd rate", '{"rate":11025}', 1003),
    ("rate in words", '{"rate":"fast"}', 1003),
    ("rate is a fraction", '{"rate":8000.5}', 1003),
    ("no channels", '{"channels":0}', 1003),
    ("three channels", '{"channels":3}', 1003),
    ("channels in words", '{"channels":"stereo"}', 1003),
    ("rate is null", '{"rate":null}', None),
    ("rate is an object", '{"rate":{}}', None),
    ("key first", '{"event":"dtmf","digit":"5"}', None),
    ("digit is an object", '{"event":"dtmf","digit":{}}', None),
    ("digit is a word", '{"event":"dtmf","digit":"hello"}', None),
    ("no digit", '{"event":"dtmf"}', None),
    ("a call's id on two lines", '{"uuid":"a\\nuuid_kill all"}', None),
    ("ten thousand names", json.dumps({f"n{number}": "x" for number in range(10_000)}), None),
    ("json in binary", b'{"rate":8000}'[:12], None),
    ("our own message", '{"type":"streamAudio","data":{"audioData":"AAAA"}}', None),
]

AUDIOSOCKET: list[Case] = [
    *((f"text: {name}", text, 1007) for name, text in BROKEN),
    ("nothing", b"", 1007),
    ("one byte", b"\x01", 1007),
    ("two bytes", b"\x01\x00", 1007),
    ("header alone", b"\x01\x00\x10", 1007),
    ("cut", ID[:-1], 1007),
    ("too long", ID + b"x", 1007),
    ("empty id", message(0x01), 1007),
    ("short id", message(0x01, bytes(15)), 1007),
    ("long id", message(0x01, bytes(17)), 1007),
    ("id as text", message(0x01, CALL_ID.encode()), 1007),
    ("audio first", message(0x10, bytes(320)), 1002),
    ("audio of another rate first", message(0x16, bytes(1920)), 1002),
    ("odd audio first", message(0x10, bytes(3)), 1002),
    ("empty audio first", message(0x10), 1002),
    ("a key first", message(0x03, b"5"), 1002),
    ("no key first", message(0x03), 1002),
    ("many keys first", message(0x03, b"5" * 1000), 1002),
    ("an unknown kind first", message(0x42, b"x"), 1002),
    ("silence first", message(0x02), 1002),
    ("a kind between", message(0x17, bytes(320)), 1002),
    ("hang up", message(0x00), 1000),
    ("hang up with a payload", message(0x00, b"now"), 1000),
    ("an error of theirs", message(0xFF, b"\x02"), 1000),
    ("an empty error", message(0xFF), 1000),
    ("a long error", message(0xFF, bytes(1000)), 1000),
    ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1007),
    ("a TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", 1007),
    ("a SIP message", b"OPTIONS sip:x SIP/2.0\r\n\r\n", 1007),
    ("all ones", b"\xff" * 64, 1007),
    ("the largest message", message(0x10, bytes(65_535)), 1002),
]

CASES: dict[str, list[Case]] = {
    "vonage": VONAGE,
    "genesys": GENESYS,
    "freeswitch": FREESWITCH,
    "asterisk": ASTERISK,
    "asterisk-json": ASTERISK,
    "audiosocket": AUDIOSOCKET,
}
