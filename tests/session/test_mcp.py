"""Servers that a client names for its talk: what they offer, how they are called and let go, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.support.session.bench import Answer, Bench, bench, unguarded
from tests.support.session.tools import PlainTool, box, call
from voiceagent.errors import Refused
from voiceagent.llm.base import ToolSpec
from voiceagent.session import commands as cmd
from voiceagent.session import events as ev
from voiceagent.session.conversation import ApprovalResponse, FunctionCall, FunctionOutput, Origin, ToolList
from voiceagent.session.options import SessionOptions
from voiceagent.session.prompt import PENDING
from voiceagent.session.tool_calls import INTERRUPTED, UNKNOWN
from voiceagent.session.tools import MOST_SERVERS, UNREACHED
from voiceagent.tools.base import Tool, ToolError, ToolPolicy
from voiceagent.tools.mcp.client import Approval, ClientServer
from voiceagent.tools.toolbox import Toolbox

pytestmark = pytest.mark.looptime(resolution=1e-9, noop_cycles=2)

NEVER = Approval("never")
SHOP = ClientServer("shop", "https://shop.example.com/mcp", approval=NEVER)
BANK = ClientServer("bank", "https://bank.example.com/mcp", approval=NEVER)
ASKS = replace(SHOP, approval=Approval())
QUIET = ToolPolicy(filler_ms=0)


class ServedTool(PlainTool):
    """The tool of a server, by the server's own name `name`."""

    def __init__(self, name: str, result: str | BaseException = "done", seconds: float = 0.0, own: str = "") -> None:
        super().__init__(name, result, seconds, QUIET)
        self.name = own or name


class Reached:
    """A server, reached after `seconds`, or not."""

    def __init__(self, world: "World", server: ClientServer, taken: Collection[str]) -> None:
        self._world, self._server = world, server
        self._taken = set(taken)
        self._open = False

    async def open(self) -> None:
        await asyncio.sleep(self._world.seconds)
        if self._server.label in self._world.away:
            raise ToolError("the MCP server cannot be reached")
        if self._server.label in self._world.broken:
            raise ValueError("secret words")
        self._world.opened.append(self._server.label)
        self._open = True

    def tools(self) -> list[ServedTool]:
        prefix = f"{self._server.label}_"
        offered = self._world.tools[self._server.label]
        if not any(tool.name in self._taken for tool in offered):
            return offered
        for tool in offered:
            tool.spec = replace(tool.spec, name=prefix + tool.name)
        return offered

    def needs_approval(self, tool: Tool) -> bool:
        return isinstance(tool, ServedTool) and self._server.approval.needed(tool.name)

    async def close(self) -> None:
        assert self._open
        await asyncio.sleep(1.0)
        self._open = False
        self._world.opened.remove(self._server.label)


class World:
    """All servers there are."""

    def __init__(self, **tools: list[ServedTool]) -> None:
        self.tools = tools
        self.seconds = 0.5
        self.away: set[str] = set()
        self.broken: set[str] = set()
        self.opened: list[str] = []

    def reach(self, server: ClientServer, *, taken: Collection[str]) -> Reached:
        return Reached(self, server, taken)

    @asynccontextmanager
    async def talking(self, *answers: Answer | str, toolbox: Toolbox | None = None) -> AsyncIterator[Bench]:
        async with bench(*answers, toolbox=toolbox, words=["One.", "Two."], microphone=False) as client:
            self.join(client)
            yield client
        assert not self.opened

    def join(self, client: Bench) -> None:
        client.session._tools._make_server = self.reach


def name(client: Bench, *servers: ClientServer, **options: object) -> None:
    client.ask(cmd.Configure(replace(SessionOptions(), servers=servers, **options)))  # type: ignore[arg-type]


def outputs(client: Bench) -> list[tuple[str, bool]]:
    items = [added.item for added in client.of(ev.ItemAdded)]
    return [(item.output, item.failed) for item in items if isinstance(item, FunctionOutput)]


def offered(client: Bench, number: int = -1) -> list[str]:
    return [tool.name for tool in client.model.requests[number].tools]


async def replied(client: Bench, count: int = 1) -> ev.ResponseDone:
    client.ask(cmd.CreateResponse())
    return await client.until(ev.ResponseDone, count)


def refused(act: Callable[[], None]) -> Refused:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value


# -- what is on offer -------------------------------------------------------------------------------------------------


