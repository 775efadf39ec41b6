"""Whole calls of Vonage, Genesys, FreeSWITCH and Asterisk in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.session.bench import Answer
from tests.support.telephone.bench import Desk, spoken
from tests.support.telephone.systems.bench import SimulatedSystem, call
from tests.support.telephone.systems.vendors import PEERS
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.llm.base import ToolCall
from voiceagent.session.conversation import FunctionOutput

pytestmark = pytest.mark.looptime

every_peer = pytest.mark.parametrize("name", PEERS)
STORY = "One day a fox met a crow that had a piece of cheese. The fox wanted it. So it asked the crow to sing a song."


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def system_of(desk: Desk) -> SimulatedSystem:
    assert isinstance(desk.twilio, SimulatedSystem)
    return desk.twilio


@every_peer
async def test_a_turn_by_voice_is_answered_and_heard_whole(name: str) -> None:
    async with call(name, "It is noon.") as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until_silent()
        assert desk.model.requests[0].messages[-1].content == "Hello there."
        assert abs(desk.twilio.played_seconds - len("It is noon.") * 0.06) < 0.05
        assert desk.heard() == "It is noon."
        assert not desk.twilio.cleared_at


@every_peer
@pytest.mark.parametrize("delay", [0.02, 0.15])
async def test_barge_in_is_quick_and_memory_has_what_was_heard(name: str, delay: float) -> None:
    async with call(name, STORY, "Yes?", delay=delay) as desk:
        line = desk.twilio
        await line.say(spoken(1.0))
        await line.until(lambda: line.played_seconds > 2.0)
        began = loop_time()
        await line.say(spoken(1.2))
        assert line.played_at[-1] - began < 0.3 + 2 * delay
        heard = line.played_seconds
        await desk.replied(2)
        await line.until_silent()
        assert abs(desk.heard_seconds() - heard) < 0.6 + 2 * delay, (desk.heard(), heard)
        assert STORY.startswith(desk.heard())
        assert desk.heard(1) == "Yes?"
        assert abs(line.played_seconds - heard - len("Yes?") * 0.06) < 0.1, "nothing of the first was played later"


@every_peer
async def test_keys_interrupt_and_are_told_together(name: str) -> None:
    async with call(name, STORY, "Thank you.") as desk:
        line = desk.twilio
        await line.say(spoken(1.0))
        await line.until(lambda: line.played_seconds > 1.0)
        await line.press("4")
        pressed = loop_time()
        await line.press("2#")
        await line.until(lambda: len(desk.model.requests) == 2)
        assert [at for at in line.played_at if at > pressed + 0.3] == []
        assert desk.model.prompt()[-1] == ("user", "[keypad: 42]")
        await desk.replied(2)
        assert desk.heard(1) == "Thank you."


@every_peer
async def test_the_call_ends_after_the_goodbye_was_heard(name: str) -> None:
    def moved(standard: CallOptions) -> CallOptions:
        return replace(standard, controlled=name == "genesys")

    goodbye = Answer("Goodbye, and thank you for calling.", calls=(ToolCall("c1", "end_call", "{}"),))
    async with call(name, goodbye, options=moved) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.over.wait()
        assert desk.pipe.close_code == 1000
        assert abs(desk.twilio.played_seconds - len(goodbye.text) * 0.06) < 0.07
        assert desk.heard() == goodbye.text
        assert [item.output for item in desk.items() if isinstance(item, FunctionOutput)] == ["done"]
        words = system_of(desk).words
        expected = {"vonage": [], "freeswitch": [], "genesys": ["opened", "leave", "closed"]}
        assert words == expected.get(name, ["answer", "leave"] if "asterisk" in name else ["leave"])


async def test_genesys_is_told_whom_to_transfer_to() -> None:
    def transferring(standard: CallOptions) -> CallOptions:
        tools: tuple[str, ...] = ("end_call", "transfer_call")
        return replace(standard, tools=tools, destinations={"sales": "+1555"}, controlled=True)  # type: ignore[arg-type]

    answer = Answer("One moment.", calls=(ToolCall("c1", "transfer_call", '{"destination": "sales"}'),))
    async with call("genesys", answer, options=transferring) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.over.wait()
        assert system_of(desk).words == ["opened", "leave", "closed"]
        assert desk.pipe.close_code == 1000


async def test_packets_lost_end_a_turn_all_the_same() -> None:
    async with call("asterisk", "I heard you.") as desk:
        await desk.twilio.say(spoken(1.0))
        desk.twilio.lost = True
        await desk.twilio.until_silent()
        assert desk.heard() == "I heard you."
