"""Vonage, Genesys, FreeSWITCH and AudioSocket, byte by byte, without a socket and without a session."""

import base64
import json
import uuid

import numpy as np
import pytest

from tests.support.telephone.systems.vendors import (
    CALL_ID,
    FORMATS,
    OPEN,
    ORGANIZATION,
    PEERS,
    QUERY,
    Mark,
    Other,
    Understood,
    Word,
    begun,
    peer,
)
from tests.support.telephone.vendors import asked, audio, frames_of, heard, reply_begins, reply_ends, tool_call
from voiceagent.audio.pcm import Pcm, to_bytes
from voiceagent.channels.base import Action, CallControl, CloseSocket, Execute, Frame, HangUp, Send, SetTimer, Transfer
from voiceagent.channels.telephone.audio import tones
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.vendors.audiosocket import AudioSocketProtocol, message
from voiceagent.channels.telephone.vendors.freeswitch import FreeSwitchProtocol
from voiceagent.channels.telephone.vendors.genesys import GenesysProtocol
from voiceagent.channels.telephone.wire import VendorCall
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import FunctionOutput
from voiceagent.session.options import SessionOptions

every_peer = pytest.mark.parametrize("name", PEERS)


def first_options(name: str, options: CallOptions | None = None) -> SessionOptions:
    call, other = VendorCall(peer(name), options or CallOptions()), Other(name)
    actions = [action for frame in other.start() for action in call.receive(frame)]
    configure = asked(actions)[0]
    assert isinstance(configure, cmd.Configure)
    return configure.options


def understood(other: Other, frames: list[Frame]) -> list[Understood]:
    return [other.understand(frame) for frame in frames]


def told(call: VendorCall, *happened: ev.Event) -> list[Frame | Action]:
    return [one for event in happened for one in call.encode(event)]


def heard_out(call: VendorCall) -> list[Frame | Action]:
    """The reply was played: what the call does then, at once or a little later."""
    actions = told(call, ev.ResponsePlayed("r1"))
    later = [one for one in actions if isinstance(one, SetTimer) and one.name == "listen" and one.seconds is not None]
    return [*actions, *(action for wake in later for action in call.on_timer(wake.name))]


def sound(heard: list[Understood]) -> Pcm:
    return np.concatenate([one for one in heard if isinstance(one, np.ndarray)])


# -- all of them ------------------------------------------------------------------------------------------------------


@every_peer
def test_a_call_begins_with_its_format_and_its_data(name: str) -> None:
    options = first_options(name, CallOptions(lead_ms=200, greeting="Hello {{tenant}}"))
    assert (options.output_rate, options.variables["tenant"]) == (8000, "acme")
    assert options.variables["call_vendor"] == name.partition("-")[0]
    assert (options.variables["from"], options.variables["to"]) == ("+15551234", "+15559999")
    assert options.variables["call_id"] in (CALL_ID, QUERY["call_id"], OPEN["conversationId"])
    assert options.lead_ms in (100, 120)


@every_peer
def test_the_caller_is_heard_sample_by_sample(name: str) -> None:
    call, other = begun(name)
    wave = (9000 * np.sin(np.arange(1600) / 5)).astype(np.int16)
    got = np.concatenate([heard(call.receive(other.media(wave[at : at + 160]))) for at in range(0, 1600, 160)])
    assert np.array_equal(got, FORMATS[name].decode(FORMATS[name].encode(wave)))


@every_peer
def test_the_agent_is_understood_sample_by_sample_with_marks_where_there_are_any(name: str) -> None:
    call, other = begun(name)
    frames = frames_of(told(call, reply_begins(), audio(60), audio(60), audio(37), reply_ends()))
    got = understood(other, frames)
    heard_pcm = sound(got)
    assert len(heard_pcm) == 8 * 160, "padded to whole frames"
    assert abs(int(heard_pcm[700]) - 1000) < 40
    assert not heard_pcm[8 * 157 :].any() or abs(int(heard_pcm[8 * 157 :].max())) < 10
    marks = [one.name for one in got if isinstance(one, Mark)]
    if other.played("x") is None:
        assert not marks
        return
    assert [mark.rpartition(":")[2] for mark in marks] == ["120", "157"]
    back = other.played(marks[0])
    assert back is not None
    assert asked(call.receive(back)) == [cmd.ReportPlayed("i1", 120)]
    assert asked(call.receive(back)) == [], "once"


