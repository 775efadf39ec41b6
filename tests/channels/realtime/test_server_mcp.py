"""MCP servers that a client names: by the official openai package, against the running server and a real MCP server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from pydantic import BaseModel

from tests.channels.realtime.test_server import OFFICIAL, Client, talking
from tests.channels.realtime.test_server_tools import session, type_
from tests.support.llm.server import Reply, Script, ScriptedLlm
from tests.support.realtime.wire import Json, read
from tests.support.speech import EnginesFor
from tests.support.tools_mcp_server import http_server
from voiceagent.settings import Settings
from voiceagent.tools.settings import ToolsSection

pytestmark = pytest.mark.real

ALLOWED = Settings(tools=ToolsSection(client_mcp=True, client_mcp_hosts=("127.0.0.1",), client_mcp_seconds=5))


@pytest.fixture(autouse=True)
async def no_threads_of_the_loop() -> AsyncIterator[None]:
    """Names of servers are looked up in them."""
    yield
    await asyncio.get_running_loop().shutdown_default_executor()


class Patient(Client):
    """A client that minds no `voiceagent.*` events."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.connection)
        self.events = client.events
        self.warnings: list[Json] = []

    async def until(self, kind: str, count: int = 1) -> BaseModel:
        async with asyncio.timeout(30):
            while self.kinds().count(kind) < count:
                event = json.loads(raw := await self.connection.recv_bytes())
                if str(event["type"]).startswith("voiceagent."):
                    self.warnings.append(event)
                else:
                    self.events.append(OFFICIAL.validate_json(raw, strict=True))
        return next(event for event in reversed(self.events) if event.type == kind)  # type: ignore[attr-defined]


@asynccontextmanager
async def stage(
    engines_for: EnginesFor, tmp_path: Path, script: Script, **tool: object
) -> AsyncIterator[tuple[Client, ScriptedLlm, Json]]:
    """A client, the model, and the tool that names the MCP server."""
    async with http_server(tmp_path / "log") as (url, _), talking(engines_for, script, ALLOWED) as (client, llm):
        yield client, llm, {"type": "mcp", "server_label": "shop", "server_url": url, **tool}


def events(client: Client, kind: str) -> list[Json]:
    """All of this kind, checked as the pickiest clients would."""
    told = [read(event.model_dump_json(exclude_unset=True)) for event in client.events]
    return [event for event in told if event["type"] == kind]


def item(event: Json) -> Json:
    return cast(Json, event["item"])


def output(client: Client, number: int = -1) -> list[Json]:
    return cast(list[Json], cast(Json, events(client, "response.done")[number]["response"])["output"])


