"""Events of a session: all that it says to its client's protocol, in the order in which it happened.

Times of the user's audio are in milliseconds from the first sample the client ever sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from voiceagent.audio.pcm import Pcm
from voiceagent.session.conversation import AnyEntry, ApprovalRequest, FunctionCall, FunctionOutput, Item, ToolList
from voiceagent.session.options import Modality
from voiceagent.session.timeline import Timeline

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]
ResponseReason = Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """It is the user's turn; whatever the agent still had to say is over. `item_id` is that of the turn to come."""

    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    item_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class AudioCommitted:
    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """Why a spoken turn was taken to be over: the client said so, it reached the longest time, or a silence of
    `silence_ms` where `wait_ms` were asked for. `evidence`: the log-odds, by rule, that made it so long."""

    item_id: str
    cause: Literal["client", "longest", "silence"]
    silence_ms: int = 0
    wait_ms: int = 0
    evidence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AudioCleared:
    pass


@dataclass(frozen=True, slots=True)
class ItemAdded:
    item: AnyEntry
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDone:
    item: AnyEntry
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    """`result` is what came of the item, if it is a call."""

    item: AnyEntry
    result: FunctionOutput | None = None


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    item_id: str
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class TranscriptPartial:
    """The best guess of what the user is saying; may change."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptDone:
    """`seconds` of audio were transcribed."""

    item_id: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    item_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ResponseStarted:
    response_id: str
    modality: Modality
    max_output_tokens: int | None
    stored: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ResponseItemAdded:
    """The first words of the response are there: its item (in_progress, without parts) exists from now on."""

    response_id: str
    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ResponseText:
    """More of the response's text; in a spoken response it comes just before the audio that says it."""

    response_id: str
    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ResponseAudio:
    """More of the response's audio at the session's output rate, paced: to be sent at once."""

    response_id: str
    item_id: str
    pcm: Pcm


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The response calls a tool; the call is in the conversation. It comes only once the response is released. With
    `by_client` the result is the client's to send (CreateItem with a FunctionOutput, then CreateResponse once it has
    them all); else the session runs it, and answers with its result by itself."""

    response_id: str
    call: FunctionCall
    previous_item_id: str | None
    by_client: bool


@dataclass(frozen=True, slots=True)
class ApprovalAsked:
    """The client has to agree to a call first, by an ApprovalResponse; then a ToolCalled follows, at any time."""

    response_id: str
    request: ApprovalRequest
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ToolsAwaited:
    """A server that the client has named is asked for its tools; the list is in the conversation, still empty."""

    listed: ToolList
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ToolsListed:
    """They are known, and on offer from now on."""

    listed: ToolList
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ToolsFailed:
    """The server offers nothing; `message` says why, in words for the client."""

    listed: ToolList
    message: str


@dataclass(frozen=True, slots=True)
class ResponseThinking:
    """The model reasons before it answers; `text` is what it shows of that, often nothing. Never spoken."""

    response_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens as the endpoint counted them; `cost` at the configured prices; `endpoint` is the name of who answered."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """Nothing more of this response will be sent. `item` holds its final text, None when it never got a word out.
    With status cancelled, what the client still has queued is to be flushed. `calls` are the tools it called."""

    response_id: str
    item: Item | None
    previous_item_id: str | None
    status: ResponseStatus
    reason: ResponseReason | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage: TokenUsage = TokenUsage()
    calls: tuple[FunctionCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponsePlayed:
    """By the playout clock the client has now played the whole response, or what it got before it was cancelled."""

    response_id: str


@dataclass(frozen=True, slots=True)
class IdleTimeoutTriggered:
    """Nobody spoke for `idle_timeout_ms` after a response: the agent speaks up. `item_id` is that of the empty turn."""

    item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class TurnTimed:
    """A turn was answered; `timeline` says when each station was reached, and by `stations()` where the time went."""

    item_id: str
    response_id: str
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Speculated:
    """A response was prepared before the turn was over: it was used, or thrown away with so many tokens."""

    used: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Interruption:
    """What was decided of a voice while the agent talked, and why: it made the response pause, interrupted it, or let
    it go on. `reason` is one of `turn.barge_in.BargeInReason`."""

    action: Literal["pause", "confirm", "resume"]
    reason: str


FailedStage = Literal["vad", "asr", "llm", "tts", "memory", "tool"]


@dataclass(frozen=True, slots=True)
class StageFailed:
    """A part of the session has failed: it is in the log, in one line. `code` is a short stable word, `message` says
    more without a secret or anybody's words, `endpoint` names the server that failed, where it was one."""

    stage: FailedStage
    code: str
    message: str
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class ItemShortened:
    """An item is too long for the model, which is shown its beginning and its end only, of so many `chars`."""

    item_id: str
    chars: int


Event = (
    SpeechStarted
    | SpeechStopped
    | AudioCommitted
    | TurnEnded
    | AudioCleared
    | ItemAdded
    | ItemDone
    | ItemRetrieved
    | ItemDeleted
    | ItemTruncated
    | TranscriptPartial
    | TranscriptDone
    | TranscriptFailed
    | ResponseStarted
    | ResponseItemAdded
    | ResponseText
    | ResponseAudio
    | ResponseThinking
    | ToolCalled
    | ApprovalAsked
    | ToolsAwaited
    | ToolsListed
    | ToolsFailed
    | ResponseDone
    | ResponsePlayed
    | IdleTimeoutTriggered
    | TurnTimed
    | Speculated
    | Interruption
    | StageFailed
    | ItemShortened
)