async def test_a_servers_tools_are_listed_called_and_answered() -> None:
    world = World(shop=[tool := ServedTool("price_now", "5 euros", 0.2, "price.now"), ServedTool("stock")])
    answers = Answer("", calls=(call("price_now", '{"of": "tea"}'),)), "Five euros."
    async with world.talking(*answers) as client:
        name(client, SHOP)
        awaited = await client.until(ev.ToolsAwaited)
        assert (awaited.listed.server, awaited.listed.tools) == ("shop", ())
        listed = await client.until(ev.ToolsListed)
        assert listed.listed.id == awaited.listed.id
        assert [tool.name for tool in listed.listed.tools] == ["price.now", "stock"]
        client.ask(cmd.RetrieveItem(listed.listed.id))
        assert client.of(ev.ItemRetrieved)[-1].item == listed.listed
        await replied(client)
        await client.until(ev.ResponseDone, 2)
        assert offered(client) == ["price_now", "stock"]
        assert tool.calls == [{"of": "tea"}]
        called = client.of(ev.ToolCalled)[0]
        assert (called.by_client, called.call.origin) == (False, Origin("shop", "price.now"))
        assert outputs(client) == [("5 euros", False)]
        assert client.text(1) == "Five euros. "
        client.ask(cmd.RetrieveItem(called.call.id))
        retrieved = client.of(ev.ItemRetrieved)[-1]
        assert isinstance(retrieved.item, FunctionCall)
        assert retrieved.result is not None
        assert retrieved.result.output == "5 euros"


async def test_a_reply_does_not_wait_for_a_server() -> None:
    world = World(shop=[ServedTool("price")])
    world.seconds = 5.0
    async with world.talking("Hi.") as client:
        name(client, SHOP)
        await replied(client)
        assert offered(client) == []


async def test_a_server_that_is_away() -> None:
    world = World(shop=[ServedTool("price")], bank=[ServedTool("pay")])
    world.away = {"shop"}
    async with world.talking("Hi.") as client:
        name(client, SHOP, BANK)
        failed = await client.until(ev.ToolsFailed)
        assert (failed.listed.server, failed.message) == ("shop", "the MCP server cannot be reached")
        await client.until(ev.ToolsListed)
        await replied(client)
        assert offered(client) == ["pay"]
        name(client, SHOP, BANK, instructions="x")  # the same again is not asked again
        await asyncio.sleep(2)
        assert len(client.of(ev.ToolsAwaited)) == 2
        world.away = set()
        name(client, BANK)
        name(client, SHOP, BANK)
        await client.until(ev.ToolsListed, 2)


async def test_a_server_that_breaks_us() -> None:
    world = World(shop=[])
    world.broken = {"shop"}
    async with world.talking("Hi.") as client:
        name(client, SHOP)
        assert (await client.until(ev.ToolsFailed)).message == UNREACHED
        await replied(client)


async def test_an_update_removes_and_replaces() -> None:
    world = World(shop=[ServedTool("price")], bank=[ServedTool("pay")])
    async with world.talking("Hi.") as client:
        name(client, SHOP)
        listed = await client.until(ev.ToolsListed)
        name(client, BANK)
        await client.until(ev.ToolsListed, 2)
        await asyncio.sleep(2)
        assert world.opened == ["bank"]
        await replied(client)
        assert offered(client) == ["pay"]
        client.ask(cmd.RetrieveItem(listed.listed.id))
        assert client.of(ev.ItemRetrieved)[-1].item == ToolList(listed.listed.id, "shop")
        name(client, replace(BANK, url="https://other.example.com/"))
        await client.until(ev.ToolsListed, 3)
        name(client)
        await asyncio.sleep(2)
        assert world.opened == []
        await replied(client, 2)
        assert offered(client) == []


async def test_named_and_dropped_before_it_answered() -> None:
    world = World(shop=[ServedTool("price")])
    async with world.talking("Hi.") as client:
        name(client, SHOP)
        await client.until(ev.ToolsAwaited)
        name(client)
        await asyncio.sleep(2)
        assert not client.of(ev.ToolsListed)
        assert not client.of(ev.ToolsFailed)


async def test_too_many_servers_change_nothing() -> None:
    world = World(shop=[ServedTool("price")])
    async with world.talking("Hi.") as client:
        name(client, SHOP)
        await client.until(ev.ToolsListed)
        many = [replace(BANK, label=f"s{number}") for number in range(MOST_SERVERS + 1)]
        assert refused(lambda: name(client, *many)).param == "session.tools"
        await replied(client)
        assert offered(client) == ["price"]


