"""Masking layer: the model sees `[CARD_1]`, the user hears the number."""

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from pydantic import JsonValue

from voiceagent.guard.options import NOTE
from voiceagent.guard.personal_data import find
from voiceagent.llm.base import Completed, LlmEngine, LlmEvent, LlmRequest, Message, TextDelta, ToolCall
from voiceagent.llm.layers import LlmLayer

SESSIONS = 2000
"""Sessions whose placeholders are remembered; one that goes on after it was forgotten numbers them anew."""
SILENT_SECONDS = 3600.0
VALUES = 500
"""Placeholders of one session; what comes beyond gets placeholders for its request alone."""
TEXTS = 128
"""Texts whose masked form a session remembers: each request repeats the conversation."""
LONGEST = 16
"""Characters of a placeholder."""

_PLACEHOLDER = re.compile(r"\[(?:CARD|ID|SSN|PHONE|EMAIL|TEXT)_\d{1,6}\]")
_BEGUN = re.compile(r"\[(?:[A-Z]{0,5}|(?:CARD|ID|SSN|PHONE|EMAIL|TEXT)_\d{0,6})\Z")


class Vault:
    """The placeholders of one session. A value keeps its placeholder however it is written; it comes back as it was
    first written. Text that looks like a placeholder of ours is hidden as well, so that it comes back as it was."""

    def __init__(self) -> None:
        self._placeholders: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._masked: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._values)

    def mask(self, text: str) -> str:
        masked = self._masked.get(text)
        if masked is None:
            if len(self._masked) >= TEXTS:
                self._masked.clear()
            masked = self._masked[text] = self._mask(text)
        return masked

    def _mask(self, text: str) -> str:
        spans = [(match.start(), match.end(), "TEXT", match.group()) for match in _PLACEHOLDER.finditer(text)]
        spans += [(one.start, one.end, one.kind, one.key) for one in find(text)]
        out, at = "", 0
        for start, end, kind, key in sorted(spans):
            if start < at:
                continue
            out += text[at:start] + self._placeholder(kind, key, text[start:end])
            at = end
        return out + text[at:]

    def mask_json(self, arguments: str) -> str:
        """JSON text whose strings and numbers are masked; text that is no JSON is masked as it stands."""
        try:
            value: JsonValue = json.loads(arguments)
        except (ValueError, RecursionError):
            return self.mask(arguments)
        masked = _walk(value, self.mask)
        return arguments if masked == value else json.dumps(masked, ensure_ascii=False)

    def unmask(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: self._values.get(match.group(), match.group()), text)

    def unmask_json(self, arguments: str) -> str:
        """The same inside the strings of JSON text."""

        def value(match: re.Match[str]) -> str:
            found = self._values.get(match.group())
            return match.group() if found is None else json.dumps(found, ensure_ascii=False)[1:-1]

        return _PLACEHOLDER.sub(value, arguments)

    def copy(self) -> "Vault":
        other = Vault()
        other._placeholders, other._values = dict(self._placeholders), dict(self._values)
        other._counts = dict(self._counts)
        return other

    def _placeholder(self, kind: str, key: str, written: str) -> str:
        known = self._placeholders.get((kind, key))
        if known is not None:
            return known
        self._counts[kind] = self._counts.get(kind, 0) + 1
        placeholder = f"[{kind}_{self._counts[kind]}]"
        self._placeholders[kind, key] = placeholder
        self._values[placeholder] = written
        return placeholder


class Unmasker:
    """Puts the data back into text that arrives in pieces. Text is held back only while it may be the beginning of a
    placeholder."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._held = ""

    def push(self, delta: str) -> str:
        text = self._held + delta
        begun = _BEGUN.search(text, max(0, len(text) - LONGEST))
        cut = begun.start() if begun is not None else len(text)
        self._held = text[cut:]
        return self._vault.unmask(text[:cut])

    def finish(self) -> str:
        """What was held back and, at the end of the text, is no placeholder after all."""
        held, self._held = self._held, ""
        return held


class Vaults:
    """The vaults of the sessions in progress, by tenant and session. One that was silent for long is forgotten, and
    beyond `sessions` the one that was silent for longest."""

    def __init__(self, sessions: int = SESSIONS) -> None:
        self._most = sessions
        self._vaults: OrderedDict[tuple[str, str], tuple[Vault, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vaults)

    def of(self, tenant: str, session: str) -> Vault:
        """Without a session it is for this request alone."""
        if not session:
            return Vault()
        now = asyncio.get_running_loop().time()
        vault, _ = self._vaults.pop((tenant, session), (Vault(), now))
        self._vaults[tenant, session] = vault, now
        while len(self._vaults) > self._most or next(iter(self._vaults.values()))[1] < now - SILENT_SECONDS:
            self._vaults.popitem(last=False)
        return vault.copy() if len(vault) >= VALUES else vault


class MaskedLlm(LlmLayer):
    """An LlmEngine that masks what goes to the engine, and unmasks its text and the arguments of its tool calls. What
    the model shows of its reasoning stays masked."""

    def __init__(self, engine: LlmEngine, note: str = NOTE, sessions: int = SESSIONS) -> None:
        """`note` tells the model what the placeholders are, where there are any; "" says nothing."""
        super().__init__(engine)
        self._note = note
        self._vaults = Vaults(sessions)

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmEvent, None]:
        """Raises EngineError as the engine does."""
        vault = self._vaults.of(request.caller.tenant, request.caller.session)
        messages = tuple(_masked(message, vault) for message in request.messages)
        if messages != request.messages and self._note:
            messages = _with_note(messages, self._note)
        unmasker = Unmasker(vault)
        async with aclosing(self._inner.reply(replace(request, messages=messages))) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        if text := unmasker.push(event.text):
                            yield TextDelta(text)
                    case ToolCall() | Completed():
                        if rest := unmasker.finish():
                            yield TextDelta(rest)
                        if isinstance(event, ToolCall):
                            event = replace(event, arguments=vault.unmask_json(event.arguments))
                        yield event
                    case _:
                        yield event


def _masked(message: Message, vault: Vault) -> Message:
    calls = tuple(replace(call, arguments=vault.mask_json(call.arguments)) for call in message.tool_calls)
    content = vault.mask_json(message.content) if message.role == "tool" else vault.mask(message.content)
    if content == message.content and calls == message.tool_calls:
        return message
    return replace(message, content=content, tool_calls=calls)


def _with_note(messages: tuple[Message, ...], note: str) -> tuple[Message, ...]:
    """At the end of the instructions, since some models take only one system message."""
    first = messages[0]
    if first.role == "system":
        return replace(first, content=f"{first.content}\n\n{note}"), *messages[1:]
    return Message("system", note), *messages


def _walk(value: JsonValue, mask: Callable[[str], str]) -> JsonValue:
    match value:
        case str():
            return mask(value)
        case dict():
            return {mask(key): _walk(inner, mask) for key, inner in value.items()}
        case list():
            return [_walk(inner, mask) for inner in value]
        case bool() | None:
            return value
        case _:
            masked = mask(str(value))
            return value if masked == str(value) else masked