@every_peer
def test_a_barge_in_clears_where_something_is_queued(name: str) -> None:
    call, other = begun(name)
    spoken = understood(other, frames_of(told(call, reply_begins(), audio(120))))
    cut = understood(other, frames_of(told(call, reply_ends(status="cancelled"))))
    assert cut == ([] if name in ("freeswitch", "audiosocket") else [Word("clear")])
    marks = [one.name for one in spoken if isinstance(one, Mark)]
    for mark in marks:
        back = other.played(mark)
        assert back is not None
        assert call.receive(back) == [], "marks of what was cleared tell nothing"


@every_peer
def test_keys_interrupt_and_are_collected(name: str) -> None:
    call, other = begun(name)
    first = call.receive(other.dtmf("4"))
    assert asked(first) == [cmd.Interrupt()]
    assert SetTimer("keys", 2.5) in first
    second = asked(call.receive(other.dtmf("#")))
    assert [type(command) for command in second] == [cmd.Interrupt, cmd.CreateItem, cmd.CreateResponse]


@every_peer
def test_digits_go_out_as_tones_in_pieces_that_are_taken(name: str) -> None:
    options = CallOptions(tools=("send_digits",))
    call, other = begun(name, options)
    told(call, reply_begins(), tool_call("send_digits", '{"digits": "12w#"}'), reply_ends())
    frames = frames_of(heard_out(call))
    assert max(map(len, frames)) < 65_536 or name in ("genesys", "freeswitch")
    expected = tones("12w#", 8000)
    assert np.array_equal(sound(understood(other, frames)), FORMATS[name].decode(FORMATS[name].encode(expected)))


@every_peer
def test_the_other_side_hangs_up(name: str) -> None:
    call, other = begun(name)
    stop = other.stop()
    if stop is not None:
        actions = call.receive(stop)
        assert actions[-1] == CloseSocket(1000, "")
        assert [other.understand(frame) for frame in frames_of(actions)] == (
            [Word("closed")] if name == "genesys" else []
        )
    assert call.end("draining")[1] == 1001
    assert call.end("internal_error")[1] == 1011


@every_peer
def test_a_client_without_a_call_is_not_kept(name: str) -> None:
    call = VendorCall(peer(name), CallOptions())
    assert call.start() == [SetTimer("start", 10.0)]
    assert call.on_timer("start") == [CloseSocket(1008, "no call has begun")]
    assert call.end("finished") == ([], 1000)
    assert call.encode(reply_begins()) == []


