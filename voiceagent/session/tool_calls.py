"""Tool calls of responses. The client is told of calls of its own tools; the server's are run, and answered.

To calls of servers that the client has named it may have to agree first: such a call waits in the conversation, and
nobody waits for it.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from voiceagent.errors import Refused
from voiceagent.llm.base import ToolCall
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import Dialogue, SessionContext
from voiceagent.session.conversation import (
    MAX_ITEM_CHARS,
    ApprovalRequest,
    ApprovalResponse,
    FunctionCall,
    FunctionOutput,
    Item,
)
from voiceagent.session.events import ApprovalAsked, ToolCalled
from voiceagent.session.prompt import PromptBuilder
from voiceagent.session.response import Response
from voiceagent.session.timeline import now
from voiceagent.session.tools import SessionTools
from voiceagent.tools.base import Tool
from voiceagent.tools.toolbox import Failed, Toolbox, parse

log = logging.getLogger(__name__)

ASK_FIRST = (
    "Not done yet: this needs the user's consent. Ask the user in words whether to do it, and say what exactly. "
    "When they have said yes, call it again with the same arguments."
)
INTERRUPTED = Failed("the user interrupted before it was done", "interrupted")
UNKNOWN = Failed("there is no tool of this name", "unknown")
NAME_CHARS = 64
"""The most of a tool's name that is said of one that failed: the model may have made it up."""
REASON_CHARS = 500
"""The most of the client's words for why not that a model is shown."""
MOST_REQUESTS = 64
"""Requests for approval that wait at a time; the oldest go."""


@dataclass(frozen=True, slots=True)
class ResultsReady:
    """All results of what a response called are there, to be answered by this request. `approved_late`: the client had
    to agree first."""

    request: CreateResponse
    response: Response
    approved_late: bool


@dataclass(frozen=True, slots=True)
class ResultsDelayed:
    """Results take long, and the user hears nothing."""


ToolEvent = ResultsReady | ResultsDelayed


