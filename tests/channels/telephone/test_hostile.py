"""Whatever arrives on a telephone's stream: the right reaction, and never an exception."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.telephone.hostile import cases, json_values, mutated_json
from tests.support.telephone.vendors import (
    DIALECTS,
    STARTS,
    VENDORS,
    Vendor,
    asked,
    audio,
    begun,
    frames_of,
    heard,
    reply_begins,
    reply_ends,
    tell,
    understood,
)
from voiceagent.channels.base import Action, CloseSocket, Execute, Frame, Send, SetTimer
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.channels.telephone.media_stream.protocol import MAX_MALFORMED, MediaStreamProtocol
from voiceagent.session import commands as cmd


def test_there_are_enough() -> None:
    assert min(len(cases(vendor)) for vendor in VENDORS) >= 49


def works(stream: MediaStreamProtocol, other: Vendor) -> None:
    """The call goes on: it hears, speaks and takes keys."""
    assert len(heard(stream.receive(other.media(np.full(160, 1000, np.int16))))) >= 160
    sent = understood(other.name, frames_of(tell(stream, reply_begins(), audio(100), reply_ends())))
    assert asked(stream.receive(other.played(sent.marks[0]))) == [cmd.ReportPlayed("i1", 100)]
    assert asked(stream.receive(other.dtmf("#")))[0] == cmd.Interrupt()


def expected(vendor: str, name: str, code: int | None) -> int | None:
    """Plivo's marks come back by another event."""
    if vendor == "plivo":
        return {"played stream of another": None, "mark of another": None}.get(name, code)
    return code


@pytest.mark.parametrize("vendor", VENDORS)
def test_as_the_first_message(vendor: str) -> None:
    for name, frame, code in cases(vendor):
        stream = MediaStreamProtocol(DIALECTS[vendor], CallOptions())
        stream.start()
        actions = stream.receive(frame)
        closes = [action for action in actions if isinstance(action, CloseSocket)]
        wanted = expected(vendor, name, code)
        assert [close.code for close in closes] == ([] if wanted is None else [wanted]), name
        assert len(actions) == 1 or not closes, name
        assert all(len(close.reason.encode()) <= 123 for close in closes), name


@pytest.mark.parametrize("vendor", VENDORS)
def test_during_a_call_one_is_passed_over(vendor: str) -> None:
    for name, frame, _ in cases(vendor):
        stream, other = begun(vendor)
        actions = stream.receive(frame)
        assert not [action for action in actions if isinstance(action, CloseSocket | Send | SetTimer)], name
        assert {type(command) for command in asked(actions)} <= {cmd.AppendAudio}, name
        works(stream, other)


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_flood_of_bad_messages_ends_the_call(vendor: str) -> None:
    stream, _ = begun(vendor)
    for _ in range(MAX_MALFORMED):
        assert stream.receive("{") == []
    assert stream.receive("{") == [CloseSocket(1007, "the message is not valid")]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_second_call_on_one_stream_is_none(vendor: str) -> None:
    stream, other = begun(vendor)
    assert stream.receive(other.start()) == []
    works(stream, other)


def test_keys_without_end_cost_no_memory() -> None:
    stream, other = begun("twilio", CallOptions(key_end=""))
    items = [
        command.item
        for _ in range(1000)
        for command in asked(stream.receive(other.dtmf("7")))
        if isinstance(command, cmd.CreateItem)
    ]
    assert len(items) == 1000 // 64


VALUES = json_values("start", "media", "mark", "dtmf", "stop", "AAAA", "", "inbound", "audio/x-l16", "8000", "-1")


@st.composite
def mutated(draw: st.DrawFn, vendor: str) -> Frame:
    """A valid message with one to three values replaced or removed, or its text cut."""
    other = Vendor(vendor)
    valid: list[Frame] = [
        other.start(),
        other.media(np.full(160, 1000, np.int16)),
        other.dtmf("5"),
        other.played("g0:m1:100"),
        *other.connected(),
    ]
    frame = draw(st.sampled_from(valid))
    if isinstance(frame, bytes):
        return frame[: draw(st.integers(0, len(frame)))]
    return mutated_json(draw, frame, VALUES)


def frames_for(vendor: str) -> st.SearchStrategy[list[Frame]]:
    return st.lists(mutated(vendor) | st.text() | st.binary() | VALUES.map(json.dumps), min_size=1, max_size=5)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("calling", [False, True])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_that_arrives_breaks_it(vendor: str, calling: bool, data: st.DataObject) -> None:
    stream, other = begun(vendor) if calling else (MediaStreamProtocol(DIALECTS[vendor], CallOptions()), Vendor(vendor))
    over = False
    for frame in data.draw(frames_for(vendor)):
        actions = stream.receive(frame)
        assert len(actions) <= 8
        assert all(isinstance(action, Execute | Send | SetTimer | CloseSocket) for action in actions)
        over = over or any(isinstance(action, CloseSocket) for action in actions)
    if calling and not over:
        sent = understood(vendor, frames_of(tell(stream, reply_begins(), audio(100))))
        assert asked(stream.receive(other.played(sent.marks[-1])))[0] == cmd.ReportPlayed("i1", 100)


@given(begin=st.dictionaries(st.sampled_from(["customParameters", "custom_parameters", "client_state", "mediaFormat",
       "callSid", "from"]), VALUES))  # fmt: skip
def test_any_start_gives_a_call_or_a_close(begin: dict[str, object]) -> None:
    stream = MediaStreamProtocol(DIALECTS["twilio"], CallOptions())
    actions: list[Action] = stream.receive(json.dumps({**STARTS["twilio"], "start": begin}))
    if stream.call is None:
        assert [type(action) for action in actions] == [CloseSocket]
        return
    variables = stream.call.variables()
    assert not any("\n" in value for value in variables.values())