async def test_names_that_several_have() -> None:
    world = World(shop=[ServedTool("price"), ServedTool("mine")], bank=[ServedTool("price"), ServedTool("pay")], pub=[])
    answers = Answer("", calls=(call("mine"), call("bank_price"))), "Done."
    async with world.talking(*answers, toolbox=box(own := PlainTool("mine", "own", policy=QUIET))) as client:
        name(client, SHOP, BANK, tools=(ToolSpec("pay"),))
        await client.until(ev.ToolsListed, 2)
        await replied(client)
        assert sorted(offered(client)) == ["bank_pay", "bank_price", "mine", "pay", "shop_mine", "shop_price"]
        await client.until(ev.ResponseDone, 2)
        assert len(own.calls) == 1
        assert [called.call.origin for called in client.of(ev.ToolCalled)] == [None, Origin("bank", "price")]


# -- calls ------------------------------------------------------------------------------------------------------------


async def test_a_call_that_fails_is_answered_too() -> None:
    world = World(shop=[ServedTool("price", ToolError("the shop is closed"))])
    async with world.talking(Answer("", calls=(call("price"),)), "Sorry.") as client:
        name(client, SHOP)
        await client.until(ev.ToolsListed)
        await replied(client)
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == [("error: the shop is closed", True)]


async def test_a_client_that_asks_for_the_answer_gets_the_one_answer() -> None:
    """As clients of OpenAI do, whose service leaves it to them."""
    world = World(shop=[ServedTool("price", "5 euros", 0.2)])
    async with world.talking(Answer("", calls=(call("price"),)), "Five euros.") as client:
        name(client, SHOP)
        await client.until(ev.ToolsListed)
        await replied(client)
        await client.until(ev.ItemAdded)
        client.ask(cmd.CreateResponse())
        client.ask(cmd.CreateResponse())
        await client.until(ev.ResponseStarted, 2)
        client.ask(cmd.CreateResponse())
        assert refused(lambda: client.ask(cmd.CreateResponse(instructions="Shout."))).code.startswith("conversation_")
        await client.until(ev.ResponsePlayed, 2)
        await asyncio.sleep(10)
        assert len(client.of(ev.ResponseStarted)) == 2
        await replied(client, 3)  # later it is a wish like any other


async def test_the_talk_goes_on_when_the_server_is_dropped_in_the_middle_of_a_call() -> None:
    world = World(shop=[ServedTool("price", "5 euros", 2.0)])
    async with world.talking(Answer("", calls=(call("price"),)), "Five euros.") as client:
        name(client, SHOP)
        await client.until(ev.ToolsListed)
        await replied(client)
        name(client)
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == [("5 euros", False)]


# -- approval ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def asked(world: World, *calls: str, then: str = "Well.") -> AsyncIterator[tuple[Bench, list[str]]]:
    """A reply has made these calls; yields the ids of the requests for approval."""
    answer = Answer("", calls=tuple(call(wanted) for wanted in calls))
    async with world.talking(answer, then) as client:
        name(client, ASKS)
        await client.until(ev.ToolsListed)
        await replied(client)
        yield client, [event.request.id for event in client.of(ev.ApprovalAsked)]


async def test_a_call_waits_for_the_client() -> None:
    world = World(shop=[tool := ServedTool("order", "ordered")])
    async with asked(world, "order", then="It is ordered.") as (client, requests):
        event = client.of(ev.ApprovalAsked)[0]
        assert event.request.call.origin == Origin("shop", "order")
        assert not client.of(ev.ToolCalled)
        await asyncio.sleep(60)
        assert not tool.calls
        assert len(client.of(ev.ResponseStarted)) == 1
        client.ask(cmd.CreateItem(ApprovalResponse("yes", requests[0], True), requests[0]))
        assert [added.item.id for added in client.of(ev.ItemAdded)] == ["yes"]
        called = client.of(ev.ToolCalled)[0]
        assert (called.call.approval_id, called.previous_item_id) == (requests[0], "yes")
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == [("ordered", False)]
        assert client.model.prompt()[-2:] == [("assistant", ""), ("tool", "ordered")]
        assert client.text(1) == "It is ordered. "
        again = cmd.CreateItem(ApprovalResponse("", requests[0], True))
        assert refused(lambda: client.ask(again)).param == "item.approval_request_id"
        assert len(tool.calls) == 1