@dataclass(eq=False, slots=True)
class ToolRound:
    """The calls of one response."""

    response: Response
    calls: list[FunctionCall] = field(default_factory=list)
    follow_up: bool = False
    """Whether the session answers by itself once all results are there."""
    running: dict[FunctionCall, tuple[Tool | None, "asyncio.Task[None]"]] = field(default_factory=dict)
    outputs: list[FunctionOutput] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing more comes that is to be answered."""
    filler: "asyncio.Task[None] | None" = None
    approved_late: bool = False
    """Whether the client had to agree first."""


class ToolCalls:
    def __init__(
        self,
        context: SessionContext,
        dialogue: Dialogue,
        tools: SessionTools,
        toolbox: Toolbox,
        prompts: PromptBuilder,
        *,
        rounds: int,
        emit: Callable[[ToolEvent], None],
    ) -> None:
        """`toolbox` runs them; `prompts` knows for whom; `rounds` is how often in one turn a model may call. `emit`
        takes what comes of the results; it does not raise."""
        self._context = context
        self._dialogue = dialogue
        self._tools = tools
        self._toolbox = toolbox
        self._prompts = prompts
        self._rounds = rounds
        self._emit = emit
        self.results = 0
        """How many there were so far: a response prepared before the latest does not know it."""
        self._round: ToolRound | None = None
        self._asked: dict[str, tuple[str, str]] = {}
        """What the user was to be asked about, by the id of the item that says so."""
        self._requests: dict[str, tuple[Response, FunctionCall]] = {}
        """What the client has to agree to."""
        self._client_saw_result_in = -1
        """The turn in which the client was last shown a result."""

    @property
    def client_saw_result(self) -> bool:
        """Whether the client was shown a result since the user's last turn: it may ask for the answer to it."""
        return self._client_saw_result_in == self._context.turns

    @property
    def response_id(self) -> str | None:
        """The response of which results are waited for."""
        return self._round.response.plan.response_id if self._round is not None else None

    @property
    def running(self) -> bool:
        """Whether results are waited for that are to be answered."""
        return self._round is not None

    async def settled(self) -> None:
        """Wait until no result is waited for; the answer is left to whoever waited."""
        if self._round is not None:
            self._round.follow_up = False
            await self._round.ended.wait()

    def begin(self, response: Response, wanted: Sequence[ToolCall]) -> tuple[FunctionCall, ...]:
        """A response calls these: the client is told, and they join the conversation; the server's own begin to run.
        What is called out of band is the client's business, whoever's name it has: there is no conversation to go on
        with."""
        plan = response.plan
        begun = ToolRound(response, follow_up=True)
        by_server: list[FunctionCall] = []
        for call in map(self._call, wanted):
            by_client = call.name in plan.client_tools or not plan.stored
            found = None if by_client else self._tools.find(call.name)
            if found is not None:
                call = replace(call, origin=found.origin)
            begun.calls.append(call)
            if found is not None and found.asks and parse(call.arguments) is not None:
                self._request_approval(response, call)
                continue
            self._announce(response, call, by_client=by_client)
            if by_client:
                begun.follow_up = False
            else:
                by_server.append(call)
        if by_server:
            self._run(begun, by_server)
        return tuple(begun.calls)

    def decide(self, decision: ApprovalResponse, after: str | None) -> None:
        """The client agrees to a call, or does not. Raises Refused."""
        if decision.request_id not in self._requests:
            raise Refused("invalid_value", "No such request waits for approval.", "item.approval_request_id")
        self._dialogue.add(decision if decision.id else replace(decision, id=self._context.new_id("item")), after)
        response, call = self._requests.pop(decision.request_id)
        begun = self._round
        if begun is None or begun.response is not response:
            begun = ToolRound(response, [call], follow_up=True, approved_late=True)
        if decision.approve:
            call = replace(call, approval_id=decision.request_id)
            self._announce(response, call, by_client=False)
            self._run(begun, (call,))
        else:
            self._expect(begun)
            reason = f": {decision.reason[:REASON_CHARS]}" if decision.reason else ""
            self._add(begun, call, Failed(f"the user did not allow it{reason}", "refused"))
            self._settle(begun)

    def interrupt(self) -> None:
        """The user interrupts: what may be left undone ends, the rest joins the conversation when it is there. The
        answer to all of it is that to the user's words."""
        current = self._round
        if current is None:
            return
        self._end(current)
        for call, (tool, task) in list(current.running.items()):
            if tool is not None and tool.policy.on_interrupt == "cancel" and not task.done():
                task.cancel()
                self._add(current, call, INTERRUPTED)

    # -- one round --------------------------------------------------------------------------------------------------

    def _call(self, call: ToolCall) -> FunctionCall:
        """Every call has an id of its own: some models give none, or the same again. Arguments longer than any item are
        cut, and so no JSON any more."""
        taken = {item.call_id for item in self._dialogue.conversation.items if isinstance(item, FunctionCall)}
        call_id = call.id if call.id and call.id not in taken else self._context.new_id("call")
        return FunctionCall(self._context.new_id("item"), call_id, call.name, call.arguments[:MAX_ITEM_CHARS])

    def _announce(self, response: Response, call: FunctionCall, *, by_client: bool) -> None:
        plan = response.plan
        previous = self._dialogue.conversation.add(call) if plan.stored else None
        self._context.emit(ToolCalled(plan.response_id, call, previous, by_client))

    def _request_approval(self, response: Response, call: FunctionCall) -> None:
        request = ApprovalRequest(self._context.new_id("mcpr"), call)
        previous = self._dialogue.conversation.add(request)
        self._requests[request.id] = (response, call)
        if len(self._requests) > MOST_REQUESTS:
            del self._requests[next(iter(self._requests))]
        self._context.emit(ApprovalAsked(response.plan.response_id, request, previous))

    def _expect(self, begun: ToolRound) -> None:
        """There is one answer to wait for, the latest."""
        if self._round is not None and self._round is not begun:
            self._end(self._round)
        self._round = begun

    def _run(self, begun: ToolRound, calls: Sequence[FunctionCall]) -> None:
        self._expect(begun)
        waits: list[int] = []
        tasks = self._context.tasks
        for call in calls:
            found = self._tools.find(call.name)
            tool = found.tool if found is not None and found.origin == call.origin else None
            begun.running[call] = (tool, tasks.create_task(self._answer(begun, call, tool), name="tool"))
            if tool is not None and tool.policy.filler_ms:
                waits.append(tool.policy.filler_ms)
        if waits and begun.filler is None and begun.response.plan.modality == "audio":
            begun.filler = tasks.create_task(self._fill(begun, min(waits) / 1000), name="filler")

    async def _answer(self, begun: ToolRound, call: FunctionCall, tool: Tool | None) -> None:
        if tool is None:
            self._add(begun, call, UNKNOWN)
        elif tool.policy.confirm and not self._consented(call):
            self._asked[self._add(begun, call, ASK_FIRST)] = key(call)
        else:
            started = now()
            result = await self._toolbox.run(tool, call.arguments, self._prompts.caller())
            if not isinstance(result, Failed):
                log.info("session %s: tool %s: done in %.3f s", self._context.id, call.name, now() - started)
            self._add(begun, call, result)
        self._settle(begun)

    def _settle(self, begun: ToolRound) -> None:
        """Answer, once all results are there that are waited for."""
        if not begun.running and self._round is begun:
            self._end(begun)
            if begun.follow_up:
                self._emit(ResultsReady(self._request(begun), begun.response, begun.approved_late))

    def _add(self, begun: ToolRound, call: FunctionCall, output: str | Failed) -> str:
        """The result joins the conversation; returns its item's id."""
        begun.running.pop(call, None)
        result = FunctionOutput(self._context.new_id("item"), call.call_id, str(output), isinstance(output, Failed))
        begun.outputs.append(result)
        self.results += 1
        if isinstance(output, Failed) and output.code not in ("refused", "interrupted"):
            logged = output.code == "failed"  # the toolbox knows more of that
            self._context.failed("tool", output.code, f"the tool {call.name[:NAME_CHARS]!r} failed", logged=logged)
        if call.origin is not None:
            self._client_saw_result_in = self._context.turns
        self._dialogue.add(result)
        return result.id

    def _end(self, begun: ToolRound) -> None:
        """Nobody waits for it any more."""
        begun.ended.set()
        if begun.filler is not None:
            begun.filler.cancel()
        if self._round is begun:
            self._round = None

    async def _fill(self, begun: ToolRound, seconds: float) -> None:
        """The user hears nothing from when the response's words were played until the results are there."""
        await begun.response.over.wait()
        await asyncio.sleep(seconds)
        self._emit(ResultsDelayed())

    def _request(self, begun: ToolRound) -> CreateResponse:
        """What the answer to the results is asked for with: as the response was, and with what has come since."""
        plan = begun.response.plan
        request = plan.request
        items = request.input
        if items is not None:
            said = (item for item in self._dialogue.conversation.items if item.id == plan.item_id)
            items = (*items, *said, *begun.calls, *begun.outputs)
        request = replace(request, input=items, tool_choice="auto", metadata={})
        return request if plan.rounds + 1 < self._rounds else replace(request, tools=())

    def _consented(self, call: FunctionCall) -> bool:
        """Whether the user was asked about just this call, and has spoken since: the agent's words after it was asked
        for, then the user's, then at most what the agent says along with the call. So one question is good for one
        turn of the user's, and what was not heard was not asked. Whether the user said yes is the model's to hear."""
        roles = ""
        asked = False
        for item in self._dialogue.conversation.items:
            if self._asked.get(item.id) == key(call):
                asked, roles = True, ""
            elif isinstance(item, Item) and item.role != "system" and self._dialogue.own_words(item):
                roles = roles if roles.endswith(item.role[0]) else roles + item.role[0]
        if not asked or roles not in ("au", "aua"):
            return False
        self._asked = {item_id: about for item_id, about in self._asked.items() if about != key(call)}
        return True


def key(call: FunctionCall) -> tuple[str, str]:
    """The same for two calls that ask for the same."""
    return call.name, json.dumps(parse(call.arguments), sort_keys=True)
