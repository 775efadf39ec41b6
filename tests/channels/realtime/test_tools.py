"""Tools in OpenAI Realtime: what is offered, called, and told; the client's and the server's."""

from dataclasses import replace
from typing import cast

import pytest

from tests.support.realtime.wire import DONE, Json, agent, asked, begin, protocol, say, tell, types, update
from voiceagent.channels.realtime.protocol import RealtimeProtocol
from voiceagent.llm.base import NamedTool, ToolChoice, ToolSpec
from voiceagent.session import commands, events
from voiceagent.session.conversation import FunctionCall, FunctionOutput, Item, Part
from voiceagent.session.options import SessionOptions

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "天气",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SPEC = ToolSpec("weather", "天气", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = FunctionCall("item_c", "call_1", "weather", '{"city": "Bonn"}')
OTHER = FunctionCall("item_d", "call_2", "quit", "")


def configured(realtime: RealtimeProtocol, **session: object) -> SessionOptions:
    (command,) = asked(say(realtime, "session.update", session={"type": "realtime", **session}))
    assert isinstance(command, commands.Configure)
    return command.options


def called(call: FunctionCall, previous: str | None, *, mine: bool = False) -> events.ToolCalled:
    return events.ToolCalled("resp_1", call, previous, by_client=not mine)


def item_of(event: Json) -> Json:
    return cast(Json, event["item"])


# -- what is offered --------------------------------------------------------------------------------------------------


def test_tools_of_a_session() -> None:
    realtime = protocol()
    options = configured(realtime, tools=[WEATHER, {"type": "function", "name": "quit"}])
    assert options.tools == (SPEC, ToolSpec("quit"))
    assert configured(realtime, instructions="x").tools == options.tools
    assert configured(realtime, tools=[]).tools == ()
    configured(realtime, tools=[WEATHER])
    assert configured(realtime, tools=None).tools == ()


def test_a_schema_of_null_is_none() -> None:
    tool = {"type": "function", "name": "quit", "description": None, "parameters": None}
    assert configured(protocol(), tools=[tool]).tools == (ToolSpec("quit"),)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        (None, "auto"),
        ({"type": "function", "name": "weather"}, NamedTool("weather")),
        ({"type": "mcp", "server_label": "s", "name": "f"}, NamedTool("f")),
        ({"type": "mcp", "server_label": "s"}, "required"),
    ],
)
def test_tool_choice(given: object, choice: ToolChoice) -> None:
    assert configured(protocol(), tool_choice=given).tool_choice == choice


def test_how_tools_may_be_called() -> None:
    realtime = protocol()
    options = configured(realtime, parallel_tool_calls=False, reasoning={"effort": "low"})
    assert (options.parallel_tools, options.effort) == (False, "low")
    options = configured(realtime, parallel_tool_calls=None, reasoning=None)
    assert (options.parallel_tools, options.effort) == (True, None)
    assert configured(realtime, reasoning={}).effort is None


def test_tools_of_a_response() -> None:
    response = {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}}
    (command,) = asked(say(protocol(), "response.create", response=response))
    assert command == commands.CreateResponse(tools=(SPEC,), tool_choice=NamedTool("weather"))


# -- the client's own -------------------------------------------------------------------------------------------------


def test_a_call_after_some_words() -> None:
    realtime = protocol()
    told = tell(realtime, *begin(), called(CALL, "item_a"), replace(DONE, calls=(CALL,)))
    calls = told[-7:-1]
    assert types(told[5:-7]) == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
    ]
    assert types(calls) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
    ]
    begun = {
        "id": "item_c",
        "object": "realtime.item",
        "type": "function_call",
        "status": "in_progress",
        "name": "weather",
        "call_id": "call_1",
        "arguments": "",
    }
    whole = {**begun, "status": "completed", "arguments": '{"city": "Bonn"}'}
    assert [event.get("item") for event in calls] == [begun, begun, None, None, whole, whole]
    assert [event.get("output_index") for event in calls] == [1, None, 1, 1, None, 1]
    assert [event.get("previous_item_id") for event in calls] == [None, "item_a", None, None, "item_a", None]
    assert calls[2]["delta"] == calls[3]["arguments"] == '{"city": "Bonn"}'
    assert (calls[3]["name"], calls[3]["call_id"], calls[3]["item_id"]) == ("weather", "call_1", "item_c")
    response = cast(Json, told[-1]["response"])
    assert [item["type"] for item in cast(list[Json], response["output"])] == ["message", "function_call"]


