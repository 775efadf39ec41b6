"""What a real Asterisk (22.10) said, replayed, and its WebSocket's own rules. Recordings are in `asterisk/recorded`:
`in` came from Asterisk, `out` is what it was sent; of its audio only the first two frames are kept."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.support.telephone.systems.vendors import MEDIA_START, QUERY, Mark, Word, begun
from tests.support.telephone.vendors import asked, audio, frames_of, heard, reply_begins, reply_ends
from voiceagent.channels.base import Action, CloseSocket, Frame, Send
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.vendors.asterisk import FORMATS, AsteriskProtocol
from voiceagent.channels.telephone.vendors.audiosocket import AudioSocketProtocol
from voiceagent.channels.telephone.wire import MAX_HELD, VendorCall
from voiceagent.session import commands as cmd
from voiceagent.session.events import Event

RECORDED = Path(__file__).parents[3] / "asterisk" / "recorded"
Line = dict[str, object]

WEBSOCKETS = {
    "websocket-plain": (False, 160, 8000),
    "websocket-json": (True, 640, 16_000),
    "websocket-unanswered": (True, 960, 24_000),
}


def recording(name: str) -> list[Line]:
    return [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


def came(lines: list[Line]) -> list[Frame]:
    """What Asterisk sent, but for the end of the connection."""
    inward = [line for line in lines if line.get("way") == "in" and not str(line.get("text", "")).startswith("<")]
    return [bytes.fromhex(cast(str, line["hex"])) if "hex" in line else cast(str, line["text"]) for line in inward]


def went(lines: list[Line]) -> list[str]:
    return [cast(str, line["text"]) for line in lines if line.get("way") == "out" and "text" in line]


@pytest.mark.parametrize("name", WEBSOCKETS)
def test_a_recorded_call_by_websocket(name: str) -> None:
    is_json, size, rate = WEBSOCKETS[name]
    lines = recording(name)
    assert lines[0]["subprotocol"] == "media"
    call = VendorCall(AsteriskProtocol({"tenant": "acme"}), CallOptions())
    actions: list[Action] = []
    frames = came(lines)
    for frame in frames:
        if "g0:m1:60" in str(frame):  # it is the first mark of a reply
            sent = frames_of([one for event in (reply_begins(), audio(60, rate=rate), reply_ends())
                              for one in call.encode(event)])  # fmt: skip
            assert isinstance(sent[0], bytes)
            assert (len(sent[0]), sent[1]) == (3 * size, went(lines)[1])
        actions += call.receive(frame)
    configure, *more = asked(actions)
    assert isinstance(configure, cmd.Configure)
    assert configure.options.output_rate == rate
    assert len(heard(actions)) == 2 * rate // 50, "two frames of 20 ms"
    assert cmd.ReportPlayed("i1", 60) in more
    assert more.count(cmd.Interrupt()) == 1, "one key"
    assert call.call is not None
    assert call.call.id.startswith("179529")
    answer = '{"command":"ANSWER"}' if is_json else "ANSWER"
    assert [action for action in actions if isinstance(action, Send)] == [Send(answer)]
    assert not [action for action in actions if isinstance(action, CloseSocket)]
    assert {answer, *(_command(call, word) for word in ("FLUSH_MEDIA", "HANGUP"))} <= set(went(lines))


def _command(call: VendorCall, word: str) -> str:
    said = call._peer.clear() if word == "FLUSH_MEDIA" else call._peer.leave(None)[0]
    assert isinstance(said, str)
    return said


@pytest.mark.parametrize(("name", "rate"), [("audiosocket-app", 8000), ("audiosocket-channel", 16_000)])
def test_a_recorded_call_by_audiosocket(name: str, rate: int) -> None:
    lines = recording(name)
    call = VendorCall(AudioSocketProtocol(lambda _: {"tenant": "acme"}), CallOptions())
    actions = [action for frame in came(lines) for action in call.receive(frame)]
    configure, *more = asked(actions)
    assert isinstance(configure, cmd.Configure)
    assert configure.options.output_rate == rate
    assert configure.options.variables == {
        "tenant": "acme",
        "call_id": "01234567-89ab-cdef-0123-456789abcdef",
        "call_vendor": "audiosocket",
    }
    assert len(heard(actions)) == 2 * rate // 50
    assert cmd.Interrupt() in more
    assert [line["hex"] for line in lines if line.get("way") == "out"] == [call.end("finished")[0][0].hex()]  # type: ignore[union-attr]


# -- the rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("ptime", [10, 20, 60])
def test_every_message_is_a_multiple_of_the_optimal_frame_and_below_64_kb(codec: str, ptime: int) -> None:
    line = FORMATS[codec]
    size = line.rate * line.sample_bytes * ptime // 1000
    call = VendorCall(AsteriskProtocol(QUERY), CallOptions())
    call.receive(json.dumps({**MEDIA_START, "format": codec, "optimal_frame_size": size, "ptime": ptime}))
    sounds_ms = (60, 60, 60, 60, 60, 33)
    events: list[Event] = [reply_begins(), *(audio(ms, rate=line.rate) for ms in sounds_ms), reply_ends()]
    frames = frames_of([one for event in events for one in call.encode(event)])
    sounds = [frame for frame in frames if isinstance(frame, bytes)]
    assert all(len(frame) % size == 0 and len(frame) < 65_536 for frame in sounds)
    assert sum(map(len, sounds)) >= 333 * line.rate * line.sample_bytes // 1000


@pytest.mark.parametrize("text", ["MEDIA_START format:ulaw", " MEDIA_START  format:ulaw optimal_frame_size:160 \n"])
def test_the_first_message_decides_the_dialect(text: str) -> None:
    call = VendorCall(AsteriskProtocol({}), CallOptions())
    assert Send("ANSWER") in call.receive(text)
    call = VendorCall(AsteriskProtocol({}), CallOptions())
    assert Send('{"command":"ANSWER"}') in call.receive(json.dumps(MEDIA_START))


def test_the_query_and_the_channel_s_variables_are_the_call_s_data() -> None:
    call = VendorCall(AsteriskProtocol({"tenant": "acme", "from": "王先生"}), CallOptions())
    call.receive(json.dumps({**MEDIA_START, "channel_variables": {"order": "7", "tenant": "another"}}))
    assert call.call is not None
    variables = call.call.variables()
    assert (variables["tenant"], variables["order"], variables["from"]) == ("acme", "7", "王先生")
    assert variables["call_id"] == "1700000000.2"


@pytest.mark.parametrize("name", ["asterisk", "asterisk-json"])
def test_a_full_queue_is_waited_for(name: str) -> None:
    call, other = begun(name)
    full, empty = (
        ("MEDIA_XOFF", "MEDIA_XON") if name == "asterisk" else ('{"event":"MEDIA_XOFF"}', '{"event":"MEDIA_XON"}')
    )
    assert call.receive(full) == []
    assert call.receive(full) == []
    assert call.encode(reply_begins()) == []
    assert [*call.encode(audio(60)), *call.encode(audio(60, level=2000))] == []
    held = call.receive(empty)
    kinds = [other.understand(frame) for frame in frames_of(held)]
    assert [type(kind) for kind in kinds] == [np.ndarray, np.ndarray, Mark]
    assert call.receive(empty) == []


def test_what_waits_is_void_after_a_flush_and_bounded() -> None:
    call, other = begun("asterisk")
    call.encode(reply_begins())
    call.encode(audio(60))
    call.receive("MEDIA_XOFF")
    for _ in range(MAX_HELD):
        assert call.encode(audio(60)) == []
    assert call._held is not None
    assert len(call._held) == MAX_HELD
    cut = frames_of(list(call.encode(reply_ends(status="cancelled"))))
    assert [other.understand(frame) for frame in cut] == [Word("clear")]
    assert call.receive("MEDIA_XON") == []
    call.encode(reply_begins("r2"))
    assert len(frames_of(list(call.encode(audio(60, response_id="r2", item_id="i2"))))) == 1


def test_events_that_tell_nothing() -> None:
    call, _ = begun("asterisk")
    for text in ("QUEUE_DRAINED", "STATUS queue_length:0", "ERROR error_text:no", "MEDIA_BUFFERING_COMPLETED x", "NEW"):
        assert call.receive(text) == []