# -- Vonage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000])
def test_vonage_s_audio_is_in_frames_of_20_ms(rate: int) -> None:
    call = VendorCall(peer("vonage"), CallOptions())
    connected = {"event": "websocket:connected", "content-type": f"audio/l16;rate={rate}", "客户": "王先生"}
    configure = asked(call.receive(json.dumps(connected)))[0]
    assert isinstance(configure, cmd.Configure)
    assert configure.options.output_rate == rate
    assert configure.options.variables["客户"] == "王先生"
    assert len(heard(call.receive(bytes(rate // 50 * 2)))) == rate // 50
    frames = frames_of(told(call, reply_begins(), audio(60, rate=rate)))
    assert [len(frame) for frame in frames if isinstance(frame, bytes)] == [rate // 50 * 2] * 3


def test_vonage_s_own_words() -> None:
    call, _ = begun("vonage")
    frames = frames_of(told(call, reply_begins(), audio(120), reply_ends(status="cancelled")))
    assert [frame for frame in frames if isinstance(frame, str)] == [
        '{"action":"notify","payload":{"mark":"g0:m1:120"}}',
        '{"action":"clear"}',
    ]
    assert call.receive('{"event":"websocket:cleared"}') == []


# -- Genesys ----------------------------------------------------------------------------------------------------------


def sent(actions: list[Action]) -> list[dict[str, object]]:
    return [
        json.loads(action.frame) for action in actions if isinstance(action, Send) and isinstance(action.frame, str)
    ]


def test_genesys_is_opened_before_any_audio_with_the_caller_alone() -> None:
    call, other = VendorCall(peer("genesys"), CallOptions()), Other("genesys")
    [opened] = sent(call.receive(other.start()[0]))
    assert opened == {
        "version": "2",
        "id": CALL_ID,
        "type": "opened",
        "seq": 1,
        "clientseq": 1,
        "parameters": {
            "startPaused": False,
            "media": [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}],
        },
    }


def test_genesys_linear_audio() -> None:
    call, other = VendorCall(peer("genesys"), CallOptions()), Other("genesys")
    media = [{"type": "audio", "format": "L16", "channels": ["external"], "rate": 8000}]
    call.receive(other.genesys("open", {**OPEN, "media": media}))
    wave = np.arange(-80, 80, dtype=np.int16)
    assert np.array_equal(heard(call.receive(to_bytes(wave))), wave)


def test_genesys_pings_updates_and_numbers() -> None:
    call, other = begun("genesys")
    for _ in range(3):
        [pong] = sent(call.receive(other.genesys("ping", {"rtt": "PT0.1S"})))
        assert other.understand(json.dumps(pong)) == Word("pong")
    [updated] = sent(call.receive(other.genesys("update", {"language": "de-DE"})))
    assert (updated["type"], updated["seq"], updated["clientseq"]) == ("updated", 5, 5)
    for kind in ("paused", "playback_started", "playback_completed", "error", "no_such_message"):
        assert call.receive(other.genesys(kind, {"code": 429, "message": "slow down", "retryAfter": "PT3S"})) == []


def test_genesys_time_that_was_discarded_becomes_silence() -> None:
    call, other = begun("genesys")
    loud = np.full(800, 3000, np.int16)
    assert len(heard(call.receive(other.media(loud)))) == 800
    assert call.receive(other.genesys("paused")) == []
    assert call.receive(other.genesys("resumed", {"start": "PT0.1S", "discarded": "PT1.5S"})) == []
    assert len(heard(call.receive(other.media(loud)))) == 12_000 + 800
    assert call.receive(other.genesys("discarded", {"start": "PT1.7S", "discarded": "PT0.2S"})) == []
    assert len(heard(call.receive(other.media(loud)))) == 1600 + 800
    call.receive(other.genesys("discarded", {"discarded": "PT1H"}))
    assert len(heard(call.receive(other.media(loud)))) == 800, "no duration that we know"


@pytest.mark.parametrize("destination", ["", "sales"])
def test_genesys_is_left_with_a_disconnect_and_closed_by_it(destination: str) -> None:
    options = CallOptions(tools=("end_call", "transfer_call"), destinations={"sales": "+15550001"}, controlled=True)
    call, other = begun("genesys", options)
    name, arguments = ("transfer_call", f'{{"destination": "{destination}"}}') if destination else ("end_call", "{}")
    told(call, reply_begins(), tool_call(name, arguments), reply_ends())
    actions = heard_out(call)
    assert not [action for action in actions if isinstance(action, CallControl | CloseSocket)]
    [disconnect] = [json.loads(frame) for frame in frames_of(actions) if isinstance(frame, str)]
    variables = {"voiceagent_action": "end"}
    if destination:
        variables = {"voiceagent_action": "transfer", "voiceagent_destination": "+15550001"}
    assert disconnect["parameters"] == {"reason": "completed", "outputVariables": variables}
    assert other.understand(json.dumps(disconnect)) == Word("leave")
    assert SetTimer("leave", 5.0) in actions
    results = [
        one.command.item for one in actions if isinstance(one, Execute) and isinstance(one.command, cmd.CreateItem)
    ]
    assert [item.output for item in results if isinstance(item, FunctionOutput)] == ["done"]
    assert told(call, reply_begins("r2"), audio(100, response_id="r2")) == [], "nothing is said any more"
    assert call.receive(other.media(np.zeros(160, np.int16))) == []
    assert call.on_timer("tick") == []
    closing = call.receive(other.genesys("close", {"reason": "disconnect"}))
    assert [other.understand(frame) for frame in frames_of(closing)] == [Word("closed")]
    assert closing[-1] == CloseSocket(1000, "")
    assert call.on_timer("leave") == [CloseSocket(1000, "")]


def test_genesys_of_another_organization_is_turned_away() -> None:
    call, other = VendorCall(GenesysProtocol("another"), CallOptions()), Other("genesys")
    actions = call.receive(other.start()[0])
    assert [message["parameters"] for message in sent(actions)] == [
        {"reason": "unauthorized", "info": "the organization is not that of the handshake"}
    ]
    assert isinstance(actions[-1], CloseSocket)
    assert actions[-1].code == 1008
    assert ORGANIZATION not in str(actions)


def test_genesys_without_a_channel_of_the_caller_s_is_told_so() -> None:
    call, other = VendorCall(peer("genesys"), CallOptions()), Other("genesys")
    media = [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}]
    actions = call.receive(other.genesys("open", {**OPEN, "media": media}))
    assert sent(actions)[0]["type"] == "disconnect"
    assert actions[-1] == CloseSocket(1003, "no media with the caller alone is offered")


# -- FreeSWITCH -------------------------------------------------------------------------------------------------------


def test_freeswitch_without_metadata_and_with_text_that_is_none() -> None:
    call = VendorCall(FreeSwitchProtocol({"uuid": "u1"}, 16_000), CallOptions())
    actions = call.receive(bytes(640))
    configure = asked(actions)[0]
    assert isinstance(configure, cmd.Configure)
    assert (configure.options.output_rate, len(heard(actions))) == (16_000, 320)
    call = VendorCall(FreeSwitchProtocol({}), CallOptions())
    call.receive("just words")
    assert call.call is not None
    assert call.call.parameters == {"metadata": "just words"}


def test_freeswitch_metadata_tells_rate_and_channels() -> None:
    call = VendorCall(FreeSwitchProtocol({"rate": "8000"}), CallOptions())
    configure = asked(call.receive('{"rate": 16000, "channels": 2, "uuid": "u1", "from": "1000"}'))[0]
    assert isinstance(configure, cmd.Configure)
    assert configure.options.output_rate == 16_000
    both = np.array([[1, -1], [2, -2], [3, -3]], np.int16)
    assert heard(call.receive(both.tobytes())).tolist() == [1, 2, 3]


def test_freeswitch_s_own_words() -> None:
    call, _ = begun("freeswitch")
    [frame] = frames_of(told(call, reply_begins(), audio(100)))
    assert isinstance(frame, str)
    assert json.loads(frame) == {
        "type": "streamAudio",
        "data": {
            "audioDataType": "raw",
            "sampleRate": 8000,
            "audioData": base64.b64encode(np.full(800, 1000, "<i2").tobytes()).decode(),
        },
    }


# -- AudioSocket ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rate"),
    [(0x10, 8000), (0x11, 12_000), (0x12, 16_000), (0x13, 24_000), (0x14, 32_000), (0x15, 44_100), (0x16, 48_000)],
)
def test_audiosocket_at_every_rate(kind: int, rate: int) -> None:
    call = VendorCall(AudioSocketProtocol(lambda _: {}), CallOptions())
    assert call.receive(message(0x01, uuid.UUID(CALL_ID).bytes)) == []
    assert call.receive(message(0x03, b"5")) == [], "nobody listens yet"
    step = rate // 50
    configure = asked(call.receive(message(kind, bytes(2 * step))))[0]
    assert isinstance(configure, cmd.Configure)
    assert configure.options.output_rate == rate
    frames = frames_of(told(call, reply_begins(), audio(60, rate=rate)))
    assert [frame[:3] for frame in frames if isinstance(frame, bytes)] == [message(kind, bytes(2 * step))[:3]] * 3


def test_audiosocket_calls_that_nobody_announced() -> None:
    call = VendorCall(AudioSocketProtocol(lambda _: None), CallOptions())
    assert call.receive(message(0x01, uuid.UUID(CALL_ID).bytes)) == [
        Send(b"\xff\x00\x01\x04"),
        Send(b"\x00\x00\x00"),
        CloseSocket(1008, "nobody announced this call"),
    ]


@pytest.mark.parametrize("name", ["asterisk", "audiosocket"])
@pytest.mark.parametrize("after", ["", "+15550001"])
def test_who_cannot_be_reached_is_hung_up_on_by_leaving(name: str, after: str) -> None:
    """There is a manager interface, but the dialplan did not say which channel it is. Where calls go on in the
    dialplan, leaving ends none."""
    call, other = begun(name, CallOptions(tools=("end_call", "transfer_call"), controlled=True, closes_to=after))
    told(call, reply_begins(), tool_call("end_call"), reply_ends())
    actions = heard_out(call)
    controls = [action for action in actions if isinstance(action, CallControl)]
    if after:
        assert controls == [CallControl(HangUp(), "c1")]
    else:
        assert [other.understand(frame) for frame in frames_of(actions)] == [Word("leave")]
        assert actions[-1] == CloseSocket(1000, "")


def test_a_transfer_still_needs_the_interface() -> None:
    options = CallOptions(tools=("transfer_call",), destinations={"sales": "+1555"}, controlled=True)
    call, _ = begun("audiosocket", options)
    told(call, reply_begins(), tool_call("transfer_call", '{"destination": "sales"}'), reply_ends())
    assert CallControl(Transfer("+1555"), "c1") in heard_out(call)
