"""Prompt: what a model is asked, from the conversation so far, the instructions and the tools it may call.

Built without I/O. The parts stand in the order in which they change, so that an endpoint's prompt cache keeps its
worth: the system message with the instructions and earlier sessions is the same all through a session; a line on what
fell out stands before the oldest turn that is kept. Turns are dropped in blocks, because each drop makes the endpoint
read all turns anew.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from voiceagent.llm.base import Caller, LlmEngine, LlmRequest, Message, NamedTool, ToolCall, ToolChoice, ToolSpec
from voiceagent.memory.base import Entry
from voiceagent.session.commands import CreateResponse
from voiceagent.session.context import Dialogue, SessionContext
from voiceagent.session.conversation import AnyEntry, ApprovalRequest, FunctionCall, FunctionOutput, Item
from voiceagent.session.events import ItemShortened
from voiceagent.session.settings import PromptSection
from voiceagent.session.tools import SessionTools

MESSAGE_TOKENS = 4
"""What a chat template puts around a message: `<|im_start|>user\\n…<|im_end|>\\n` is 4 to 5 tokens."""
LEAST_BUDGET = 64
SENTENCE_TOKENS = 24
"""The most that is kept of a turn that fell out."""
ENTRY_TOKENS = 48
"""The most that is shown of an entry of an earlier session."""
ELLIPSIS = " … "
ZERO_WIDTH_JOINER = "\u200d"
EARLIER_SESSIONS = "From earlier talks with this user:"
EARLIER_IN_SESSION = "Earlier in this talk the user said:"

_SENTENCE = re.compile(r".+?(?:[.!?]+(?=\s|$)|[。！？…\n]+|$)", re.DOTALL)
_OF_THE_USER = re.compile(r"\b(?:i|i'm|my|me|mine|we|our)\b|我|咱", re.IGNORECASE)
_QUESTION = re.compile(r"[?？]\s*$")


def build_messages(
    instructions: str,
    earlier: Sequence[Entry],
    turns: Sequence[Message],
    *,
    turn_limit: int,
    token_budget: int,
) -> tuple[Message, ...]:
    """The messages of a request.

    `turns` is this whole conversation, oldest first; a turn is a user's message with what follows it. At least the last
    `turn_limit` of them are kept (a few more between two drops), as far as the budget allows, and the newest always: if
    it alone is too long, its middle is left out. `token_budget`, at least 64, bounds by `estimate_tokens` everything
    but the instructions, which are never cut. Messages without text are left out, neighbours of one role are joined:
    so words of the user's that were never answered are one message with those that followed. Calls of tools stay with
    their results, and with the words said before them.
    """
    if token_budget < LEAST_BUDGET or turn_limit < 1:
        raise ValueError(f"a prompt needs a budget of {LEAST_BUDGET} tokens and one turn")
    sessions = _earlier_sessions(earlier, token_budget // 4)
    room = token_budget - estimate_tokens(sessions) - MESSAGE_TOKENS - 2  # 2 for what stands between the parts
    blocks = _by_turn(_merged(turns))
    dropped = _how_many_to_drop(blocks, turn_limit, room, token_budget // 8)
    summary = _summary(blocks[:dropped], token_budget // 8)
    kept = [message for block in blocks[dropped:] for message in block]
    if dropped == len(blocks) - 1:
        kept = _fitted(kept, room - estimate_tokens(summary))
    if summary:
        kept[0] = replace(kept[0], content=f"({summary})\n{kept[0].content}")
    system = "\n\n".join(part for part in (instructions.strip(), sessions) if part)
    return (Message("system", system), *kept) if system else tuple(kept)


def estimate_tokens(text: str) -> int:
    """Tokens of a text by rule, meant to be rather too many than too few: a Latin letter is a quarter of a token
    (English has 4 to 5 letters a token in the usual vocabularies), a digit or another European letter half a token, a
    Chinese, Japanese or Korean character one, an emoji or rare character two."""
    if text.isascii():
        return (len(text) + sum(map(text.count, "0123456789")) + 3) // 4
    return (sum(map(_quarters, text)) + 3) // 4


def prompt_tokens(messages: Iterable[Message]) -> int:
    """The estimate for whole messages, with what the chat template puts around each."""
    return sum(_frame_tokens(message) + estimate_tokens(message.content) for message in messages)


def _frame_tokens(message: Message) -> int:
    """What of a message cannot be cut: the template's marks, and calls of tools, whose arguments are JSON."""
    calls = (estimate_tokens(call.name) + estimate_tokens(call.arguments) for call in message.tool_calls)
    return MESSAGE_TOKENS + sum(calls) + len(message.tool_calls) * MESSAGE_TOKENS


