"""Replies that call tools: the client's own and the server's, in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.session.bench import Answer, Bench, WordsAsr, bench, unguarded
from tests.support.session.tools import PlainTool, box, call
from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, Message, NamedTool, ToolSpec
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import FunctionCall, FunctionOutput, Item, Part
from voiceagent.session.options import SessionOptions
from voiceagent.session.prompt import PENDING
from voiceagent.session.tool_calls import ASK_FIRST, INTERRUPTED
from voiceagent.tools.base import ToolError, ToolPolicy
from voiceagent.turn.options import TurnOptions

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

LONG = "The moon goes around the earth. It takes about a month for one round. It has no air and no water to speak of."
WEATHER = ToolSpec("weather", "Tells the weather.", {"type": "object"})
QUIET = ToolPolicy(filler_ms=0)


def outputs(client: Bench) -> list[str]:
    return [added.item.output for added in client.of(ev.ItemAdded) if isinstance(added.item, FunctionOutput)]


def kinds(client: Bench) -> list[str]:
    return [
        type(event).__name__ for event in client.events if not isinstance(event, ev.ResponseAudio | ev.ResponseText)
    ]


def typed(text: str, role: str = "user") -> Item:
    return Item("", role, (Part("text", text),))  # type: ignore[arg-type]


# -- the client's own -------------------------------------------------------------------------------------------------


async def test_a_clients_tool_is_told_and_waited_for() -> None:
    answers = Answer("Let me look. ", calls=(call("weather", '{"city": "Bonn"}', "c1"),)), "It rains."
    options = SessionOptions(instructions="Be brief.", tools=(WEATHER,), parallel_tools=False, effort="low")
    async with bench(*answers, words=["Weather?"], options=options) as client:
        await client.turn()
        called = await client.until(ev.ToolCalled)
        done = client.of(ev.ResponseDone)[0]
        assert called.by_client
        assert (called.call.name, called.call.arguments, called.call.call_id) == ("weather", '{"city": "Bonn"}', "c1")
        assert done.item is not None
        assert called.previous_item_id == done.item.id
        assert (done.status, done.calls) == ("completed", (called.call,))
        assert client.events.index(called) < client.events.index(done)
        assert client.events.index(client.of(ev.ResponseText)[-1]) < client.events.index(called)
        await asyncio.sleep(10)
        assert len(client.model.requests) == 1  # the rest is the client's
        client.ask(cmd.CreateItem(FunctionOutput("o1", "c1", "rain")))
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert client.text(1) == "It rains. "
        first, second = client.model.requests
        assert first.tools == second.tools == (WEATHER,)
        assert (first.parallel_tools, first.effort, first.tool_choice) == (False, "low", "auto")
        assert second.messages[-2:] == (
            Message("assistant", "Let me look.  ", (call("weather", '{"city": "Bonn"}', "c1"),)),
            Message("tool", "rain", (), "c1"),
        )


async def test_a_call_alone_makes_no_item_and_no_sound() -> None:
    async with bench(
        Answer("", calls=(call("weather"),)), options=SessionOptions(tools=(WEATHER,)), microphone=False
    ) as client:
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert (done.item, done.status) == (None, "completed")
        assert kinds(client) == ["ResponseStarted", "ToolCalled", "ResponseDone"]
        await client.until(ev.ResponsePlayed)


async def test_a_reply_may_have_its_own_tools_and_choice() -> None:
    options = SessionOptions(tools=(WEATHER,), tool_choice="required")
    other = ToolSpec("other")
    async with bench("Yes.", options=options, microphone=False, toolbox=box(PlainTool("mine"))) as client:
        for request in (
            cmd.CreateResponse(),
            cmd.CreateResponse(tools=(other,), tool_choice=NamedTool("other")),
            cmd.CreateResponse(tools=(), tool_choice="required"),
            cmd.CreateResponse(tool_choice=NamedTool("nobody")),
            cmd.CreateResponse(store=False),
        ):
            client.ask(request)
            await client.until(ev.ResponseDone, len(client.of(ev.ResponseStarted)))
        asked = [([tool.name for tool in request.tools], request.tool_choice) for request in client.model.requests]
        assert asked == [
            (["weather", "mine"], "required"),
            (["other"], NamedTool("other")),
            ([], "auto"),
            (["weather", "mine"], "auto"),
            (["weather"], "required"),
        ]


async def test_what_is_called_out_of_band_is_the_clients() -> None:
    async with bench(
        Answer("", calls=(call("mine"),)), toolbox=box(tool := PlainTool("mine")), microphone=False
    ) as client:
        client.ask(cmd.CreateResponse(store=False))
        done = await client.until(ev.ResponseDone)
        assert client.of(ev.ToolCalled)[0].by_client
        assert len(done.calls) == 1
        await asyncio.sleep(10)
        assert not tool.calls
        assert not client.of(ev.ItemAdded)


# -- the server's -----------------------------------------------------------------------------------------------------


async def test_a_tool_of_the_servers_is_run_and_answered() -> None:
    tool = PlainTool("weather", "rain", 0.3)
    answers = Answer("", calls=(call("weather", '{"city": "Bonn"}'),)), "It rains."
    async with bench(*answers, words=["Weather?"], toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert tool.calls == [{"city": "Bonn"}]
        assert (tool.callers[0].session, tool.callers[0].turn) == ("sess_1", 1)
        assert not client.of(ev.ToolCalled)[0].by_client
        assert outputs(client) == ["rain"]
        assert client.text(1) == "It rains. "
        await client.until(ev.ResponsePlayed, 2)
        assert client.model.prompt()[-2:] == [("assistant", ""), ("tool", "rain")]
        assert client.model.requests[1].tool_choice == "auto"
        # One turn, one time: that of the words.
        assert [timed.response_id for timed in client.of(ev.TurnTimed)] == [
            client.of(ev.ResponseStarted)[1].response_id
        ]
        timeline = client.of(ev.TurnTimed)[0].timeline
        assert timeline.response_ms == sum(timeline.parts().values()) > 300


async def test_twenty_calls_at_once() -> None:
    tools = [PlainTool(f"t{n}", f"result {n}", 0.5 + n % 3 / 10) for n in range(20)]
    answers = Answer("", calls=tuple(call(f"t{n}") for n in range(20))), "All done."
    async with bench(*answers, toolbox=box(*tools), microphone=False) as client:
        start = asyncio.get_running_loop().time()
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseStarted, 2)
        assert asyncio.get_running_loop().time() - start < 1.2
        await client.until(ev.ResponseDone, 2)
        told = [message for message in client.model.requests[1].messages if message.role == "tool"]
        assert [message.content for message in told] == [f"result {n}" for n in range(20)]
        assert [added.call.call_id for added in client.of(ev.ToolCalled)] == [f"call_t{n}" for n in range(20)]


@pytest.mark.parametrize("raised", [ToolError("no such city"), ValueError("x"), SystemExit(), asyncio.CancelledError()])
async def test_a_tool_that_fails_is_answered_too(raised: BaseException) -> None:
    async with bench(Answer("", calls=(call("a"),)), "Sorry.", toolbox=box(PlainTool("a", raised))) as client:
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert outputs(client)[0].startswith("error: ")


async def test_a_tool_that_never_answers_is_given_up() -> None:
    tool = PlainTool("a", seconds=10**6, policy=ToolPolicy(deadline_seconds=5, filler_ms=0))
    async with bench(Answer("", calls=(call("a"),)), "It takes too long.", toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == ["error: no answer within 5 s"]


async def test_calls_of_nothing_and_with_nonsense_are_answered() -> None:
    calls = call("nobody"), call("a", "nonsense", "same"), call("a", "{}", "same"), call("a", "{}", "")
    async with bench(Answer("", calls=calls), "Well.", toolbox=box(PlainTool("a")), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert sorted(outputs(client)) == [
            "done",
            "done",
            "error: the arguments are not a JSON object",
            "error: there is no tool of this name",
        ]
        ids = [called.call.call_id for called in client.of(ev.ToolCalled)]
        assert len(set(ids)) == 4
        assert ids[1] == "same"


ROUNDS = 8


async def test_a_model_that_only_calls_must_answer_in_the_end() -> None:
    answers = [Answer("", calls=(call("a", call_id=f"c{n}"),)) for n in range(ROUNDS)]
    async with bench(*answers, "Enough.", toolbox=box(tool := PlainTool("a")), microphone=False) as client:
        client.ask(cmd.CreateResponse(tool_choice="required", metadata={"a": "b"}))
        await client.until(ev.ResponseDone, ROUNDS + 1)
        assert len(tool.calls) == ROUNDS
        choices = [request.tool_choice for request in client.model.requests]
        assert choices == ["required", *["auto"] * ROUNDS]
        assert [bool(request.tools) for request in client.model.requests] == [*[True] * ROUNDS, False]
        assert [bool(started.metadata) for started in client.of(ev.ResponseStarted)] == [True] + [False] * ROUNDS


async def test_the_answer_keeps_to_the_replys_own_context() -> None:
    answers = Answer("I look.", calls=(call("a"),)), "So it is."
    async with bench(*answers, toolbox=box(PlainTool("a", "yes")), microphone=False) as client:
        client.ask(cmd.CreateItem(typed("Not this.")))
        client.ask(cmd.CreateResponse(instructions="Shout.", input=(typed("Is it?"),)))
        await client.until(ev.ResponseDone, 2)
        assert client.model.prompt(1) == [
            ("system", "Shout."),
            ("user", "Is it?"),
            ("assistant", "I look. "),
            ("tool", "yes"),
        ]


async def test_with_calls_of_both_sides_the_client_asks_for_the_answer() -> None:
    tool = PlainTool("mine", "own", 2.0)
    answers = Answer("", calls=(call("weather"), call("mine"))), "Both."
    options = SessionOptions(tools=(WEATHER,))
    async with bench(*answers, options=options, toolbox=box(tool), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ToolCalled, 2)
        assert [called.by_client for called in client.of(ev.ToolCalled)] == [True, False]
        client.ask(cmd.CreateItem(FunctionOutput("", "call_weather", "rain")))
        client.ask(cmd.CreateResponse())  # waits for the server's own
        await client.until(ev.ResponseDone, 2)
        assert [text for role, text in client.model.prompt() if role == "tool"] == ["rain", "own"]
        await asyncio.sleep(10)
        assert len(client.model.requests) == 2


async def test_a_client_that_asks_meanwhile_gets_the_one_answer() -> None:
    async with bench(
        Answer("", calls=(call("a"),)), "One.", toolbox=box(PlainTool("a", "x", 1.0, QUIET)), microphone=False
    ) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponsePlayed)
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponsePlayed, 2)
        await asyncio.sleep(10)
        assert len(client.of(ev.ResponseStarted)) == 2
        assert client.model.prompt()[-1] == ("tool", "x")


@pytest.mark.parametrize("end", [EngineError("llm", "timeout", "x"), Completed("length"), Completed("content_filter")])
async def test_an_answer_that_broke_off_calls_nothing(end: Completed | EngineError) -> None:
    tool = PlainTool("a")
    async with bench(Answer("Well,", calls=(call("a"),), end=end), toolbox=box(tool), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        done = await client.until(ev.ResponseDone)
        assert done.status in ("failed", "incomplete")
        await asyncio.sleep(5)
        assert not tool.calls
        assert not client.of(ev.ToolCalled)


# -- before the turn is over -------------------------------------------------------------------------------------------


async def test_what_is_only_prepared_runs_nothing() -> None:
    """The user goes on: the answer prepared in the pause is thrown away, with its calls."""
    tool = PlainTool("a")
    options = SessionOptions(turn=TurnOptions(silence_ms=1500))
    answers = Answer("", first=0.05, calls=(call("a", '{"n": 1}'),)), Answer("", calls=(call("a", '{"n": 2}'),)), "Ok."
    async with bench(*answers, asr=WordsAsr(["One.", "One two."]), options=options, toolbox=box(tool)) as client:
        await client.say(0.6)
        await asyncio.sleep(1.0)
        assert len(client.model.requests) == 1
        assert client.model.requests[0].caller.speculative
        assert client.model.requests[0].caller.turn == 1
        assert not tool.calls
        assert not client.of(ev.ToolCalled)
        await client.turn(0.6)
        await client.until(ev.ResponseDone, 2)
        assert tool.calls == [{"n": 2}]
        assert [used.used for used in client.of(ev.Speculated)] == [False, True]


async def test_what_was_prepared_runs_once_the_turn_is_over() -> None:
    tool = PlainTool("a")
    options = SessionOptions(turn=TurnOptions(silence_ms=1500))
    async with bench(Answer("", first=0.05, calls=(call("a"),)), "Ok.", options=options, toolbox=box(tool)) as client:
        await client.turn()
        committed = asyncio.get_running_loop().time()
        await client.until(ev.ResponseDone, 2)
        assert len(tool.calls) == 1
        at = client.times[client.events.index(client.of(ev.ToolCalled)[0])]
        assert at - committed < 0.05


# -- barge-in ---------------------------------------------------------------------------------------------------------


async def test_the_user_interrupts_a_tool() -> None:
    tool = PlainTool("a", "late", 8.0, QUIET)
    async with bench(Answer("", calls=(call("a"),)), "To both.", words=["One.", "Two."], toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(1)
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert tool.cancelled == 1
        assert outputs(client) == [str(INTERRUPTED)]
        assert client.model.prompt()[-3:] == [("assistant", ""), ("tool", str(INTERRUPTED)), ("user", "Two.")]
        await asyncio.sleep(20)
        assert len(client.of(ev.ResponseStarted)) == 2


async def test_a_cough_does_not_interrupt_a_tool() -> None:
    tool = PlainTool("a", "there", 3.0, QUIET)
    async with bench(Answer("", calls=(call("a"),)), "Done.", toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await client.say(0.1)
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == ["there"]
        assert len(client.of(ev.SpeechStarted)) == 1


async def test_a_tool_that_is_kept_joins_the_talk_in_silence() -> None:
    tool = PlainTool("a", "booked", 6.0, ToolPolicy(on_interrupt="keep", filler_ms=0))
    answers = Answer("", calls=(call("a"),)), "Wait for it.", "It is booked."
    async with bench(*answers, words=["One.", "Two.", "Three."], toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert ("tool", PENDING) in client.model.prompt()
        await asyncio.sleep(10)
        assert outputs(client) == ["booked"]
        assert len(client.of(ev.ResponseStarted)) == 2
        await client.turn()
        await client.until(ev.ResponseDone, 3)
        assert [role for role, _ in client.model.prompt()][1:] == [
            "user",
            "assistant",
            "tool",
            "user",
            "assistant",
            "user",
        ]
        assert client.model.prompt()[3] == ("tool", "booked")


async def test_where_nobody_interrupts_the_next_answer_waits_for_the_result() -> None:
    tool = PlainTool("a", "there", 6.0, QUIET)
    options = SessionOptions(turn=TurnOptions(interrupt_response=False))
    async with bench(
        Answer("", calls=(call("a"),)), "Both.", words=["One.", "Two."], options=options, toolbox=box(tool)
    ) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await client.turn()
        await client.until(ev.ResponseDone, 2)
        assert [text for role, text in client.model.prompt() if role in ("tool", "user")] == ["One.", "there", "Two."]
        await asyncio.sleep(10)
        assert len(client.of(ev.ResponseStarted)) == 2


async def test_results_while_the_user_speaks_are_answered_with_the_turn() -> None:
    tool = PlainTool("a", "there", 2.0, QUIET)
    options = SessionOptions(turn=TurnOptions(interrupt_response=False))
    async with bench(
        Answer("", calls=(call("a"),)), "Both.", words=["One.", "Two."], options=options, toolbox=box(tool)
    ) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await client.turn(4.0)
        await client.until(ev.ResponseDone, 2)
        await asyncio.sleep(10)
        assert [started.response_id for started in client.of(ev.ResponseStarted)][1:] == [
            client.of(ev.ResponseDone)[1].response_id
        ]
        assert client.model.prompt()[-1] == ("user", "Two.")


async def test_an_interrupt_by_a_key_ends_the_tool() -> None:
    tool = PlainTool("a", "late", 8.0, QUIET)
    async with bench(Answer("", calls=(call("a"),)), "Never.", toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(0.5)
        client.ask(cmd.Interrupt())
        assert outputs(client) == [str(INTERRUPTED)]
        client.ask(cmd.Interrupt())
        await asyncio.sleep(10)
        assert tool.cancelled == 1
        assert len(client.of(ev.ResponseStarted)) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.25, 0.5, 0.75, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0])
async def test_interrupted_at_any_point_the_next_turn_is_answered(seconds: float) -> None:
    tools = PlainTool("a", "late", 1.0), PlainTool("b", "kept", 1.5, ToolPolicy(on_interrupt="keep"))
    answers = Answer("I will look it up.", calls=(call("a"), call("b"))), "There it is, as I said.", "Next."
    async with bench(*answers, words=["One.", "Two."], toolbox=box(*tools)) as client:
        await client.turn()
        await asyncio.sleep(seconds)
        await client.turn(1.5)
        await asyncio.sleep(30)
        assert client.of(ev.ResponseDone)[-1].status == "completed"
        started = [event.response_id for event in client.of(ev.ResponseStarted)]
        assert started == [event.response_id for event in client.of(ev.ResponseDone)]
        calls = [event.call.call_id for event in client.of(ev.ToolCalled)]
        results = [added.item.call_id for added in client.of(ev.ItemAdded) if isinstance(added.item, FunctionOutput)]
        assert sorted(calls) == sorted(results)
        legal(client.model.requests[-1].messages)


def legal(messages: tuple[Message, ...]) -> None:
    """Every call is followed by its result, and there is no other."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            assert message.tool_call_id == waiting.pop(0)
        else:
            assert not waiting
        waiting += [wanted.id for wanted in message.tool_calls]
    assert not waiting


