"""Attempt: one request at one endpoint, from the gate of its rate limit to its last event, and what became of it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from voiceagent.errors import EngineError
from voiceagent.llm.base import Caller, Completed, LlmEvent, LlmRequest, TextDelta, Thinking, ToolCall
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.limits.gates import Pass
from voiceagent.llm.failover.limits.tokens import prompt_tokens, request_tokens, text_tokens
from voiceagent.llm.failover.reports import Observer, Outcome, priced

HANG_UP_SECONDS = 1.0
"""How long the end of a request waits for its connections to be closed; they go on closing by themselves."""
ABOUT_THE_REQUEST = ("bad_request", "content_filter", "context_length")
"""Codes that say nothing of the endpoint's health: any other might refuse the same."""
STALL_SECONDS = 0.1
"""A deadline that is noticed so late says that the event loop stood still, or the machine."""


@dataclass(frozen=True, slots=True)
class AttemptOptions:
    """How an attempt came about, and how long it may wait for the endpoint's rate limit."""

    hedged: bool = False
    resumed: bool = False
    check: bool = False
    queue_seconds: float = 0.0


class EmptyAnswer(EngineError):
    """An endpoint answered to the end and said nothing: it filtered the answer, only thought, or stopped at once.
    `completed` is the end it came to."""

    def __init__(self, completed: Completed) -> None:
        code = "content_filter" if completed.reason == "content_filter" else "empty"
        super().__init__("llm", code, "the language model answered nothing")
        self.completed = completed

    @property
    def is_a_fault(self) -> bool:
        """Whether the endpoint is to blame, rather than the request's words or its limit."""
        return self.completed.reason == "stop"