def test_calls_side_by_side_and_without_words() -> None:
    started = begin()[0]
    done = events.ResponseDone("resp_1", None, None, "completed", calls=(CALL, OTHER))
    told = tell(protocol(), started, called(CALL, "item_u"), called(OTHER, "item_c"), done)
    finished = [event for event in told if event["type"] == "response.output_item.done"]
    assert [(event["output_index"], item_of(event)["call_id"]) for event in finished] == [(0, "call_1"), (1, "call_2")]
    assert item_of(finished[1])["arguments"] == "{}"  # clients parse it
    output = cast(list[Json], cast(Json, told[-1]["response"])["output"])
    assert [item["name"] for item in output] == ["weather", "quit"]


def test_calls_out_of_band_are_in_no_conversation() -> None:
    done = events.ResponseDone("resp_1", None, None, "completed", calls=(CALL,))
    told = tell(protocol(), begin(stored=False)[0], called(CALL, None), done)
    assert [kind for kind in types(told) if str(kind).startswith("conversation")] == []
    assert cast(list[Json], cast(Json, told[-1]["response"])["output"])[0]["call_id"] == "call_1"


def test_results_are_items() -> None:
    result = FunctionOutput("item_r", "call_1", "rain")
    told = tell(protocol(), events.ItemAdded(result, "item_c"), events.ItemDone(result, "item_c"))
    assert types(told) == ["conversation.item.added", "conversation.item.done"]
    assert item_of(told[0]) == {
        "id": "item_r",
        "object": "realtime.item",
        "type": "function_call_output",
        "status": "completed",
        "call_id": "call_1",
        "output": "rain",
    }


def test_a_call_can_be_retrieved() -> None:
    (told,) = tell(protocol(), events.ItemRetrieved(OTHER))
    assert (item_of(told)["type"], item_of(told)["arguments"]) == ("function_call", "{}")


# -- the server's -----------------------------------------------------------------------------------------------------


def server_run() -> list[events.Event]:
    """The server's tool is called along with words and a tool of the client's, and the talk goes on."""
    result = FunctionOutput("item_r", "call_2", "done")
    later = Item("item_v", "user", (Part("text", "Well?"),))
    return [
        *begin(),
        called(OTHER, "item_a", mine=True),
        called(CALL, "item_d"),
        replace(DONE, calls=(OTHER, CALL)),
        events.ItemAdded(result, "item_c"),
        events.ItemDone(result, "item_c"),
        events.ItemAdded(later, "item_r"),
        events.ItemDone(later, "item_r"),
        events.AudioCommitted("item_w", "item_d"),
    ]


def test_a_client_never_sees_what_the_server_runs() -> None:
    """agents-js and Pipecat would run it once more."""
    told = tell(protocol(), *server_run())
    assert "call_2" not in str(told)
    assert "item_d" not in str(told)
    assert "item_r" not in str(told)
    before = {
        item_of(event)["id"]: event["previous_item_id"]
        for event in told
        if "previous_item_id" in event
        if "item" in event
    }
    assert before == {"item_a": "item_u", "item_c": "item_a", "item_v": "item_c"}
    assert told[-1]["previous_item_id"] == "item_a"
    (done,) = [cast(Json, event["response"]) for event in told if event["type"] == "response.done"]
    assert [item["id"] for item in cast(list[Json], done["output"])] == ["item_a", "item_c"]


def test_whoever_asks_is_told_of_them() -> None:
    realtime = protocol()
    update(realtime, voiceagent={"events": True})
    ours = [event for event in tell(realtime, *server_run()) if str(event["type"]).startswith("voiceagent.tool")]
    for event in ours:
        del event["event_id"]
    assert ours == [
        {
            "type": "voiceagent.tool.called",
            "response_id": "resp_1",
            "call_id": "call_2",
            "name": "quit",
            "arguments": "{}",
        },
        {"type": "voiceagent.tool.done", "call_id": "call_2", "output": "done"},
    ]


def test_a_reply_that_only_calls_the_servers_tools_is_empty() -> None:
    done = events.ResponseDone("resp_1", None, None, "completed", calls=(CALL,))
    told = tell(protocol(), begin()[0], called(CALL, "item_u", mine=True), done)
    assert types(told) == ["response.created", "response.done"]
    assert cast(Json, told[-1]["response"])["output"] == []


def test_what_the_server_ran_long_ago_is_forgotten() -> None:
    realtime = protocol()
    for number in range(5_000):
        call = FunctionCall(f"i{number}", f"c{number}", "quit", "")
        tell(realtime, called(call, f"i{number - 1}" if number else "item_u", mine=True))
    (told,) = tell(realtime, events.AudioCommitted("item_w", "i4999"))
    assert told["previous_item_id"] == "item_u"


def test_text_and_calls() -> None:
    told = tell(
        protocol(), *begin("text"), called(CALL, "item_a"), replace(DONE, item=agent("text", "你好, x"), calls=(CALL,))
    )
    assert types(told)[-1] == "response.done"
    assert "response.output_text.done" in types(told)
