"""The tools that replies call. The client's own are told to it; the server's are run, and answered."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from voiceagent.llm.base import ToolCall, ToolChoice
from voiceagent.session import prompt
from voiceagent.session.clock import now
from voiceagent.session.commands import CreateReply
from voiceagent.session.conversation import MAX_ITEM_CHARS
from voiceagent.session.events import ToolCalled
from voiceagent.session.items import FunctionCall, FunctionOutput, Item
from voiceagent.session.reply import Reply
from voiceagent.session.talk import Talk
from voiceagent.tools.base import Tool
from voiceagent.tools.toolbox import Failed, parse

log = logging.getLogger(__name__)

ROUNDS = 8
"""How often in one turn a model may call tools; then it must answer."""
ASK_FIRST = (
    "Not done yet: this needs the user's consent. Ask the user in words whether to do it, and say what exactly. "
    "When they have said yes, call it again with the same arguments."
)
INTERRUPTED = Failed("the user interrupted before it was done")
UNKNOWN = Failed("there is no tool of this name")


@dataclass(eq=False, slots=True)
class Round:
    """The calls of one reply."""

    reply: Reply
    calls: list[FunctionCall] = field(default_factory=list)
    follow_up: bool = False
    """Whether the session answers by itself once all results are there."""
    running: dict[FunctionCall, tuple[Tool | None, "asyncio.Task[None]"]] = field(default_factory=dict)
    outputs: list[FunctionOutput] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing more comes that is to be answered."""
    filler: "asyncio.Task[None] | None" = None


