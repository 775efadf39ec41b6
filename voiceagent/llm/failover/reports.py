"""Reports of what the endpoints do: the outcome of each attempt, and the state of all endpoints now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from voiceagent.llm.base import Caller, Completed
from voiceagent.llm.failover.breaker import State
from voiceagent.llm.failover.options import EndpointOptions

PER = 1_000_000
"""Prices are for so many tokens."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt to have a request answered at one endpoint; a request has one or more, in turn or two at once.

    `code` is "ok", "cancelled" (the caller hung up, or another endpoint was faster), or the code of the EngineError.
    `began` is monotonic; `ttft` (None: no token came) and `seconds` count from when it was sent. `estimated`: the
    endpoint told no usage, as the answer broke off, and tokens and cost are by rule. `hedged`: it was a second request
    while the first was late. `resumed`: it went on with an answer that broke off elsewhere. `check`: no
    caller's, but a health check."""

    endpoint: str
    dialect: str
    model: str
    caller: Caller
    code: str
    began: float
    seconds: float
    ttft: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    estimated: bool = False
    hedged: bool = False
    resumed: bool = False
    check: bool = False


Observer = Callable[[Outcome], None]
"""Called on the event loop: must be quick and must not raise."""


def cost(options: EndpointOptions, completed: Completed) -> float:
    """What these tokens cost at the endpoint's configured prices."""
    cached = min(completed.cached_tokens, completed.input_tokens)
    price_cached = options.price_in if options.price_cached is None else options.price_cached
    fresh = completed.input_tokens - cached
    total = fresh * options.price_in + cached * price_cached + completed.output_tokens * options.price_out
    return total / PER


def priced(options: EndpointOptions, completed: Completed) -> Completed:
    """With the cost, and the endpoint's configured name."""
    return replace(completed, cost=cost(options, completed), endpoint=options.name)


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One endpoint now. Times to the first token (`ttft`) in seconds over the window, None without measurement; counts,
    tokens and `spend` since the start, checks and hedges included; `errors` by code;
    `waiting` for the rate limit."""

    name: str
    dialect: str
    model: str
    region: str
    breaker: State
    reopens_in: float
    ttft_p50: float | None
    ttft_p95: float | None
    failure_rate: float
    in_flight: int
    waiting: int
    capacity: int | None
    headroom: float
    requests: int
    hedges: int
    resumes: int
    errors: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    spend: float


@dataclass(frozen=True, slots=True)
class FailoverStatus:
    """All endpoints, in the order of the configuration, and what was done with its callers' requests: `hedged` got
    a second request, `resumed` went on elsewhere after words were said, `failed` reached their caller as an error."""

    endpoints: tuple[EndpointStatus, ...]
    requests: int
    hedged: int
    resumed: int
    failed: int
    sessions: int
    """Sessions whose endpoint is remembered."""

    @property
    def spend(self) -> float:
        return sum(endpoint.spend for endpoint in self.endpoints)
