"""What an operator sees: the talks in progress, how fast they are answered, what fails, what it costs."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from voiceagent.admin.feed import BoardFeed
from voiceagent.admin.live_session import LiveSession, SessionRow
from voiceagent.llm.failover.status import FailoverStatus
from voiceagent.server.metrics import Metrics
from voiceagent.session.events import Event, ResponseDone, TranscriptFailed, TurnTimed
from voiceagent.session.timeline import PARTS, now

TURNS_KEPT = 500
"""Turns of which the percentiles are taken: the latest."""
MOST_ROWS = 200
"""Talks that are listed, the longest first; the others are only counted."""
RESPONSE = "response"


@runtime_checkable
class ReportsEndpoints(Protocol):
    """A language model that knows how its endpoints are."""

    def status(self) -> FailoverStatus: ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one stage over the latest `count` turns. The first is the whole response."""

    stage: str
    count: int
    p50: int
    p95: int


@dataclass(frozen=True, slots=True)
class Spend:
    """What the answers of one endpoint took since the server began."""

    endpoint: str
    replies: int
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, now. `seconds` since the server began; `lag_ms` is the loop's worst delay of late; `llm`
    None for a model of one endpoint."""

    seconds: int
    draining: bool
    sessions: int
    lag_ms: int
    talks: Sequence[SessionRow]
    latency: Sequence[Latency]
    errors: Mapping[str, int]
    refused: Mapping[str, int]
    warnings: Mapping[str, int]
    spend: Sequence[Spend]
    llm: FailoverStatus | None


class Board:
    def __init__(self, metrics: Metrics, llm: object, draining: Callable[[], bool]) -> None:
        self.talks: dict[str, LiveSession] = {}
        """Those in progress, by session."""
        self.feed = BoardFeed(lambda: msgspec.json.encode(self.snapshot()).decode())
        """Snapshots, for those who look."""
        self._metrics = metrics
        self._llm = llm if isinstance(llm, ReportsEndpoints) else None
        self._draining = draining
        self._began = time.monotonic()
        self._stages: dict[str, deque[int]] = {name: deque(maxlen=TURNS_KEPT) for name in (RESPONSE, *PARTS)}
        self._errors: Counter[str] = Counter()
        self._spend: dict[str, Spend] = {}

    def enter(self, session: str, protocol: str, tenant: str, stop: Callable[[], None]) -> LiveSession:
        """A talk begins; `stop` ends it."""
        talk = LiveSession(session, protocol, tenant, stop, self.count)
        self.talks[session] = talk
        return talk

    def leave(self, session: str) -> None:
        del self.talks[session]

    def count(self, event: Event) -> None:
        """What happens in any of them."""
        match event:
            case TurnTimed(timeline=timeline):
                if timeline.response_ms is not None:
                    self._stages[RESPONSE].append(timeline.response_ms)
                    for name, value in timeline.parts().items():
                        self._stages[name].append(value)
            case TranscriptFailed(code=code):
                self._errors[code] += 1
            case ResponseDone(error_code=code, usage=usage):
                if code is not None:
                    self._errors[code] += 1
                before = self._spend.get(usage.endpoint) or Spend(usage.endpoint, 0, 0, 0.0)
                tokens = before.tokens + usage.input_tokens + usage.output_tokens
                self._spend[usage.endpoint] = Spend(
                    usage.endpoint, before.replies + 1, tokens, before.cost + usage.cost
                )
            case _:
                pass

    def snapshot(self) -> Snapshot:
        moment = now()
        longest = list(self.talks.values())[:MOST_ROWS]
        return Snapshot(
            seconds=int(time.monotonic() - self._began),
            draining=self._draining(),
            sessions=len(self.talks),
            lag_ms=round(self._metrics.lag * 1000),
            talks=[talk.row(moment) for talk in longest],
            latency=[latency(stage, values) for stage, values in self._stages.items()],
            errors=dict(self._errors),
            refused=self._metrics.refusals(),
            warnings=self._metrics.warned(),
            spend=sorted(self._spend.values(), key=lambda spend: spend.endpoint),
            llm=self._llm.status() if self._llm is not None else None,
        )


def latency(stage: str, values: Iterable[int]) -> Latency:
    """The middle, and what only one in twenty exceeds (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return Latency(stage, 0, 0, 0)
    return Latency(stage, len(ordered), *(ordered[-(-len(ordered) * share // 100) - 1] for share in (50, 95)))