class Calls:
    """`follow_up` is called with the request of the answer to results; `filler` when they take long."""

    def __init__(
        self, talk: Talk, *, follow_up: Callable[[CreateReply, Reply], None], filler: Callable[[], None]
    ) -> None:
        self._talk = talk
        self._follow_up = follow_up
        self._filler = filler
        self.results = 0
        """How many there were so far: a reply prepared before the latest does not know it."""
        self._round: Round | None = None
        self._asked: dict[str, tuple[str, str]] = {}
        """What the user was to be asked about, by the id of the item that says so."""

    @property
    def running(self) -> bool:
        """Whether results are waited for that are to be answered."""
        return self._round is not None

    async def settled(self) -> None:
        """Wait until no result is waited for; the answer is left to whoever waited."""
        if self._round is not None:
            self._round.follow_up = False
            await self._round.ended.wait()

    def begin(self, reply: Reply, wanted: Sequence[ToolCall]) -> tuple[FunctionCall, ...]:
        """A reply calls these: they are told, and join the conversation; the server's own begin to run. What is called
        out of band is the client's business, whoever's name it has: there is no conversation to go on with."""
        plan = reply.plan
        begun = Round(reply)
        mine: list[FunctionCall] = []
        for call in map(self._call, wanted):
            begun.calls.append(call)
            previous = self._talk.conversation.add(call) if plan.stored else None
            by_client = call.name in plan.client_tools or not plan.stored
            self._talk.emit(ToolCalled(plan.reply_id, call, previous, by_client))
            if not by_client:
                mine.append(call)
        if mine:
            begun.follow_up = len(mine) == len(begun.calls)
            self._run(begun, mine)
        return tuple(begun.calls)

    def interrupt(self) -> None:
        """The user has the floor: what may be left undone ends, the rest joins the conversation when it is there. The
        answer to all of it is that to the user's words."""
        current = self._round
        if current is None:
            return
        self._end(current)
        for call, (tool, task) in list(current.running.items()):
            if tool is not None and tool.policy.on_interrupt == "cancel" and not task.done():
                task.cancel()
                self._add(current, call, str(INTERRUPTED))

    # -- one round --------------------------------------------------------------------------------------------------

    def _call(self, call: ToolCall) -> FunctionCall:
        """Every call has an id of its own: some models give none, or the same again. Arguments longer than any item are
        cut, and so no JSON any more."""
        taken = {item.call_id for item in self._talk.conversation.items if isinstance(item, FunctionCall)}
        call_id = call.id if call.id and call.id not in taken else self._talk.new_id("call")
        return FunctionCall(self._talk.new_id("item"), call_id, call.name, call.arguments[:MAX_ITEM_CHARS])

    def _run(self, begun: Round, calls: Sequence[FunctionCall]) -> None:
        if self._round is not None:  # there is one answer to wait for, the latest
            self._end(self._round)
        self._round = begun
        waits: list[int] = []
        tasks = self._talk.tasks
        for call in calls:
            tool = self._talk.shared.toolbox.find(call.name)
            begun.running[call] = (tool, tasks.create_task(self._answer(begun, call, tool), name="tool"))
            if tool is not None and tool.policy.filler_ms:
                waits.append(tool.policy.filler_ms)
        if waits and begun.reply.plan.modality == "audio":
            begun.filler = tasks.create_task(self._fill(begun, min(waits) / 1000), name="filler")

    async def _answer(self, begun: Round, call: FunctionCall, tool: Tool | None) -> None:
        if tool is None:
            self._add(begun, call, str(UNKNOWN))
        elif tool.policy.confirm and not self._consented(call):
            self._asked[self._add(begun, call, ASK_FIRST)] = key(call)
        else:
            started = now()
            result = await self._talk.shared.toolbox.run(tool, call.arguments, prompt.caller(self._talk))
            outcome = "failed" if isinstance(result, Failed) else "done"
            log.info("session %s: tool %s %s in %.3f s", self._talk.id, call.name, outcome, now() - started)
            self._add(begun, call, str(result))
        if not begun.running and self._round is begun:
            self._end(begun)
            if begun.follow_up:
                self._follow_up(self._request(begun), begun.reply)

    def _add(self, begun: Round, call: FunctionCall, output: str) -> str:
        """The result joins the conversation; returns its item's id."""
        del begun.running[call]
        result = FunctionOutput(self._talk.new_id("item"), call.call_id, output)
        begun.outputs.append(result)
        self.results += 1
        self._talk.add(result)
        return result.id

    def _end(self, begun: Round) -> None:
        """Nobody waits for it any more."""
        begun.ended.set()
        if begun.filler is not None:
            begun.filler.cancel()
        if self._round is begun:
            self._round = None

    async def _fill(self, begun: Round, seconds: float) -> None:
        """The user hears nothing from when the reply's words were played until the results are there."""
        await begun.reply.over.wait()
        await asyncio.sleep(seconds)
        self._filler()

    def _request(self, begun: Round) -> CreateReply:
        """What the answer to the results is asked for with: as the reply was, and with what has come since."""
        plan = begun.reply.plan
        asked = plan.asked
        context = asked.input
        if context is not None:
            said = (item for item in self._talk.conversation.items if item.id == plan.item_id)
            context = (*context, *said, *begun.calls, *begun.outputs)
        choice: ToolChoice = "auto" if plan.rounds + 1 < ROUNDS else "none"
        return replace(asked, input=context, tool_choice=choice, metadata={})

    def _consented(self, call: FunctionCall) -> bool:
        """Whether the user was asked about just this call, and has spoken since: the agent's words after it was asked
        for, then the user's, then at most what the agent says along with the call. So one question is good for one
        turn of the user's, and what was not heard was not asked. Whether the user said yes is the model's to hear."""
        roles = ""
        asked = False
        for item in self._talk.conversation.items:
            if self._asked.get(item.id) == key(call):
                asked, roles = True, ""
            elif isinstance(item, Item) and item.role != "system" and self._talk.own_words(item):
                roles = roles if roles.endswith(item.role[0]) else roles + item.role[0]
        if not asked or roles not in ("au", "aua"):
            return False
        self._asked = {item_id: about for item_id, about in self._asked.items() if about != key(call)}
        return True


def key(call: FunctionCall) -> tuple[str, str]:
    """The same for two calls that ask for the same."""
    return call.name, json.dumps(parse(call.arguments), sort_keys=True)