def shorten(text: str, tokens: int) -> str:
    """The text, with its middle replaced by an ellipsis where it is longer than `tokens` (at least 1). No character is
    split from the marks that belong to it."""
    if estimate_tokens(text) <= tokens:
        return text
    half = (tokens - 1) * 2
    head = _reach(text, half)
    tail = len(text) - _reach(reversed(text), half)
    while _is_inside_character(text, head):
        head -= 1
    while _is_inside_character(text, tail):
        tail += 1
    return (text[:head].rstrip() + ELLIPSIS + text[tail:].lstrip()).strip()


def _quarters(character: str) -> int:
    code = ord(character)
    if code >= 0x10000:
        return 8
    if code >= 0x2E80:
        return 4
    return 2 if code >= 0x80 or character.isdigit() else 1


def _reach(characters: Iterable[str], quarters: int) -> int:
    """How many of the first characters make up at most that many quarters of a token."""
    count = 0
    for character in characters:
        quarters -= _quarters(character)
        if quarters < 0:
            break
        count += 1
    return count


def _is_inside_character(text: str, index: int) -> bool:
    """Whether a cut before `index` would part what is one character to its reader."""
    if not 0 < index < len(text):
        return False
    before, after = text[index - 1], text[index]
    joined = before == ZERO_WIDTH_JOINER or after == ZERO_WIDTH_JOINER or unicodedata.category(after).startswith("M")
    skin_tone = "\U0001f3fb" <= after <= "\U0001f3ff"
    surrogates = "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff"
    return joined or skin_tone or surrogates


def _merged(messages: Iterable[Message]) -> list[Message]:
    """Without empty messages, neighbours of one role joined: some models insist that roles alternate."""
    merged: list[Message] = []
    for message in messages:
        if message.role != "tool" and not message.content.strip() and not message.tool_calls:
            continue
        before = merged[-1] if merged else None
        if before is not None and before.role == message.role != "tool" and not before.tool_calls:
            parts = (part for part in (before.content, message.content) if part.strip())
            merged[-1] = Message(message.role, "\n".join(parts), message.tool_calls)
        else:
            merged.append(message)
    return merged


def _by_turn(messages: Iterable[Message]) -> list[list[Message]]:
    """Each user message with what follows it; what comes before the first is a block too."""
    blocks: list[list[Message]] = []
    for message in messages:
        if message.role == "user" or not blocks:
            blocks.append([])
        blocks[-1].append(message)
    return blocks