async def test_the_client_does_not_agree() -> None:
    world = World(shop=[tool := ServedTool("order")])
    async with asked(world, "order") as (client, requests):
        client.ask(cmd.CreateItem(ApprovalResponse("", requests[0], False, "too dear")))
        await client.until(ev.ResponseDone, 2)
        assert not tool.calls
        assert not client.of(ev.ToolCalled)
        assert outputs(client) == [("error: the user did not allow it: too dear", True)]


async def test_what_waits_is_pending_in_other_answers() -> None:
    world = World(shop=[ServedTool("order")])
    async with asked(world, "order") as (client, requests):
        await replied(client, 2)
        assert client.model.prompt()[-1] == ("tool", PENDING)
        client.ask(cmd.CreateItem(ApprovalResponse("", requests[0], True)))
        await client.until(ev.ResponseDone, 3)
        assert client.model.prompt()[-2] == ("tool", "done")


async def test_several_requests_of_one_reply() -> None:
    world = World(shop=[ServedTool("order", "ordered", 2.0), ServedTool("pay", "paid", 1.0)])
    async with asked(world, "order", "pay") as (client, requests):
        for request in requests:
            client.ask(cmd.CreateItem(ApprovalResponse("", request, True)))
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == [("paid", False), ("ordered", False)]
        assert [text for role, text in client.model.prompt() if role == "tool"] == ["ordered", "paid"]
        await asyncio.sleep(10)
        assert len(client.of(ev.ResponseStarted)) == 2


async def test_arguments_that_are_none_are_not_asked_about() -> None:
    world = World(shop=[tool := ServedTool("order")])
    async with world.talking(Answer("", calls=(call("order", "nonsense"),)), "Sorry.") as client:
        name(client, ASKS)
        await client.until(ev.ToolsListed)
        await replied(client)
        await client.until(ev.ResponseDone, 2)
        assert not client.of(ev.ApprovalAsked)
        assert outputs(client) == [("error: the arguments are not a JSON object", True)]
        assert not tool.calls


async def test_agreed_to_when_the_server_is_gone() -> None:
    world = World(shop=[tool := ServedTool("order")])
    async with asked(world, "order") as (client, requests):
        name(client)
        client.ask(cmd.CreateItem(ApprovalResponse("", requests[0], True)))
        await client.until(ev.ResponseDone, 2)
        assert outputs(client) == [(str(UNKNOWN), True)]
        assert not tool.calls


async def test_nothing_waits_for_this() -> None:
    async with World().talking() as client:
        wrong = cmd.CreateItem(ApprovalResponse("", "nothing", True))
        assert refused(lambda: client.ask(wrong)).code == "invalid_value"
        assert not client.of(ev.ItemAdded)


# -- barge-in, and the end --------------------------------------------------------------------------------------------


async def test_the_user_interrupts_a_call() -> None:
    world = World(shop=[tool := ServedTool("price", "late", 8.0)])
    async with bench(Answer("", calls=(call("price"),)), "To both.", words=["One.", "Two."]) as client:
        world.join(client)
        name(client, SHOP)
        await client.until(ev.ToolsListed)
        await client.turn()
        await client.until(ev.ResponsePlayed)
        await asyncio.sleep(1)
        speaking = asyncio.create_task(client.turn())
        await client.until(ev.SpeechStarted, 2)
        await asyncio.sleep(0)
        assert outputs(client)
        client.ask(cmd.CreateResponse())  # a client that wants every result answered, now of all times
        await speaking
        await client.until(ev.ResponsePlayed, 2)
        assert tool.cancelled == 1
        assert outputs(client) == [(str(INTERRUPTED), True)]
        assert client.model.prompt()[-1] == ("user", "Two.")
        assert len(client.of(ev.ResponseStarted)) == 2
    assert not world.opened


@pytest.mark.parametrize("seconds", [0.0, 0.2, 1.0, 1.7])
async def test_a_client_that_leaves_leaves_nothing(seconds: float) -> None:
    world = World(shop=[ServedTool("price", seconds=100)], bank=[])
    async with unguarded(Answer("", calls=(call("price"),)), microphone=False) as (client, running):
        world.join(client)
        name(client, SHOP, BANK)
        await asyncio.sleep(seconds)
        client.ask(cmd.CreateResponse())
        await asyncio.sleep(seconds)
        name(client, SHOP)
        running.cancel()
        await asyncio.wait((running,))
        assert not world.opened