# -- the end of the talk ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stubborn", [0.0, 20.0])
async def test_a_client_that_leaves_while_tools_run_leaves_nothing(stubborn: float) -> None:
    tools = [PlainTool(f"t{n}", seconds=100, stubborn=stubborn) for n in range(20)]
    toolbox = box(*tools)
    async with unguarded(
        Answer("", calls=tuple(call(f"t{n}") for n in range(20))), toolbox=toolbox, microphone=False
    ) as (client, running):
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(0.3)
        start = asyncio.get_running_loop().time()
        running.cancel()
        await asyncio.wait([running])
        assert asyncio.get_running_loop().time() - start < 1.5
    assert all(tool.cancelled for tool in tools)
    await asyncio.sleep(stubborn)


# -- consent ----------------------------------------------------------------------------------------------------------

CONFIRM = ToolPolicy(confirm=True, filler_ms=0)


def pay(amount: int, call_id: str) -> Answer:
    return Answer("", calls=(call("pay", f'{{"to": "Ann", "amount": {amount}}}', call_id),))


async def test_a_dangerous_tool_runs_only_after_the_user_was_asked() -> None:
    tool = PlainTool("pay", "paid", policy=CONFIRM)
    again = replace(pay(5, "c2"), calls=(call("pay", '{"amount": 5, "to": "Ann"}', "c2"),))
    answers = pay(5, "c1"), "Shall I pay five to Ann?", again, "Paid."
    async with bench(*answers, words=["Pay Ann five.", "Yes please do."], toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed, 2)
        assert outputs(client) == [ASK_FIRST]
        assert not tool.calls
        await client.turn()
        await client.until(ev.ResponseDone, 4)
        assert tool.calls == [{"to": "Ann", "amount": 5}]
        assert outputs(client) == [ASK_FIRST, "paid"]


