"""Whole telephone calls in virtual time: the simulated Twilio at one end, a session at the other."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.session.bench import Answer
from tests.support.telephone.bench import call, spoken
from voiceagent.channels.base import ControlError, HangUp, SendDigits, Transfer
from voiceagent.channels.telephone.call import CallOptions
from voiceagent.llm.base import ToolCall
from voiceagent.session import events as ev
from voiceagent.session.conversation import FunctionOutput

pytestmark = pytest.mark.looptime

STORY = "One day a fox met a crow that had a piece of cheese. The fox wanted it. So it asked the crow to sing a song."


def loop_time() -> float:
    return asyncio.get_running_loop().time()


class Exchange:
    """The vendor's end of the interface: keeps what it is asked; may refuse."""

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.asked: list[tuple[float, HangUp | Transfer | SendDigits]] = []

    async def carry_out(self, operation: HangUp | Transfer | SendDigits) -> None:
        await asyncio.sleep(0.1)
        self.asked.append((loop_time(), operation))
        if self.failure:
            raise ControlError(self.failure)


async def test_a_turn_by_voice_is_answered_and_heard_whole() -> None:
    async with call("It is noon.") as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until_silent()
        assert desk.model.requests[0].messages[-1].content == "Hello there."
        assert abs(desk.twilio.played_seconds - len("It is noon.") * 0.06) < 0.05
        assert desk.heard() == "It is noon."
        assert not desk.twilio.cleared_at


async def test_the_call_s_data_fill_the_instructions_and_the_greeting() -> None:
    def options(standard: CallOptions) -> CallOptions:
        session = replace(standard.session, instructions="You work for {{tenant}} and serve {{name}}.")
        return replace(standard, session=session, greeting="Welcome to {{tenant}}.")

    async with call("Hi.", options=options, parameters={"name": "王先生"}) as desk:
        await desk.twilio.until_silent()
        assert desk.heard() == "Welcome to acme."
        assert not desk.model.requests
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until(lambda: desk.model.requests)
        assert desk.model.requests[0].messages[0].content == "You work for acme and serve 王先生."


@pytest.mark.parametrize("delay", [0.02, 0.15])
async def test_barge_in_is_quick_and_the_marks_tell_what_was_heard(delay: float) -> None:
    """Whatever the line's delay: memory holds what came out of the caller's earpiece."""
    async with call(STORY, "Yes?", delay=delay) as desk:
        twilio = desk.twilio
        await twilio.say(spoken(1.0))
        await twilio.until(lambda: twilio.played_seconds > 2.0)
        began = loop_time()
        saying = asyncio.create_task(twilio.say(spoken(1.2)))
        await twilio.until(lambda: twilio.cleared_at)
        before = [at for at in twilio.played_at if at < twilio.cleared_at[0]]
        assert before[-1] - began < 0.3 + 2 * delay
        heard, reported = twilio.played_seconds, desk.reports[-1]
        await saying
        await desk.replied(2)
        await twilio.until_silent()
        # What plays on until the next mark, and while the news of it travels; then words, which are guessed.
        assert 0 <= heard - reported < 0.13 + 2 * delay
        assert abs(desk.heard_seconds() - heard) < 0.6 + 2 * delay, (desk.heard(), heard)
        assert STORY.startswith(desk.heard())
        assert desk.heard(1) == "Yes?"
        assert abs(twilio.played_seconds - heard - len("Yes?") * 0.06) < 0.1, "nothing of the first was played later"


async def test_without_a_voice_nothing_is_cleared_and_a_pause_goes_on() -> None:
    async with call(STORY) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until(lambda: desk.twilio.played_seconds > 1.0)
        await desk.twilio.say(spoken(0.06))
        await desk.twilio.until_silent(1.5)
        assert not desk.twilio.cleared_at
        assert desk.heard() == STORY
        assert abs(desk.twilio.played_seconds - desk.spoken_seconds()) < 0.05