class Attempt:
    """`first`, then `following` until it returns None or raises; in the end `close`, at any time. It calls
    `report` exactly once, as soon as it is over."""

    def __init__(self, endpoint: Endpoint, request: LlmRequest, options: AttemptOptions, report: Observer) -> None:
        self.endpoint = endpoint
        self.options = options
        self.outcome: Outcome | None = None
        """Known once it is over."""
        self._request = request
        self._report = report
        self._pass: Pass | None = None
        self._events: AsyncGenerator[LlmEvent, None] | None = None
        self._ttft: float | None = None
        self._stalled = False
        """This process was late itself: the answer may well have been there in time."""
        self._written: list[str] = []
        """All that the model has written, thoughts and calls included."""
        self._blank = ""
        """White space before the first words."""
        self._answered = False
        """Words came, or a call."""
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._began = loop.time()
        self._probing = endpoint.breaker.probe(self._began)
        endpoint.in_flight += 1
        endpoint.last_used = self._began

    async def first(self) -> LlmEvent:
        """The first event. Raises EngineError."""
        try:
            if (gate := self.endpoint.gate) is not None:
                tokens = request_tokens(self._request)
                self._pass = await gate.enter(tokens, self._request.caller, self.options.queue_seconds)
                self._began = self._now()
            self._events = self.endpoint.engine.reply(self._request)
            event = await self._within(self.endpoint.first_token_seconds)
            if event is None:
                raise EngineError("llm", "empty", "the language model answered nothing")
            self._check_answered(event)
        except EngineError as error:
            self._failed(error)
            if self._events is not None:
                await self._events.aclose()  # after an answer of nothing it waits to be asked on
            raise
        self._ttft = self._now() - self._began
        if not self.options.check or not self.endpoint.health.samples(self._now()):  # a check is faster than a turn
            self.endpoint.health.spoke(self._now(), self._ttft)
        return self._noted(event)

    async def following(self) -> LlmEvent | None:
        """The next event, None after the last. Raises EngineError."""
        try:
            event = await self._within(self.endpoint.next_token_seconds)
            if event is None and self.outcome is None:
                raise EngineError("llm", "bad_response", "the language model's answer broke off")
            if event is not None:
                self._check_answered(event)
        except EngineError as error:
            self._failed(error)
            if self._events is not None:
                await self._events.aclose()  # after an answer of nothing it waits to be asked on
            raise
        return None if event is None else self._noted(event)

    def give_up(self) -> None:
        """Nobody waits for it any more: it is over now, whatever of it is still under way. (`close` ends that.)"""
        if self.outcome is not None:
            return
        now = self._now()
        if self._ttft is not None:
            self.endpoint.succeeded(now)
        elif self._probing:
            self.endpoint.breaker.released()
        self._end("cancelled", self._estimate() if self._sent else None)

    def beaten(self) -> None:
        """Another endpoint was faster: it would have taken longer than this."""
        if self.outcome is None and self._ttft is None and self._sent:
            self.endpoint.health.spoke(self._now(), self._now() - self._began)
        self.give_up()

    def refused_alone(self) -> None:
        """The request it called bad was a good one for another endpoint, so the blame is its own."""
        error = EngineError("llm", "bad_request", "")
        self.endpoint.failed(self._now(), error)

    async def close(self) -> None:
        self.give_up()
        if self._events is not None:
            await self._events.aclose()

    async def _within(self, seconds: float) -> LlmEvent | None:
        """The next event that says something."""
        assert self._events is not None
        due = self._now() + seconds
        try:
            async with asyncio.timeout_at(due):
                while True:
                    event = await anext(self._events, None)
                    if not isinstance(event, TextDelta):
                        return event
                    text, self._blank = self._blank + event.text, ""
                    if text.strip() or (text and (self._answered or self._may_be_empty)):
                        return TextDelta(text)
                    self._blank = text
        except TimeoutError:
            self._stalled = self._now() - due > STALL_SECONDS
            raise EngineError("llm", "timeout", f"the language model was silent for {seconds:g} s") from None

    def _check_answered(self, event: LlmEvent) -> None:
        """Raises EmptyAnswer at the end of an answer of nothing."""
        self._answered = self._answered or isinstance(event, TextDelta | ToolCall)
        if isinstance(event, Completed) and not (self._answered or self._may_be_empty):
            raise EmptyAnswer(self._used(event))

    @property
    def _may_be_empty(self) -> bool:
        """Where an answer goes on, there may be nothing left to say."""
        return self.options.resumed or self.options.check

    def _noted(self, event: LlmEvent) -> LlmEvent:
        match event:
            case TextDelta(text) | Thinking(text):
                self._written.append(text)
            case ToolCall():
                self._written += (event.name, event.arguments)
            case Completed():
                told = bool(event.input_tokens or event.output_tokens)
                event = self._used(event)
                self.endpoint.succeeded(self._now())
                self._end("ok", event, estimated=not told)
        return event

    def _used(self, event: Completed) -> Completed:
        """With what it costs; by estimate where the endpoint told no usage, so that budgets hold."""
        if not (event.input_tokens or event.output_tokens):
            estimate = self._estimate()
            event = replace(event, input_tokens=estimate.input_tokens, output_tokens=estimate.output_tokens)
        return priced(self.endpoint.options, event)

    def _failed(self, error: EngineError) -> None:
        """A request that the endpoint calls bad, or that our own limits or this very process held up, says nothing of
        the endpoint's health."""
        error.endpoint = self.endpoint.name
        if self.outcome is not None:
            return
        excused = not error.is_a_fault if isinstance(error, EmptyAnswer) else error.code in ABOUT_THE_REQUEST
        if excused or not self._sent or self._stalled:
            if self._probing:
                self.endpoint.breaker.released()
        else:
            self.endpoint.failed(self._now(), error, at_once=self.options.check or self._is_late(error))
        if isinstance(error, EmptyAnswer):
            self._end(error.code, error.completed)
        else:
            self._end(error.code, self._estimate() if self._ttft is not None else None)

    def _is_late(self, error: EngineError) -> bool:
        return error.code == "timeout" and self._ttft is None

    @property
    def _sent(self) -> bool:
        return self._events is not None

    def _estimate(self) -> Completed:
        """What is paid for, where the endpoint had no time to tell."""
        written = text_tokens("".join(self._written))
        usage = Completed(input_tokens=prompt_tokens(self._request), output_tokens=written)
        return priced(self.endpoint.options, usage)

    def _end(self, code: str, used: Completed | None, *, estimated: bool = True) -> None:
        if self.outcome is not None:
            return
        if self._pass is not None:
            self._pass.settle(used if code == "ok" else None)
        now, options = self._now(), self.endpoint.options
        self.endpoint.in_flight -= 1
        self.endpoint.last_used = now
        usage = used or Completed()
        caller = Caller() if self.options.check else self._request.caller
        self.outcome = Outcome(
            options.name, options.dialect, options.model, caller, code,
            began=self._began, seconds=now - self._began, ttft=self._ttft,
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cached_tokens=usage.cached_tokens,
            cost=usage.cost, estimated=used is not None and estimated,
            hedged=self.options.hedged, resumed=self.options.resumed, check=self.options.check,
        )  # fmt: skip
        self.endpoint.count(self.outcome)
        self._report(self.outcome)