def _how_many_to_drop(blocks: Sequence[Sequence[Message]], turn_limit: int, room: int, summary: int) -> int:
    """How many of the oldest turns go. The number grows by a quarter of `turn_limit` at a time, or by as many turns as
    make up a quarter of the room; `summary` tokens of the room are needed as soon as any go."""
    costs = [prompt_tokens(block) for block in blocks]
    step = max(1, turn_limit // 4)
    by_count = max(0, len(blocks) - turn_limit) // step * step
    if by_count == 0 and sum(costs) <= room:
        return 0
    quarter = max(1, (room - summary) // 4)
    before = list(accumulate(costs, initial=0))
    for dropped in range(by_count, len(blocks) - 1):
        at_edge = dropped == by_count or before[dropped] // quarter > before[dropped - 1] // quarter
        if at_edge and before[-1] - before[dropped] <= room - summary:
            return dropped
    return max(0, len(blocks) - 1)


def _fitted(block: list[Message], room: int) -> list[Message]:
    """One turn, its messages shortened to equal shares of the room if it is too long for it; what is left too short
    for that goes, calls of tools with their results, from the oldest."""
    if prompt_tokens(block) <= room:
        return block
    while sum(map(_frame_tokens, block)) + len(block) * MESSAGE_TOKENS > room:
        shorter = _without_first_call(block)
        if not shorter:
            block = [message for message in block[:1] if not message.tool_calls]
            break
        block = shorter
    share = (room - sum(map(_frame_tokens, block))) // max(1, len(block))
    return [replace(message, content=shorten(message.content, max(1, share))) for message in block]


def _without_first_call(block: list[Message]) -> list[Message] | None:
    """The turn without its first call and the results of that; None when it has none."""
    for start, message in enumerate(block):
        if message.tool_calls:
            ends = (at for at in range(start + 1, len(block)) if block[at].role != "tool")
            return _merged((*block[:start], replace(message, tool_calls=()), *block[next(ends, len(block)) :]))
    return None


def _earlier_sessions(earlier: Sequence[Entry], tokens: int) -> str:
    """The newest entries that fit, oldest first."""
    left = tokens - estimate_tokens(EARLIER_SESSIONS)
    lines: list[str] = []
    for entry in reversed(earlier):
        speaker = "User" if entry.role == "user" else "Assistant"
        line = f"{speaker}: {shorten(' '.join(entry.text.split()), ENTRY_TOKENS)}"
        left -= estimate_tokens(line) + 1
        if left < 0:
            break
        lines.append(line)
    return "\n".join((EARLIER_SESSIONS, *reversed(lines))) if lines else ""


def _summary(blocks: Iterable[Sequence[Message]], tokens: int) -> str:
    """A sentence of each dropped turn of the user's, as far as they fit: first those in which the user speaks of
    himself, from the oldest, then the others from the newest."""
    sentences = [_telling_sentence(block[0].content) for block in blocks if block[0].role == "user"]
    order = sorted(range(len(sentences)), key=lambda at: (0, at) if _tells_of_user(sentences[at]) else (1, -at))
    left = tokens - estimate_tokens(EARLIER_IN_SESSION)
    chosen: list[int] = []
    for at in order:
        cost = estimate_tokens(sentences[at]) + 1  # the quotation marks and the space
        if cost <= left:
            left -= cost
            chosen.append(at)
    return " ".join((EARLIER_IN_SESSION, *(f'"{sentences[at]}"' for at in sorted(chosen)))) if chosen else ""


def _telling_sentence(text: str) -> str:
    sentences = [" ".join(sentence.split()) for sentence in _SENTENCE.findall(text.strip()[:2000])]
    telling = next((sentence for sentence in sentences if _tells_of_user(sentence)), sentences[0])
    return shorten(telling, SENTENCE_TOKENS)


def _tells_of_user(sentence: str) -> bool:
    return _OF_THE_USER.search(sentence) is not None and _QUESTION.search(sentence) is None


PENDING = "(no result yet)"
"""What a model is shown of a call that runs: were the call left out, it would call again."""

_NAME = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """The tools a response may call: the client's, and the server's."""

    client: tuple[ToolSpec, ...]
    server: tuple[ToolSpec, ...]


class PromptBuilder:
    """Builds the requests of one session. `limits`: how much of the conversation a prompt holds."""

    def __init__(
        self, context: SessionContext, dialogue: Dialogue, tools: SessionTools, limits: PromptSection, llm: LlmEngine
    ) -> None:
        self._context = context
        self._dialogue = dialogue
        self._tools = tools
        self._limits = limits
        self._llm = llm
        self._shortened: set[str] = set()
        """The items of which the client was told that they are too long."""

    def offer(self, request: CreateResponse) -> ToolOffer:
        """Tools named for one response replace all others. Where both sides have one of a name it is the client's,
        which would else wait for a call it is never told of. Those of the server need a conversation to put their
        results in."""
        if request.tools is not None:
            return ToolOffer(request.tools, ())
        client = self._context.options.tools
        if not request.store:
            return ToolOffer(client, ())
        return ToolOffer(client, self._tools.specs(without=frozenset(tool.name for tool in client)))

    def build(self, request: CreateResponse, *, user_text: str = "", speculative: bool = False) -> LlmRequest:
        """The request for a response. `user_text` is a turn that is not yet in the conversation."""
        options, limits, dialogue = self._context.options, self._limits, self._dialogue
        items = dialogue.conversation.items if request.input is None else request.input
        turns = messages(items, dialogue.own_words)
        if user_text:
            turns.append(Message("user", user_text))
        earlier = dialogue.memory.earlier if request.input is None else ()
        template = options.instructions if request.instructions is None else request.instructions
        instructions = fill(template, options.variables)
        offered = self.offer(request)
        tools = offered.client + offered.server
        alone = request.input is None and not earlier and len(turns) == 1 and instructions == template
        built = build_messages(
            instructions,
            earlier,
            turns,
            turn_limit=limits.turns,
            token_budget=min(limits.tokens, self._llm.talk_tokens or limits.tokens),
        )
        self._tell_of_cuts(items, built)
        return LlmRequest(
            built,
            max_tokens=request.max_output_tokens or options.max_output_tokens,
            tools=tools,
            tool_choice=_choice(request.tool_choice or options.tool_choice, tools),
            parallel_tools=options.parallel_tools,
            effort=options.effort,
            caller=self.caller(speculative=speculative, alone=alone),
        )

    def _tell_of_cuts(self, items: Sequence[AnyEntry], built: Sequence[Message]) -> None:
        """Tell once of each item of the newest turn that is shown in part only. That older turns fall out is no cut."""
        for item in reversed(items):
            match item:
                case Item():
                    text = self._dialogue.own_words(item)
                case FunctionOutput(output=text):
                    pass
                case _:
                    continue
            whole = len(text) < LEAST_BUDGET or any(text in message.content for message in built)
            if not whole and item.id not in self._shortened:
                self._shortened.add(item.id)
                self._context.emit(ItemShortened(item.id, len(text)))
            if isinstance(item, Item) and item.role == "user":
                return

    def caller(self, *, speculative: bool = False, alone: bool = False) -> Caller:
        """For whom. A turn that is only surmised counts."""
        context = self._context
        return Caller(
            session=context.id,
            user=context.user,
            tenant=context.tenant,
            language=context.options.language,
            turn=context.turns + (speculative and context.user_turn is not None),
            speculative=speculative,
            alone=alone,
        )


def messages(items: Sequence[AnyEntry], words: Callable[[Item], str] = lambda item: item.text) -> list[Message]:
    """The items as endpoints want them: each call is followed by its result, wherever that came. A call
    that has none yet is PENDING; a result without its call is left out. `words` tells what of an item is shown."""
    results = {item.call_id: item.output for item in reversed(items) if isinstance(item, FunctionOutput)}
    found: list[Message] = []
    calls: dict[str, ToolCall] = {}
    known: set[str] = set()

    def add_calls() -> None:
        if calls:
            found.append(Message("assistant", "", tuple(calls.values())))
            found.extend(Message("tool", results.get(call, PENDING) or "(nothing)", (), call) for call in calls)
            calls.clear()

    for item in items:
        match item:
            case (FunctionCall() as call) | ApprovalRequest(call=call) if call.call_id not in known:
                known.add(call.call_id)
                calls[call.call_id] = ToolCall(call.call_id, call.name, call.arguments)
            case FunctionOutput():
                add_calls()
            case Item() if text := words(item):
                add_calls()
                found.append(Message(item.role, text))
    add_calls()
    return found


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
