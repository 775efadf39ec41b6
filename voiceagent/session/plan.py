"""What a reply is to be, before it is made, and whom it tells."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from voiceagent.errors import EngineError
from voiceagent.llm.base import LlmRequest, ToolCall
from voiceagent.session.commands import CreateResponse
from voiceagent.session.conversation import FunctionCall, Item
from voiceagent.session.events import Event
from voiceagent.session.options import Modality
from voiceagent.session.phrases import Phrase

if TYPE_CHECKING:
    from voiceagent.session.response import Response


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """What to answer and how. `rate` in Hz, `frame` the samples sent at a time.

    `asked` is what it was asked for with; `ask` waits for what the model is to be asked and may raise EngineError. No
    model is asked with `words` (just these are said), with a `phrase` (whose sound is ready) or with a `failure`: the
    turn went wrong before there was anything to answer, and the reply is the apology for it.

    `user_item_id` is the spoken turn it answers, `rounds` how often tools were called for that before. Calls of
    `client_tools` are the client's business."""

    response_id: str
    item_id: str
    asked: CreateResponse
    ask: Callable[[], Awaitable[LlmRequest]]
    modality: Modality
    rate: int
    frame: int
    max_tokens: int | None = None
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    user_item_id: str | None = None
    rounds: int = 0
    client_tools: frozenset[str] = frozenset()
    phrase: Phrase | None = None
    failure: EngineError | None = None
    filler_seconds: float | None = None
    """After so long without a first word, a filler is said."""

    @property
    def words(self) -> str | None:
        return self.asked.words

    @property
    def stored(self) -> bool:
        """Whether it becomes part of the conversation."""
        return self.asked.store

    @property
    def protected(self) -> bool:
        return self.asked.protected

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.asked.metadata


class ResponseHost(Protocol):
    """The session, as its reply sees it. All calls are plain and quick."""

    def emit(self, event: Event) -> None: ...

    def response_item_added(self, item: Item, *, stored: bool) -> str | None:
        """The reply has its first words: add its item; returns the id of the item before it."""
        ...

    def response_filler(self, reply: "Response") -> Phrase | None:
        """Something to say while the model thinks, which is now part of the reply."""
        ...

    def response_called(self, reply: "Response", calls: Sequence[ToolCall]) -> tuple[FunctionCall, ...]:
        """The reply is complete and calls these tools: tell it, and run those that are the server's."""
        ...

    def response_heard(self, reply: "Response", item: Item) -> None:
        """The reply's text is known, as far as it was or will be heard."""
        ...

    def response_over(self, reply: "Response") -> None:
        """The client has played all there is of it."""
        ...
