"""What a model is asked: the talk so far as messages, the instructions, the tools it may call."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from voiceagent.llm.base import Caller, LlmRequest, Message, NamedTool, ToolCall, ToolChoice, ToolSpec
from voiceagent.memory import context
from voiceagent.session.commands import CreateReply
from voiceagent.session.items import AnyEntry, ApprovalRequest, FunctionCall, FunctionOutput, Item
from voiceagent.session.talk import Talk

PENDING = "(no result yet)"
"""What a model is told of a call that runs: were the call left out, it would call again."""

_NAME = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools a reply may call: the client's, and the server's."""

    client: tuple[ToolSpec, ...]
    server: tuple[ToolSpec, ...]


def offer(talk: Talk, request: CreateReply) -> Offer:
    """Tools named for one reply replace all others. Where both sides have one of a name it is the client's, which would
    else wait for a call it is never told of. Those of the server need a conversation to put their results in."""
    if request.tools is not None:
        return Offer(request.tools, ())
    client = talk.options.tools
    if not request.store:
        return Offer(client, ())
    return Offer(client, talk.tools.specs(without=frozenset(tool.name for tool in client)))


def build(talk: Talk, request: CreateReply, *, user_text: str = "", speculative: bool = False) -> LlmRequest:
    """The request for a reply. `user_text` is a turn that is not yet in the conversation."""
    options, settings = talk.options, talk.shared.settings.memory
    turns = messages(talk.conversation.items if request.input is None else request.input, talk.own_words)
    if user_text:
        turns.append(Message("user", user_text))
    earlier = talk.remembrance.earlier if request.input is None else ()
    template = options.instructions if request.instructions is None else request.instructions
    instructions = fill(template, options.variables)
    offered = offer(talk, request)
    tools = offered.client + offered.server
    return LlmRequest(
        context.build(
            instructions,
            earlier,
            turns,
            turn_limit=settings.turns,
            token_budget=min(settings.tokens, talk.shared.engines.llm.talk_tokens or settings.tokens),
        ),
        max_tokens=request.max_output_tokens or options.max_output_tokens,
        tools=tools,
        tool_choice=_choice(request.tool_choice or options.tool_choice, tools),
        parallel_tools=options.parallel_tools,
        effort=options.effort,
        caller=caller(
            talk,
            speculative=speculative,
            alone=request.input is None and not earlier and len(turns) == 1 and instructions == template,
        ),
    )


def caller(talk: Talk, *, speculative: bool = False, alone: bool = False) -> Caller:
    """For whom. A turn that is only surmised counts."""
    return Caller(
        session=talk.id,
        user=talk.user,
        tenant=talk.tenant,
        language=talk.options.language,
        turn=talk.turns + speculative,
        speculative=speculative,
        alone=alone,
    )


def messages(items: Sequence[AnyEntry], words: Callable[[Item], str] = lambda item: item.text) -> list[Message]:
    """The items as endpoints want them: each call is followed by its result, wherever that came in the talk. A call
    that has none yet is PENDING; a result without its call is left out. `words` tells what of an item is shown."""
    results = {item.call_id: item.output for item in reversed(items) if isinstance(item, FunctionOutput)}
    told: list[Message] = []
    calls: dict[str, ToolCall] = {}
    known: set[str] = set()

    def tell_calls() -> None:
        if calls:
            told.append(Message("assistant", "", tuple(calls.values())))
            told.extend(Message("tool", results.get(call, PENDING) or "(nothing)", (), call) for call in calls)
            calls.clear()

    for item in items:
        match item:
            case (FunctionCall() as call) | ApprovalRequest(call=call) if call.call_id not in known:
                known.add(call.call_id)
                calls[call.call_id] = ToolCall(call.call_id, call.name, call.arguments)
            case FunctionOutput():
                tell_calls()
            case Item() if text := words(item):
                tell_calls()
                told.append(Message(item.role, text))
    tell_calls()
    return told


def fill(template: str, variables: Mapping[str, str]) -> str:
    """The template with `{{name}}` replaced; a name that is not known leaves nothing. Values are not filled again."""
    return _NAME.sub(lambda found: variables.get(found.group(1), ""), template)


def unknown_names(template: str, variables: Mapping[str, str]) -> set[str]:
    return set(_NAME.findall(template)) - set(variables)


def _choice(choice: ToolChoice, tools: Sequence[ToolSpec]) -> ToolChoice:
    """What endpoints accept: a choice needs tools, and one that is named must be there."""
    if not tools or (isinstance(choice, NamedTool) and choice.name not in {tool.name for tool in tools}):
        return "auto"
    return choice
