"""Layout of a conversation's messages for chat templates: who speaks in which order. Without I/O.

OpenAI takes roles in any order; the templates of Mistral, Gemma, Llama and others raise an error for most of them. What
suits all of them is done for all: a conversation begins with the user, neighbours of one role are one message. What
costs meaning elsewhere is only done for a server that has refused a request for it.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from voiceagent.llm.base import Message

OPENING = "..."
"""What the user says in a conversation that does not begin with the user."""
MEANWHILE = "..."
"""What the assistant says between a tool's result and the user, where neither may follow the other."""
ID_CHARS = 9
"""Mistral's tool call ids: letters and digits, just so many."""

_SYSTEM = re.compile(rb"(?i)system[^.]{0,40}(?:role|message|prompt)|role[^.]{0,20}system|developer role")
_ROLES = re.compile(
    rb"(?i)alternat|conversation roles|roles? must|unexpected role|after role|expected (?:last )?role|"
    rb"(?:start|begin)s? with a user|first message must|invalid role order|jinja"
)
_IDS = re.compile(rb"(?i)tool[_ ]call[_ ]id.{0,120}length of 9|a-z, A-Z, 0-9")


@dataclass(frozen=True, slots=True)
class MessageLayout:
    """`system` says where instructions may stand: `anywhere`, only `first`, or nowhere, so that they become part of the
    `user`'s first message. `answered`: a tool's result is not followed by the user at once. `short_ids`: as Mistral
    wants them."""

    system: Literal["anywhere", "first", "user"] = "anywhere"
    answered: bool = False
    short_ids: bool = False

    def mended(self, refusal: bytes) -> "tuple[str, MessageLayout] | None":
        """After a refusal: what the server does not take and the layout to try instead; None where the refusal is about
        something else, or nothing is left to try."""
        if _IDS.search(refusal) and not self.short_ids:
            return "long tool call ids", replace(self, short_ids=True)
        if _SYSTEM.search(refusal) and self.system != "user":
            where: Literal["first", "user"] = (
                "first" if self.system == "anywhere" and b"upport" not in refusal else "user"
            )
            return "instructions in their place", replace(self, system=where)
        if not _ROLES.search(refusal):
            return None
        if self.system == "anywhere" or not self.answered:
            system = "first" if self.system == "anywhere" else self.system
            return "roles in any order", replace(self, system=system, answered=True)
        return ("a system role", replace(self, system="user")) if self.system == "first" else None

    def of(self, messages: Iterable[Message]) -> list[Message]:
        """The messages in this layout."""
        said = [one for one in messages if one.role == "tool" or one.tool_calls or one.content.strip()]
        if self.system != "anywhere":
            said.sort(key=lambda one: one.role != "system")
        said = _user_first(_merged(said))
        if self.system == "user" and said and said[0].role == "system":
            system, first, *rest = said
            said = [replace(first, content=f"{system.content}\n\n{first.content}"), *rest]
        if self.answered:
            said = list(_answered(said))
        return [_with_short_ids(one) for one in said] if self.short_ids else said


ANY_ORDER = MessageLayout()
"""As most servers take it."""


def _merged(messages: Iterable[Message]) -> list[Message]:
    merged: list[Message] = []
    for message in messages:
        before = merged[-1] if merged else None
        if before is not None and before.role == message.role != "tool" and not before.tool_calls:
            space = "\n\n" if message.role == "system" else "\n"
            content = space.join(part for part in (before.content, message.content) if part.strip())
            merged[-1] = replace(message, content=content)
        else:
            merged.append(message)
    return merged


def _user_first(messages: list[Message]) -> list[Message]:
    first = next((at for at, one in enumerate(messages) if one.role != "system"), len(messages))
    if first < len(messages) and messages[first].role == "user":
        return messages
    return [*messages[:first], Message("user", OPENING), *messages[first:]]


def _answered(messages: Iterable[Message]) -> Iterator[Message]:
    before = None
    for message in messages:
        if before == "tool" and message.role == "user":
            yield Message("assistant", MEANWHILE)
        yield message
        before = message.role


def _with_short_ids(message: Message) -> Message:
    calls = tuple(replace(call, id=_short(call.id)) for call in message.tool_calls)
    return replace(message, tool_calls=calls, tool_call_id=_short(message.tool_call_id) if message.tool_call_id else "")


def _short(call_id: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9]{9}", call_id):
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:ID_CHARS]
