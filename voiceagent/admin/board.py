"""Board: what an operator sees of the sessions in progress, their latency, failures and cost."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from voiceagent.admin.feed import BoardFeed
from voiceagent.admin.live_session import LiveSession, SessionRow
from voiceagent.llm.base import LlmEngine
from voiceagent.llm.failover.reports import FailoverStatus
from voiceagent.llm.layers import layers
from voiceagent.session.events import Event, ResponseDone, StageFailed, TurnTimed
from voiceagent.session.timeline import PARTS, now

TURNS_KEPT = 500
"""Turns of which the percentiles are taken: the latest."""
MOST_ROWS = 200
"""Sessions that are listed, the longest first; the others are only counted."""
RESPONSE = "response"


@runtime_checkable
class ReportsEndpoints(Protocol):
    """A language model that knows the state of its endpoints."""

    def status(self) -> FailoverStatus: ...


class ServerNumbers(Protocol):
    """What the server measures."""

    @property
    def lag(self) -> float:
        """Longest delay of the event loop lately, in seconds."""
        ...

    def refusals(self) -> Mapping[str, int]:
        """Connections refused since the start, by reason."""
        ...

    def warned(self) -> dict[str, int]:
        """Connections set up wrong since the start, by what is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of one stage in milliseconds, over the latest `count` turns. The first stage is the whole response."""

    stage: str
    count: int
    p50: int
    p95: int


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens and cost of the responses of one endpoint since the server began."""

    endpoint: str
    replies: int
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole board at one moment. `seconds` since the server began; `lag_ms` is the loop's worst delay lately; `llm`
    is None for a model of one endpoint."""

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
    """Follows all sessions of the server by one LiveSession each."""

    def __init__(self, metrics: ServerNumbers, llm: LlmEngine, draining: Callable[[], bool]) -> None:
        self.live: dict[str, LiveSession] = {}
        """The sessions in progress, by id."""
        self.feed = BoardFeed(lambda: msgspec.json.encode(self.snapshot()).decode())
        """Snapshots, for the operators who look."""
        self._metrics = metrics
        self._llm = next((layer for layer in layers(llm) if isinstance(layer, ReportsEndpoints)), None)
        self._draining = draining
        self._began = time.monotonic()
        self._stages: dict[str, deque[int]] = {name: deque(maxlen=TURNS_KEPT) for name in (RESPONSE, *PARTS)}
        self._errors: Counter[str] = Counter()
        self._spend: dict[str, Spend] = {}

    def enter(self, session: str, protocol: str, tenant: str, stop: Callable[[], None]) -> LiveSession:
        """The observer of a session that begins; `stop` ends it."""
        live = LiveSession(session, protocol, tenant, stop, self.count)
        self.live[session] = live
        return live

    def leave(self, session: str) -> None:
        del self.live[session]

    def count(self, event: Event) -> None:
        """Count an event of any session."""
        match event:
            case TurnTimed(timeline=timeline):
                if timeline.response_ms is not None:
                    self._stages[RESPONSE].append(timeline.response_ms)
                    for name, value in timeline.parts().items():
                        self._stages[name].append(value)
            case StageFailed(stage=stage, code=code):
                self._errors[f"{stage}_{code}"] += 1
            case ResponseDone(usage=usage):
                before = self._spend.get(usage.endpoint) or Spend(usage.endpoint, 0, 0, 0.0)
                tokens = before.tokens + usage.input_tokens + usage.output_tokens
                self._spend[usage.endpoint] = Spend(
                    usage.endpoint, before.replies + 1, tokens, before.cost + usage.cost
                )
            case _:
                pass

    def snapshot(self) -> Snapshot:
        moment = now()
        longest = list(self.live.values())[:MOST_ROWS]
        return Snapshot(
            seconds=int(time.monotonic() - self._began),
            draining=self._draining(),
            sessions=len(self.live),
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
