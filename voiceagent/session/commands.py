"""Commands of a session: all that a client's protocol may ask of it. One that cannot be carried out raises Refused and
changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from voiceagent.audio.pcm import Pcm
from voiceagent.llm.base import ToolChoice, ToolSpec
from voiceagent.session.conversation import AnyEntry
from voiceagent.session.options import Modality, SessionOptions


@dataclass(frozen=True, slots=True)
class Configure:
    """Replace the options; in force from the next turn and the next response on."""

    options: SessionOptions


@dataclass(frozen=True, slots=True)
class AppendAudio:
    """The user's microphone, `rate` in Hz."""

    pcm: Pcm
    rate: int


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """End the user's turn by hand. Refused `input_audio_buffer_commit_empty` below 100 ms of audio."""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Throw away what was appended and not yet committed."""


@dataclass(frozen=True, slots=True)
class CreateItem:
    """Add an item after `previous_item_id` ("root": first; None: last). Refused `item_create_duplicate_item_id`,
    `item_create_invalid_previous_item_id`; an ApprovalResponse to nothing that is asked, `invalid_value`."""

    item: AnyEntry
    previous_item_id: str | None = None


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    """Refused `item_retrieve_invalid_item_id`."""

    item_id: str


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Refused `item_delete_invalid_item_id`."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """The client played only this many milliseconds of the item. Refused `item_truncate_invalid_item_id`."""

    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class ReportPlayed:
    """The client has played the item up to here so far, and goes on: marks and acknowledgements. An unknown item is
    ignored. If the response is cancelled later, the last report (plus the time since, up to what was sent before the
    next mark) is what was heard."""

    item_id: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """Answer now. None keeps the session's own option. `input` replaces the conversation as context; with `store` False
    the answer is not added to it either. A `protected` response is not interrupted by any voice (legal notices). With
    `words` just these are said and no model is asked. Refused `conversation_already_has_active_response`."""

    instructions: str | None = None
    modality: Modality | None = None
    max_output_tokens: int | None = None
    input: tuple[AnyEntry, ...] | None = None
    store: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] | None = None
    tool_choice: ToolChoice | None = None
    protected: bool = False
    words: str | None = None

    @property
    def answers_turns(self) -> bool:
        """Whether it is the answer to what the user has said, as far as that has none."""
        return self.store and self.input is None and self.words is None


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Refused `response_cancel_not_active`."""

    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The user interrupts by other means than the voice: a key, a button, typed words. Whatever the agent prepares,
    sends or has sent and is not yet played ends, protected or not, as an interruption by voice does. With `withdraw` a
    question of which no answer was heard is not asked again along with the next. Never refused."""

    withdraw: bool = False


@dataclass(frozen=True, slots=True)
class EndSession:
    """End the conversation once the current response has been played, at once if there is none. Never refused."""


Command = (
    Configure
    | AppendAudio
    | CommitAudio
    | ClearAudio
    | CreateItem
    | RetrieveItem
    | DeleteItem
    | TruncateItem
    | ReportPlayed
    | CreateResponse
    | CancelResponse
    | Interrupt
    | EndSession
)
