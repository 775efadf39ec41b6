"""The pieces of a conversation, as immutable values: messages, calls of tools and their results; and what comes with
servers that a client names: their lists of tools, and requests for its approval."""

from dataclasses import dataclass
from typing import Literal

from voiceagent.llm.base import ToolSpec

ItemRole = Literal["user", "assistant", "system"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of an item's content: typed text, or audio of which `text` is the transcript ("" while unknown)."""

    kind: Literal["text", "audio"]
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """One message. An assistant's text is what was heard of it, once that is known."""

    id: str
    role: ItemRole
    parts: tuple[Part, ...] = ()
    status: ItemStatus = "completed"

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.parts if part.text)


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that the client has named, by its label, and that server's own name for the tool."""

    server: str
    name: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The agent calls a tool. `arguments` is JSON text as the model wrote it; `call_id` is what the result names. With
    an `origin` the tool is that server's; `approval_id` is then the request which the client has agreed to, if any."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus = "completed"
    origin: Origin | None = None
    approval_id: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionOutput:
    """The result of a call, as text for the model; `failed` when the server's own tool came to nothing."""

    id: str
    call_id: str
    output: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ToolList:
    """What a server offers that the client has named, by the server's own names; nothing before it was asked."""

    id: str
    server: str
    tools: tuple[ToolSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The agent wants to make this call, and the client has to agree first."""

    id: str
    call: FunctionCall


@dataclass(frozen=True, slots=True)
class ApprovalResponse:
    """What the client says to a request; `reason` is its words for why not."""

    id: str
    request_id: str
    approve: bool
    reason: str = ""


AnyItem = Item | FunctionCall | FunctionOutput
"""What was said and done."""
AnyEntry = AnyItem | ToolList | ApprovalRequest | ApprovalResponse
"""One entry of a conversation."""