async def test_a_call_from_its_listing_to_the_answer(engines_for: EnginesFor, tmp_path: Path) -> None:
    script: list[Reply | str] = [Reply("I add. ", calls=[("add", '{"a": 1, "b": 2}')]), "It is three."]
    secret = {"authorization": "t0ken", "headers": {"X-Shop": "s3cret"}}
    tool = {"require_approval": "never", "allowed_tools": ["add", "查询"], **secret}
    async with stage(engines_for, tmp_path, script, **tool) as (client, llm, server):
        await session(client, tools=[server, {"type": "function", "name": "own"}])
        await client.until("conversation.item.done")
        assert client.kinds()[1:] == [
            "session.updated",
            "conversation.item.added",
            "mcp_list_tools.in_progress",
            "mcp_list_tools.completed",
            "conversation.item.done",
        ]
        shown = json.dumps(events(client, "session.updated"))
        assert "shop" in shown
        assert "t0ken" not in shown
        assert "s3cret" not in shown
        listed = item(events(client, "conversation.item.done")[0])
        assert (listed["type"], listed["server_label"]) == ("mcp_list_tools", "shop")
        assert [tool["name"] for tool in cast(list[Json], listed["tools"])] == ["add", "查询"]
        await type_(client, "What is one and two?")
        await client.until("response.done", 2)
        offered = cast(list[dict[str, Json]], llm.requests[0].body["tools"])
        assert [tool["function"]["name"] for tool in offered][:2] == ["own", "add"]
        assert llm.requests[1].messages[-1]["content"] == "3"
        kinds = client.kinds()
        first = kinds.index("response.mcp_call_arguments.delta")
        assert kinds[first - 2 : first + 8] == [
            "response.output_item.added",
            "conversation.item.added",
            "response.mcp_call_arguments.delta",
            "response.mcp_call_arguments.done",
            "response.output_item.done",
            "response.mcp_call.in_progress",
            "response.done",
            "response.mcp_call.completed",
            "conversation.item.done",
            "response.created",
        ]
        assert events(client, "response.mcp_call.completed")[0]["output_index"] == 1
        assert [part["type"] for part in output(client, 0)] == ["message", "mcp_call"]
        called = item(next(e for e in events(client, "conversation.item.done") if item(e)["type"] == "mcp_call"))
        assert (called["name"], called["arguments"], called["output"]) == ("add", '{"a": 1, "b": 2}', "3")
        assert "function_call" not in str(kinds)
        assert item_text(client) == "It is three."
        added = events(client, "conversation.item.added")
        known = [None, *(item(event)["id"] for event in added)]
        assert [event["previous_item_id"] for event in added] == known[:-1]
        for wanted in (listed, called):
            await client.connection.conversation.item.retrieve(item_id=str(wanted["id"]))
        await client.until("conversation.item.retrieved", 2)
        assert [item(event) for event in events(client, "conversation.item.retrieved")] == [listed, called]


def item_text(client: Client) -> str:
    return str(events(client, "response.output_text.done")[-1]["text"])


async def test_a_call_that_fails(engines_for: EnginesFor, tmp_path: Path) -> None:
    script: list[Reply | str] = [Reply(calls=[("refuse", "{}")]), "It is closed."]
    async with stage(engines_for, tmp_path, script, require_approval="never") as (client, _, server):
        await session(client, tools=[server])
        await client.until("mcp_list_tools.completed")
        await type_(client, "Do it")
        await client.until("response.done", 2)
        assert len(events(client, "response.mcp_call.failed")) == 1
        failed = item(next(e for e in events(client, "conversation.item.done") if item(e)["type"] == "mcp_call"))
        assert failed["output"] is None
        error = cast(Json, failed["error"])
        assert error["type"] == "tool_execution_error"
        assert "the shop is closed" in str(error["message"])


