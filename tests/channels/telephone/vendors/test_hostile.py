"""Whatever arrives from Vonage, Genesys, FreeSWITCH or Asterisk: the right reaction, and never an exception."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.telephone.hostile import json_values, mutated_json
from tests.support.telephone.systems.hostile import CASES
from tests.support.telephone.systems.vendors import PEERS, Mark, Other, begun, peer
from tests.support.telephone.vendors import asked, audio, frames_of, heard, reply_begins, reply_ends
from voiceagent.channels.base import CloseSocket, Execute, Frame, Send, SetTimer
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.media_stream.protocol import MAX_MALFORMED
from voiceagent.channels.telephone.vendors.audiosocket import message
from voiceagent.channels.telephone.wire import VendorCall
from voiceagent.session import commands as cmd

every_peer = pytest.mark.parametrize("name", PEERS)
HANGS_UP = {("audiosocket", case[0]) for case in CASES["audiosocket"] if case[2] == 1000}
"""What ends a call, rightly."""


def test_there_are_enough() -> None:
    assert min(len(cases) for cases in CASES.values()) >= 49


def works(call: VendorCall, other: Other) -> None:
    """The call goes on: it hears, speaks and takes keys."""
    assert len(heard(call.receive(other.media(np.full(160, 1000, np.int16))))) >= 160
    told = [one for event in (reply_begins(), audio(100), reply_ends()) for one in call.encode(event)]
    sent = [other.understand(frame) for frame in frames_of(told)]
    assert sum(len(one) for one in sent if isinstance(one, np.ndarray)) == 800
    for mark in [one for one in sent if isinstance(one, Mark)]:
        back = other.played(mark.name)
        assert back is not None
        assert asked(call.receive(back)) == [cmd.ReportPlayed("i1", 100)]
    assert asked(call.receive(other.dtmf("#")))[0] == cmd.Interrupt()


@every_peer
def test_as_the_first_message(name: str) -> None:
    for case, frame, code in CASES[name]:
        call = VendorCall(peer(name), CallOptions())
        call.start()
        actions = call.receive(frame)
        closes = [action for action in actions if isinstance(action, CloseSocket)]
        assert [close.code for close in closes] == ([] if code is None else [code]), case
        assert not closes or isinstance(actions[-1], CloseSocket), case
        assert all(len(close.reason.encode()) <= 123 for close in closes), case


@every_peer
def test_during_a_call_one_is_passed_over(name: str) -> None:
    for case, frame, _ in CASES[name]:
        call, other = begun(name)
        if (name, case) in HANGS_UP:
            assert call.receive(frame) == [CloseSocket(1000, "")]
            continue
        actions = call.receive(frame)
        assert not [action for action in actions if isinstance(action, CloseSocket)], case
        assert {type(command) for command in asked(actions)} <= {cmd.AppendAudio, cmd.Interrupt}, case
        if name == "genesys":  # numbers that leapt ahead are those that count
            other._seq = call._peer._client_seq  # type: ignore[attr-defined]
        if case == "XOFF before the call":
            call.receive("MEDIA_XON" if name == "asterisk" else '{"event":"MEDIA_XON"}')
        works(call, other)


BAD: dict[str, Frame] = {
    "vonage": "{",
    "genesys": "{",
    "freeswitch": b"\x00",
    "asterisk": "MEDIA_START",
    "asterisk-json": "{",
    "audiosocket": b"\x01",
}


@every_peer
def test_a_flood_of_bad_messages_ends_the_call(name: str) -> None:
    call, other = begun(name)
    for _ in range(MAX_MALFORMED):
        assert call.receive(BAD[name]) == []
    actions = call.receive(BAD[name])
    assert isinstance(actions[-1], CloseSocket)
    for frame in frames_of(actions):
        other.understand(frame)


@every_peer
def test_a_second_call_on_one_stream_is_none(name: str) -> None:
    call, other = begun(name)
    if name in ("freeswitch", "vonage"):  # there it is a text like any other
        return
    if name == "genesys":
        other = Other(name)
        other._seq = 1
        other._server_seq = 1
    assert call.receive(other.start()[0]) == []
    works(call, other)


@every_peer
def test_an_absurd_number_of_anything_costs_no_memory(name: str) -> None:
    call, other = begun(name, CallOptions(key_end=""))
    items = [
        command
        for _ in range(500)
        for command in asked(call.receive(other.dtmf("7")))
        if isinstance(command, cmd.CreateItem)
    ]
    assert len(items) == 500 // 64


VALUES = json_values("MEDIA_START", "ulaw", "slin16", "open", "close", "dtmf", "5", "", "PT1S", "2", "-1", "audio/l16")


@st.composite
def mutated(draw: st.DrawFn, name: str) -> Frame:
    """A valid message with one to three values replaced or removed, or cut."""
    other = Other(name)
    frames = [
        *other.start(),
        other.media(np.full(160, 1000, np.int16)),
        other.dtmf("5"),
        other.played("g0:m1:100"),
        other.stop(),
    ]
    frame = draw(st.sampled_from([frame for frame in frames if frame is not None]))
    if isinstance(frame, bytes):
        cut = frame[: draw(st.integers(0, len(frame)))]
        return draw(st.sampled_from([cut, message(draw(st.integers(0, 255)), cut)]))
    if not frame.startswith("{"):
        return " ".join(draw(st.permutations(frame.split())))[: draw(st.integers(0, len(frame)))]
    return mutated_json(draw, frame, VALUES)


@every_peer
@pytest.mark.parametrize("calling", [False, True])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_that_arrives_breaks_it(name: str, calling: bool, data: st.DataObject) -> None:
    call, other = begun(name) if calling else (VendorCall(peer(name), CallOptions()), Other(name))
    arriving = mutated(name) | st.text() | st.binary() | VALUES.map(json.dumps)
    over = False
    for frame in data.draw(st.lists(arriving, min_size=1, max_size=5)):
        actions = call.receive(frame)
        assert len(actions) <= 10
        assert all(isinstance(action, Execute | Send | SetTimer | CloseSocket) for action in actions)
        over = over or any(isinstance(action, CloseSocket) for action in actions)
    if calling and not over:
        assert len(heard(call.receive(other.media(np.full(160, 1000, np.int16))))) >= 160
        assert call.on_timer("tick")[-1] == SetTimer("tick", 0.25)