async def test_keys_interrupt_at_once_and_are_told_together() -> None:
    async with call(STORY, "Thank you.") as desk:
        twilio = desk.twilio
        await twilio.say(spoken(1.0))
        await twilio.until(lambda: twilio.played_seconds > 1.0)
        await twilio.press("4")
        await twilio.until(lambda: twilio.cleared_at)
        played = twilio.played_seconds
        await twilio.press("2#")
        await twilio.until(lambda: len(desk.model.requests) == 2)
        assert desk.model.prompt()[-1] == ("user", "[keypad: 42]")
        assert abs(desk.heard_seconds() - played) < 0.3
        await desk.replied(2)
        assert desk.heard(1) == "Thank you."


async def test_keys_without_a_terminator_are_told_after_a_while() -> None:
    async with call("Thank you.") as desk:
        await desk.twilio.press("42")
        pressed = loop_time()
        await desk.twilio.until(lambda: desk.model.requests)
        assert 2.5 <= loop_time() - pressed < 3.0
        assert desk.model.prompt()[-1] == ("user", "[keypad: 42]")


async def test_media_lost_in_the_middle_of_a_turn_ends_it() -> None:
    async with call("I heard you.") as desk:
        await desk.twilio.say(spoken(1.0))
        desk.twilio.lost = True
        lost = loop_time()
        await desk.twilio.until_silent()
        assert loop_time() - lost < 5.0
        assert desk.heard() == "I heard you."


async def test_packets_lost_here_and_there_keep_the_time() -> None:
    async with call("I heard you.") as desk:
        for _ in range(5):
            await desk.twilio.say(spoken(0.2))
            desk.twilio.lost = True
            await asyncio.sleep(0.06)
            desk.twilio.lost = False
        await desk.twilio.until_silent()
        assert len(desk.asr.heard) == 1
        assert desk.asr.heard[0] / 16_000 > 1.15


async def test_the_call_ends_after_the_goodbye_was_heard() -> None:
    goodbye = Answer("Goodbye, and thank you for calling.", calls=(ToolCall("c1", "end_call", "{}"),))
    async with call(goodbye) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.over.wait()
        assert desk.pipe.close_code == 1000
        assert abs(desk.twilio.played_seconds - len(goodbye.text) * 0.06) < 0.05
        assert desk.heard() == goodbye.text
        assert [item.output for item in desk.items() if isinstance(item, FunctionOutput)] == ["done"]


def transferring(standard: CallOptions) -> CallOptions:
    return replace(standard, tools=("end_call", "transfer_call"), destinations={"sales": "+1555"}, controlled=True)


TRANSFER = Answer("One moment.", calls=(ToolCall("c1", "transfer_call", '{"destination": "sales"}'),))


async def test_a_transfer_follows_the_words_that_announce_it() -> None:
    exchange = Exchange()
    async with call(TRANSFER, options=transferring, control=exchange) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.over.wait()
        [(at, operation)] = exchange.asked
        assert operation == Transfer("+1555")
        assert at > desk.twilio.played_at[-1]
        assert abs(desk.twilio.played_seconds - len("One moment.") * 0.06) < 0.05
        assert desk.pipe.close_code == 1000


async def test_a_transfer_that_fails_is_told_to_the_caller() -> None:
    exchange = Exchange("twilio refused it (404)")
    async with call(TRANSFER, "Sorry, nobody is there.", options=transferring, control=exchange) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until(lambda: len(desk.model.requests) == 2)
        assert desk.model.requests[1].messages[-1].content == "failed: twilio refused it (404)"
        await desk.replied(2)
        assert desk.heard(1) == "Sorry, nobody is there."
        assert desk.pipe.close_code is None


async def test_a_caller_who_interrupts_the_goodbye_is_not_hung_up_on() -> None:
    goodbye = Answer(STORY, calls=(ToolCall("c1", "end_call", "{}"),))
    async with call(goodbye, "Oh, sorry.") as desk:
        twilio = desk.twilio
        await twilio.say(spoken(1.0))
        await twilio.until(lambda: twilio.played_seconds > 5.6)
        await twilio.say(spoken(1.0))
        await desk.replied(2)
        assert desk.heard(1) == "Oh, sorry."
        assert desk.pipe.close_code is None