async def test_consent_is_for_one_call_of_just_these_arguments() -> None:
    tool = PlainTool("pay", "paid", policy=CONFIRM)
    answers = (
        pay(5, "c1"),
        pay(5, "c2"),  # again at once: the user was not asked
        "Shall I pay five?",
        pay(500, "c3"),  # something else
        "Shall I pay five hundred?",
        replace(pay(500, "c4"), text="One moment please."),
        pay(500, "c5"),  # a second time
        "Shall I pay again?",
        "As you like.",
        pay(500, "c6"),  # a turn too late
        "Shall I?",
    )
    words = ["One.", "Two.", "Three.", "Four.", "Five.", "Six."]
    async with bench(*answers, words=words, toolbox=box(tool)) as client:
        for replies in (3, 5, 8, 9, 11):
            await client.turn()
            await client.until(ev.ResponsePlayed, replies)
        assert tool.calls == [{"to": "Ann", "amount": 500}]
        assert outputs(client) == [ASK_FIRST, ASK_FIRST, ASK_FIRST, "paid", ASK_FIRST, ASK_FIRST]


async def test_a_question_that_was_not_heard_was_not_asked() -> None:
    tool = PlainTool("pay", "paid", policy=CONFIRM)
    answers = pay(5, "c1"), Answer("Shall I pay?", first=3.0), pay(5, "c2"), "Shall I pay now?"
    async with bench(*answers, words=["Pay.", "Hurry up."], toolbox=box(tool)) as client:
        await client.turn()
        await client.until(ev.ResponseStarted, 2)
        await client.turn()
        await client.until(ev.ResponsePlayed, 4)
        assert outputs(client) == [ASK_FIRST, ASK_FIRST]
        assert not tool.calls


