"""Spans of OpenTelemetry, made from times on the event loop's clock: those of a turn, and those of the requests to the
language model within it.

The package `opentelemetry-api` is optional. Where spans go, the application says, or `opentelemetry-instrument`; where
nobody does, they cost next to nothing. Spans are made when their times are known: a turn's once it is over, and with it
those of all requests that were made for it, so that they hang together though they began in different tasks."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

from voiceagent.llm.base import Caller
from voiceagent.session.commands import Command
from voiceagent.session.conversation import AnyItem
from voiceagent.session.events import AudioCommitted, Event, IdleTimeoutTriggered, TurnTimed
from voiceagent.session.timeline import MARKS

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]

TURNS_OPEN = 8
"""Turns of a session that may still be answered; the requests made for an older one are shown by themselves."""
MOST_PENDING = 64
"""Requests of a session that wait for the end of their turn; the oldest are shown by themselves."""


class WallClock:
    """Translates times of the running loop's monotonic clock into nanoseconds since 1970."""

    def __init__(self) -> None:
        self._offset = time.time_ns() - round(asyncio.get_running_loop().time() * 1e9)

    def __call__(self, seconds: float) -> int:
        return self._offset + round(seconds * 1e9)


@dataclass(slots=True)
class RequestSpan:
    """A request to the language model that is over, but for its place in a trace. Times in seconds on the loop's
    clock; `context` is where it was made, for a request that belongs to no session."""

    caller: Caller
    name: str
    began: float
    ended: float
    attributes: dict[str, str | bool | int | float | Sequence[str]]
    error: str | None = None
    events: list[tuple[str, float, Attributes]] = field(default_factory=list)
    context: Context = field(default_factory=otel_context.get_current)

    def export(self, tracer: Tracer, clock: WallClock, context: Context) -> None:
        span = tracer.start_span(
            self.name, context, SpanKind.CLIENT, attributes=self.attributes, start_time=clock(self.began)
        )
        for name, at, attributes in self.events:
            span.add_event(name, attributes, clock(at))
        if self.error is not None:
            span.set_status(Status(StatusCode.ERROR, self.error))
        span.end(clock(self.ended))


class TraceRecorder:
    """The tracing of one process: `session` begins that of a session, `request` takes what the language model did."""

    def __init__(self, tracer: Tracer, *, content: bool = False) -> None:
        """With `content` spans hold what is asked and answered."""
        self.content = content
        self.tracer = tracer
        self._sessions: dict[str, SessionTrace] = {}

    def session(self, session_id: str, *, channel: str, tenant: str) -> "SessionTrace":
        """To be an observer of the session until it ends."""
        found = self._sessions[session_id] = SessionTrace(self, session_id, channel, tenant)
        return found

    def leave(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def request(self, span: RequestSpan) -> None:
        """It goes to its turn, or where it belongs to no session under way, to where it was made."""
        session = self._sessions.get(span.caller.session)
        if session is not None:
            session.request(span)
        else:
            span.export(self.tracer, WallClock(), span.context)


class SessionTrace:
    """The traces of one session, an observer of it: one trace for each turn of the user that was answered.

    The root is `turn`, from the beginning of the user's voice to the end of what was heard of the answer. Its children
    are the stations of the timeline (`vad`, `endpointing`, `asr`, `tts`, `playout`) and, in the place of its `llm`, the
    requests to the language model. They may overlap: an answer is often prepared before the turn is over."""

    def __init__(self, tracing: TraceRecorder, session_id: str, channel: str, tenant: str) -> None:
        self._tracing = tracing
        self._id, self._channel, self._tenant = session_id, channel, tenant
        self._clock = WallClock()
        self._turns = 0
        """How many turns the user has had, as the session counts them in `Caller.turn`."""
        self._idle = ""
        """The item of a silence, which is no turn of the user's."""
        self._open: OrderedDict[str, int] = OrderedDict()
        """The numbers of turns that are not over, by their items."""
        self._over: OrderedDict[int, Context] = OrderedDict()
        """The spans of turns that are: a request may end after its turn was cut off."""
        self._pending: list[RequestSpan] = []

    def on_event(self, event: Event) -> None:
        match event:
            case IdleTimeoutTriggered(item_id=item_id):
                self._idle = item_id
            case AudioCommitted(item_id=item_id) if item_id != self._idle:
                self._turns += 1
                self._open[item_id] = self._turns
                if len(self._open) > TURNS_OPEN:
                    self._open.popitem(last=False)
                self._release()
            case TurnTimed(item_id=item_id) if item_id != self._idle:
                self._turn_over(event, self._open.pop(item_id, self._turns))
            case _:
                pass

    def on_command(self, command: Command) -> None: ...

    def on_item(self, item: AnyItem) -> None: ...

    def on_end(self, reason: str) -> None:
        """What is still to be shown belongs to no turn any more."""
        self._tracing.leave(self._id)
        self._open.clear()
        self._turns += 1
        self._release()

    def request(self, span: RequestSpan) -> None:
        """A request of this session is over."""
        context = self._over.get(span.caller.turn)
        if context is not None:
            span.export(self._tracing.tracer, self._clock, context)
            return
        self._pending.append(span)
        if len(self._pending) > MOST_PENDING:
            self._alone(self._pending.pop(0))

    def _release(self) -> None:
        """Show requests whose turn will not be timed any more: a greeting, or an answer that was never given."""
        waiting = set(self._open.values())
        late = [span for span in self._pending if span.caller.turn < self._turns and span.caller.turn not in waiting]
        for span in late:
            self._pending.remove(span)
            self._alone(span)

    def _alone(self, span: RequestSpan) -> None:
        span.export(self._tracing.tracer, self._clock, Context())

    def _turn_over(self, event: TurnTimed, number: int) -> None:
        timeline = event.timeline
        reached = [at for mark in MARKS if (at := getattr(timeline, mark)) is not None]
        if not reached:
            return
        requests = [span for span in self._pending if span.caller.turn == number]
        tracer, clock = self._tracing.tracer, self._clock
        attributes: dict[str, str | bool | int] = {
            "gen_ai.conversation.id": self._id,
            "voiceagent.channel": self._channel,
            "voiceagent.tenant": self._tenant,
            "voiceagent.turn": number,
            "voiceagent.item": event.item_id,
            "voiceagent.response": event.response_id,
            "voiceagent.interrupted": timeline.interrupted is not None,
            **{f"voiceagent.part.{name}_ms": value for name, value in timeline.parts().items()},
        }
        if (response_ms := timeline.response_ms) is not None:
            attributes["voiceagent.response_ms"] = response_ms
        root = tracer.start_span("turn", Context(), attributes=attributes, start_time=clock(min(reached)))
        context = set_span_in_context(root, Context())
        over = max(reached)
        for station in timeline.stations():
            if station.name == "llm" and requests:
                continue
            span = tracer.start_span(station.name, context, start_time=clock(station.start))
            if station.first is not None:
                span.add_event("first", timestamp=clock(station.first))
            span.end(clock(over if station.end is None else max(station.start, station.end)))
        for request in requests:
            self._pending.remove(request)
            request.export(tracer, clock, context)
        root.end(clock(over))
        self._over[number] = context
        if len(self._over) > TURNS_OPEN:
            self._over.popitem(last=False)