@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize("before_ms", [600, 400, 300, 200, 100])
async def test_a_caller_who_speaks_at_the_end_of_a_goodbye_is_heard(before_ms: int, controlled: bool) -> None:
    """However late: what was begun while the goodbye was heard is not cut off."""
    goodbye = Answer("I will hang up now. Goodbye, and thank you.", calls=(ToolCall("c1", "end_call", "{}"),))
    exchange = Exchange()
    async with call(
        goodbye, "Oh, sorry.", options=lambda options: replace(options, controlled=controlled), control=exchange
    ) as desk:
        twilio, seconds = desk.twilio, len(goodbye.text) * 0.06
        await twilio.say(spoken(1.0))
        await twilio.until(lambda: twilio.played_seconds > seconds - before_ms / 1000)
        await twilio.say(spoken(1.5))
        await desk.replied(2)
        assert desk.heard(1) == "Oh, sorry."
        assert desk.pipe.close_code is None
        assert not exchange.asked
        results = {item.output for item in desk.items() if isinstance(item, FunctionOutput)}
        assert results <= {"not done: the caller interrupted"}


async def test_a_cough_after_the_goodbye_keeps_nobody_on_the_line() -> None:
    goodbye = Answer("Goodbye.", calls=(ToolCall("c1", "end_call", "{}"),))
    async with call(goodbye, words=("Bye.", "")) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until(lambda: desk.twilio.played_seconds > len(goodbye.text) * 0.06 - 0.1)
        await desk.twilio.say(spoken(0.5))
        await desk.twilio.over.wait()
        assert desk.pipe.close_code == 1000
        assert len(desk.model.requests) == 1


async def test_digits_are_complete_when_the_caller_speaks() -> None:
    async with call("Thank you.", words=("That is my number.",)) as desk:
        await desk.twilio.press("42")
        await desk.twilio.say(spoken(4.0))
        await desk.replied(1)
        said = " ".join(words for role, words in desk.model.prompt() if role == "user")
        assert said.split("]")[0] == "[keypad: 42"
        assert said.endswith("That is my number.")
        assert len(desk.of(ev.ResponseDone)) == 1, "one answer to both"


async def test_digits_before_a_cough_are_answered() -> None:
    async with call("Thank you.", words=("",)) as desk:
        await desk.twilio.press("42")
        await desk.twilio.say(spoken(0.5))
        await desk.replied(1)
        assert desk.model.prompt()[-1][1].startswith("[keypad: 42]")


async def test_digits_keyed_while_the_caller_speaks_come_after_what_is_said() -> None:
    async with call("Thank you.", words=("My number is this.",)) as desk:
        saying = asyncio.create_task(desk.twilio.say(spoken(2.0)))
        await asyncio.sleep(1.0)
        for key in "42#":
            await desk.twilio.press(key)
            await asyncio.sleep(0.2)
        await saying
        await desk.replied(1)
        said = " ".join(words for role, words in desk.model.prompt() if role == "user")
        assert said.startswith("My number is this.")
        assert said.endswith("[keypad: 42]")
        assert desk.heard() == "Thank you."


async def test_messages_are_never_tiny_and_marks_are_close() -> None:
    async with call(STORY) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until_silent(1.5)
        positions = [int(name.split(":")[-1]) for name in desk.twilio.returned]
        assert positions == sorted(positions)
        gaps = [after - before for before, after in zip([0, *positions], positions, strict=False)]
        assert max(gaps) <= 200
        assert abs(positions[-1] - desk.spoken_seconds() * 1000) < 50


async def test_hanging_up_ends_the_session() -> None:
    async with call(STORY) as desk:
        await desk.twilio.say(spoken(1.0))
        await desk.twilio.until(lambda: desk.twilio.played_seconds > 1.0)
        await desk.twilio.hang_up()
        await desk.twilio.over.wait()
        assert desk.pipe.close_code == 1000
