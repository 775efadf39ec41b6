"""Tools and sessions of other kinds, by the official openai package against the running server, with real engines."""

import asyncio
import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from tests.channels.realtime.test_server import Client, configure, talking
from tests.support.llm.server import Reply
from tests.support.realtime.wire import Json
from tests.support.speech import EnginesFor, Speak, quiet
from voiceagent.settings import Settings
from voiceagent.tools.settings import PythonSection, ToolsSection

pytestmark = pytest.mark.real

TOOLS = [
    {
        "type": "function",
        "name": name,
        "description": f"Tells the {name}.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    for name in ("weather", "time")
]
CALLS = [("weather", '{"city": "Bonn"}'), ("time", '{"city": "Bonn"}')]


async def session(client: Client, **changes: object) -> None:
    count = client.kinds().count("session.updated") + 1
    update = {"type": "session.update", "session": {"type": "realtime", **changes}}
    await client.connection.send_raw(json.dumps(update))
    await client.until("session.updated", count)


async def type_(client: Client, text: str, **response: object) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await client.connection.conversation.item.create(item=item)  # type: ignore[arg-type]
    create = {"type": "response.create", "response": {"output_modalities": ["text"], **response}}
    await client.connection.send_raw(json.dumps(create))


def last(client: Client) -> Json:
    """The last response that is done."""
    done = [event for event in client.events if event.type == "response.done"]  # type: ignore[attr-defined]
    return cast(Json, done[-1].model_dump()["response"])


def calls(response: Json) -> list[tuple[str, str]]:
    output = cast(list[dict[str, str]], response["output"])
    return [(item["name"], item["call_id"]) for item in output if item["type"] == "function_call"]


async def test_a_spoken_question_that_takes_two_tools(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, [Reply("One moment.", calls=CALLS), "It rains, and it is noon."]) as (client, llm):
        await session(client, tools=TOOLS, tool_choice="required", parallel_tool_calls=True)
        await client.say(np.concatenate([speak("What about the weather?"), quiet(1.5)]))
        await client.until("response.done")
        wanted = calls(last(client))
        assert [name for name, _ in wanted] == ["weather", "time"]
        kinds = client.kinds()
        first = kinds.index("response.function_call_arguments.delta")
        assert kinds[first - 2 : first + 4] == [
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
        ]
        added = [event for event in client.events if event.type == "response.output_item.added"]  # type: ignore[attr-defined]
        assert [event.output_index for event in added] == [0, 1, 2]  # type: ignore[attr-defined]
        for name, call_id in reversed(wanted):  # in any order
            item = {"type": "function_call_output", "call_id": call_id, "output": f"result of {name}"}
            await client.connection.conversation.item.create(item=item)  # type: ignore[arg-type]
        await client.connection.response.create()
        await client.until("response.done", 2)
        said = await client.until("response.output_audio_transcript.done", 2)
        assert said.transcript == "It rains, and it is noon."  # type: ignore[attr-defined]
        body = llm.requests[0].body
        tools = cast(list[dict[str, Json]], body["tools"])
        assert [tool["function"]["name"] for tool in tools] == ["weather", "time"]
        assert tools[0]["function"]["parameters"] == TOOLS[0]["parameters"]
        assert body["tool_choice"] == "required"
        told = {message["tool_call_id"]: message["content"] for message in llm.requests[1].messages[-2:]}
        assert told == {call_id: f"result of {name}" for name, call_id in wanted}
        await client.connection.conversation.item.retrieve(item_id=added[1].item.id)  # type: ignore[attr-defined]
        shown = await client.until("conversation.item.retrieved")
        assert shown.item.arguments == '{"city": "Bonn"}'  # type: ignore[attr-defined]


async def test_tools_of_one_response(engines_for: EnginesFor) -> None:
    async with talking(engines_for, [Reply(calls=CALLS[:1]), "Fine."]) as (client, llm):
        await session(client, tools=TOOLS)
        choice = {"type": "function", "name": "weather"}
        await type_(client, "Hello", tools=TOOLS[:1], tool_choice=choice, conversation="none", metadata={"a": "b"})
        await client.until("response.done")
        response = last(client)
        assert response["conversation_id"] is None
        assert response["metadata"] == {"a": "b"}
        assert [name for name, _ in calls(response)] == ["weather"]
        assert client.kinds().count("conversation.item.added") == 1  # the user's
        assert cast(Json, llm.requests[0].body["tool_choice"])["function"] == {"name": "weather"}
        await type_(client, "Never mind", tools=[])
        await client.until("response.done", 2)
        assert "tools" not in llm.requests[1].body


async def test_a_tool_of_the_servers_is_no_business_of_the_clients(engines_for: EnginesFor, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(
        "from voiceagent.tools.functions import tool\n\n\n@tool\nasync def price(item: str) -> str:\n"
        '    """Tells the price."""\n    return f"{item}: 5 euros"\n'
    )
    settings = Settings(tools=ToolsSection(python=(PythonSection(module=str(module)),)))
    script: list[Reply | str] = [Reply(calls=[("price", '{"item": "tea"}')]), "Five euros.", "Goodbye."]
    async with talking(engines_for, script, settings) as (client, llm):
        await type_(client, "How much is tea?")
        await client.until("response.done", 2)
        assert "price" in str(llm.requests[0].body["tools"])
        assert llm.requests[1].messages[-1]["content"] == "tea: 5 euros"
        assert not [kind for kind in client.kinds() if "function" in kind]
        assert "price" not in str(client.events)
        await type_(client, "Bye")
        await client.until("response.done", 3)
        added = [event for event in client.events if event.type == "conversation.item.added"]  # type: ignore[attr-defined]
        known = [None, *(event.item.id for event in added)]  # type: ignore[attr-defined]
        assert [event.previous_item_id for event in added] == known[:-1]  # type: ignore[attr-defined]


async def test_only_words_of_an_item_and_exactly_these_words(engines_for: EnginesFor) -> None:
    async with talking(engines_for, ["Sure."]) as (client, llm):
        await type_(client, "My name is Ann.")
        await client.until("response.done")
        item = next(event for event in client.events if event.type == "conversation.item.added").item.id  # type: ignore[attr-defined]
        context = [{"type": "item_reference", "id": item}]
        create = {"type": "response.create", "response": {"input": context, "output_modalities": ["text"]}}
        await client.connection.send_raw(json.dumps(create))
        await client.until("response.done", 2)
        assert [message["content"] for message in llm.requests[1].messages if message["role"] != "system"] == [
            "My name is Ann."
        ]
        context[0]["id"] = "nothing"
        await client.connection.send_raw(json.dumps({**create, "event_id": "mine"}))
        refused = await client.until("error")
        assert (refused.error.param, refused.error.event_id) == ("response.input", "mine")  # type: ignore[attr-defined]
        ours = {"voiceagent": {"words": "This call is recorded.", "protected": True}}
        await client.connection.send_raw(json.dumps({"type": "response.create", "response": ours}))
        await client.until("response.done", 3)
        said = await client.until("response.output_audio_transcript.done")
        assert said.transcript == "This call is recorded."  # type: ignore[attr-defined]
        assert len(llm.requests) == 2


async def test_instructions_with_names_in_them(engines_for: EnginesFor) -> None:
    async with talking(engines_for, ["Hello."]) as (client, llm):
        prompt = {"id": "any", "variables": {"name": "小明"}}
        await session(client, instructions="You talk with {{name}}.", prompt=prompt, reasoning={"effort": "low"})
        await type_(client, "Hi")
        await client.until("response.done")
        assert "You talk with 小明." in llm.requests[0].messages[0]["content"]


async def test_the_agent_speaks_up_when_nobody_does(engines_for: EnginesFor) -> None:
    async with talking(engines_for, ["Hello.", "Are you there?"]) as (client, _):
        await configure(client, input={"turn_detection": {"type": "server_vad", "idle_timeout_ms": 300}})
        await type_(client, "Hi", output_modalities=["audio"])
        await client.until("response.done")
        microphone = asyncio.create_task(client.say(quiet(8), realtime=True))
        await client.until("response.done", 2)
        microphone.cancel()
        kinds = client.kinds()
        at = kinds.index("input_audio_buffer.timeout_triggered")
        assert kinds[at : at + 5] == [
            "input_audio_buffer.timeout_triggered",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
        ]


async def test_a_session_that_only_transcribes(engines_for: EnginesFor, speak: Speak) -> None:
    async with talking(engines_for, ["Never said."]) as (client, llm):
        audio = {"input": {"transcription": {"model": "gpt-4o-transcribe", "language": "en"}}}
        await session(client, type="transcription", audio=audio)
        spoken = speak("What is the capital of France, and what is the capital of Spain?")
        await client.say(np.concatenate([spoken, quiet(1.5)]), realtime=True)
        done = await client.until("conversation.item.input_audio_transcription.completed")
        assert "capital of Spain" in done.transcript  # type: ignore[attr-defined]
        deltas = [
            event.delta  # type: ignore[attr-defined]
            for event in client.events
            if event.type == "conversation.item.input_audio_transcription.delta"  # type: ignore[attr-defined]
        ]
        assert deltas
        assert "".join(deltas)[:10] == done.transcript[:10]  # type: ignore[attr-defined]
        await client.connection.response.create()
        refused = await client.until("error")
        assert refused.error.code == "response_not_available"  # type: ignore[attr-defined]
        assert not llm.requests