async def test_a_call_deleted_or_a_result_made_up_breaks_no_prompt() -> None:
    async with bench("Yes.", microphone=False) as client:
        client.ask(cmd.CreateItem(typed("Hello.")))
        client.ask(cmd.CreateItem(FunctionCall("f1", "c1", "a", "{}")))
        client.ask(cmd.CreateItem(FunctionCall("f2", "c1", "a", "{}")))
        client.ask(cmd.CreateItem(FunctionOutput("o2", "c9", "to nothing")))
        client.ask(cmd.CreateItem(FunctionOutput("o1", "c1", "")))
        client.ask(cmd.CreateItem(FunctionOutput("o3", "c1", "twice")))
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone)
        assert client.model.prompt()[1:] == [("user", "Hello."), ("assistant", ""), ("tool", "(nothing)")]
        legal(client.model.requests[0].messages)


async def test_two_dangerous_calls_are_asked_about_together() -> None:
    tools = PlainTool("pay", "paid", policy=CONFIRM), PlainTool("call", "called", policy=CONFIRM)
    both = tuple(call(tool.spec.name, call_id=f"{tool.spec.name}_{{}}") for tool in tools)
    answers = Answer("", calls=both), "Shall I pay and call?", Answer("", calls=both), "Done."
    async with bench(*answers, words=["One.", "Yes."], toolbox=box(*tools)) as client:
        await client.turn()
        await client.until(ev.ResponsePlayed, 2)
        await client.turn()
        await client.until(ev.ResponseDone, 4)
        assert outputs(client)[2:] == ["paid", "called"]


async def test_arguments_without_end_are_no_arguments() -> None:
    huge = f'{{"a": "{"x" * 200_000}"}}'
    tool = PlainTool("a")
    async with bench(Answer("", calls=(call("a", huge),)), "Oh.", toolbox=box(tool), microphone=False) as client:
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == ["error: the arguments are not a JSON object"]


async def test_the_turn_is_timed_while_the_next_reply_is_played() -> None:
    async with bench("One short answer.", LONG) as client:
        await client.turn()
        await client.until(ev.ResponseDone)
        client.ask(cmd.CreateResponse())
        await client.until(ev.TurnTimed)
        assert len(client.of(ev.ResponseDone)) == 1
