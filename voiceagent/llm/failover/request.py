"""Request of a caller, until it is answered to the end: by one endpoint, or by several of which each goes on where the
last broke off."""

import logging
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, replace

from voiceagent.errors import EngineError
from voiceagent.llm.base import Completed, LlmEvent, LlmRequest, TextDelta, ToolCall
from voiceagent.llm.failover.attempt import Attempt, EmptyAnswer
from voiceagent.llm.failover.endpoint import Endpoint
from voiceagent.llm.failover.pool import Pool
from voiceagent.llm.failover.race import Plan, Race
from voiceagent.llm.failover.reports import Outcome
from voiceagent.llm.failover.resume import Joint, continuation

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Spent:
    """What the attempts of this request came to: the tokens of those that spoke, the cost of all."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0


class FailoverRequest:
    def __init__(self, pool: Pool, request: LlmRequest, names: Collection[str]) -> None:
        """`names` are the endpoints that may be asked."""
        self._pool = pool
        self._request = request
        self._names = names
        self._said = ""
        self._called = False
        self._resumes = 0
        self._hedged = False
        self._empty: list[EmptyAnswer] = []
        """Answers of nothing so far."""
        self._silent: set[str] = set()
        """The endpoints that gave one, which are not asked again."""
        self._spent = _Spent()

    async def events(self) -> AsyncGenerator[LlmEvent, None]:
        pool = self._pool
        pool.requests += 1
        pool.hedges.request()
        failed: Attempt | None = None
        try:
            while True:
                race = Race(pool, self._plan(failed), self._report)
                attempt: Attempt | None = None
                try:
                    attempt, event = await race.winner()
                    pool.answered(self._request.caller, attempt.endpoint)
                    joint = Joint(self._said, attempt.endpoint.options.resume) if self._said else None
                    following: LlmEvent | None = event
                    while following is not None:
                        for part in self._joined(following, joint):
                            yield part
                        following = await attempt.following()
                    return
                except EngineError as error:
                    self._empty += race.empty
                    if isinstance(error, EmptyAnswer) and attempt is not None:
                        self._empty.append(error)
                    self._silent.update(one.completed.endpoint for one in self._empty)
                    if attempt is None or not self._may_resume(error):
                        if (end := self._empty_end()) is None:
                            raise
                        yield self._completed(end)
                        return
                    failed = attempt
                    name, code, length = attempt.endpoint.name, error.code, len(self._said)
                    logger.warning("language model endpoint %s broke off (%s) after %d characters", name, code, length)
                finally:
                    self._note(race)
                    if attempt is not None:
                        await attempt.close()
                    await race.close()
                if self._called:  # what else the model wanted, it will say once it has the results
                    yield self._completed(Completed("tool_calls", endpoint=name))
                    return
        except EngineError:
            pool.failed += 1
            raise

    def _plan(self, failed: Attempt | None) -> Plan:
        """After a failure in mid-answer its endpoint comes last, and every other one may be asked again."""
        if failed is None:
            return Plan(self._request, lambda endpoint: self._request, self._names)
        least = (failed.endpoint.name,)
        if self._silent and not self._said:  # nothing is to be gone on with
            names = [name for name in self._names if name not in self._silent]
            return Plan(self._request, lambda endpoint: self._request, names, least)
        self._resumes += 1
        return Plan(self._request, self._continued, self._names, least, resumed=bool(self._said))

    def _continued(self, endpoint: Endpoint) -> LlmRequest:
        return continuation(self._request, self._said, endpoint.options.resume)

    def _empty_end(self) -> Completed | None:
        """How the request ends when all that could be had was an answer of nothing: as the endpoint ended it, unless it
        gave no reason for that."""
        ends = [one.completed for one in self._empty if not one.is_a_fault]
        return ends[-1] if ends and not self._said and not self._called else None

    def _may_resume(self, error: EngineError) -> bool:
        if isinstance(error, EmptyAnswer):
            return any(name not in self._silent for name in self._names)
        return self._called or self._resumes < self._pool.options.failover.resumes

    def _joined(self, event: LlmEvent, joint: Joint | None) -> list[LlmEvent]:
        """What the caller gets of an event; of an answer that goes on, only what is new."""
        match event:
            case TextDelta(text):
                return self._text(text if joint is None else joint.push(text))
            case Completed():
                rest = [] if joint is None else self._text(joint.finish())
                return [*rest, self._completed(event)]
            case ToolCall():
                rest = [] if joint is None else self._text(joint.finish())
                self._called = True
                return [*rest, event]
        return [event]

    def _text(self, new: str) -> list[LlmEvent]:
        self._said += new
        return [TextDelta(new)] if new else []

    def _completed(self, event: Completed) -> Completed:
        spent = self._spent
        return replace(
            event,
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            cached_tokens=spent.cached_tokens,
            cost=spent.cost,
        )

    def _report(self, outcome: Outcome) -> None:
        self._spent.cost += outcome.cost
        if outcome.code == "ok" or (outcome.ttft is not None and outcome.code != "cancelled"):
            self._spent.input_tokens += outcome.input_tokens
            self._spent.output_tokens += outcome.output_tokens
            self._spent.cached_tokens += outcome.cached_tokens
        self._pool.report(outcome)

    def _note(self, race: Race) -> None:
        """Count a request once, whatever became of it."""
        pool = self._pool
        if race.hedged and not self._hedged:
            self._hedged = True
            pool.hedged += 1
        if race.plan.resumed and self._resumes == 1:
            pool.resumed += 1