@pytest.mark.parametrize("agrees", [True, False])
async def test_the_client_is_asked(engines_for: EnginesFor, tmp_path: Path, agrees: bool) -> None:
    script: list[Reply | str] = [Reply(calls=[("delete", '{"what": "it"}')]), "Well."]
    approval = {"never": {"tool_names": ["add"]}}
    async with stage(engines_for, tmp_path, script, require_approval=approval) as (client, llm, server):
        await session(client, tools=[server])
        await client.until("mcp_list_tools.completed")
        await type_(client, "Delete it")
        await client.until("response.done")
        (request,) = output(client)
        assert (request["type"], request["name"]) == ("mcp_approval_request", "delete")
        assert request["arguments"] == '{"what": "it"}'
        kinds = client.kinds()
        assert kinds[-5:] == [
            "response.output_item.added",
            "conversation.item.added",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": agrees}
        create = {"type": "conversation.item.create", "previous_item_id": request["id"], "item": answer}
        await client.connection.send_raw(json.dumps(create))
        await client.until("response.done", 2)
        after = client.kinds()[len(kinds) :]
        told = ["conversation.item.added", "conversation.item.done"]
        if agrees:
            run = ["response.mcp_call.in_progress", "response.mcp_call.completed", "conversation.item.done"]
            assert after[:7] == [*told, "conversation.item.added", *run, "response.created"]
            call = item(events(client, "conversation.item.done")[-2])
            assert (call["approval_request_id"], call["output"]) == (request["id"], "it is gone")
            assert llm.requests[1].messages[-1]["content"] == "it is gone"
        else:
            assert after[:3] == [*told, "response.created"]
            assert llm.requests[1].messages[-1]["content"] == "error: the user did not allow it"
        await client.connection.send_raw(json.dumps(create))
        refused = await client.until("error")
        assert refused.error.param == "item.approval_request_id"  # type: ignore[attr-defined]


async def test_a_server_that_is_away_and_an_update_that_removes_one(engines_for: EnginesFor, tmp_path: Path) -> None:
    async with stage(engines_for, tmp_path, ["Hello."]) as (impatient, llm, server):
        client = Patient(impatient)
        away = {**server, "server_label": "away", "server_url": "http://127.0.0.1:9/mcp"}
        far = {**server, "server_label": "far", "server_url": "http://10.0.0.1/mcp"}
        await session(client, tools=[server, away, far])
        await client.until("mcp_list_tools.failed", 2)
        await client.until("mcp_list_tools.completed")
        assert {(warning["code"], warning["message"]) for warning in client.warnings} == {
            ("mcp_list_tools_failed", "the MCP server cannot be reached"),
            ("mcp_list_tools_failed", "server_url must begin with https://"),
        }
        await type_(client, "Hi")
        await client.until("response.done")
        assert len(cast(list[Json], llm.requests[0].body["tools"])) == 10
        await session(client, tools=[])
        await type_(client, "Hi")
        await client.until("response.done", 2)
        assert "tools" not in llm.requests[1].body


WRONG: list[tuple[list[Json], str, str]] = [
    ([{"type": "mcp", "server_label": "a"}], "missing_required_parameter", "session.tools[0].server_url"),
    (
        [{"type": "mcp", "server_label": "a", "connector_id": "connector_gmail"}],
        "missing_required_parameter",
        "session.tools[0].server_url",
    ),
    (
        [
            {
                "type": "mcp",
                "server_label": "a",
                "server_url": "https://a.example/",
                "allowed_tools": {"read_only": True},
            }
        ],
        "unsupported_parameter",
        "session.tools[0].allowed_tools.read_only",
    ),
    (
        [
            {
                "type": "mcp",
                "server_label": "a",
                "server_url": "https://a.example/",
                "require_approval": {"never": {"read_only": True}},
            }
        ],
        "unsupported_parameter",
        "session.tools[0].require_approval.never.read_only",
    ),
    (
        [{"type": "mcp", "server_label": "a", "server_url": "https://a.example/"}] * 2,
        "invalid_value",
        "session.tools[1].server_label",
    ),
    (
        [{"type": "mcp", "server_label": f"s{n}", "server_url": "https://a.example/"} for n in range(9)],
        "invalid_value",
        "session.tools",
    ),
]


async def test_what_is_refused(engines_for: EnginesFor, tmp_path: Path) -> None:
    async with talking(engines_for, ["Hello."], ALLOWED) as (client, _):
        for number, (tools, code, param) in enumerate(WRONG):
            update = {"type": "session.update", "session": {"type": "realtime", "tools": tools}}
            await client.connection.send_raw(json.dumps(update))
            refused = await client.until("error", number + 1)
            assert (refused.error.code, refused.error.param) == (code, param)  # type: ignore[attr-defined]
        assert "session.updated" not in client.kinds()
    async with talking(engines_for, ["Hello."]) as (client, _):  # where clients may name none
        server = {"type": "mcp", "server_label": "a", "server_url": "https://a.example/"}
        update = {"type": "session.update", "session": {"type": "realtime", "tools": [server]}}
        await client.connection.send_raw(json.dumps(update))
        refused = await client.until("error")
        assert (refused.error.code, refused.error.param) == ("unsupported_tool", "session.tools[0].type")  # type: ignore[attr-defined]
