"""What became of a request at one endpoint: what audit, metrics and budgets go by."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from voiceagent.llm.base import Caller, Completed
from voiceagent.llm.failover.options import EndpointOptions

PER = 1_000_000
"""Prices are for so many tokens."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt: a request has one or more, at one endpoint after the other or at two at once.

    `code` is "ok", "cancelled" (the caller hung up, or another endpoint was faster), or the code of the EngineError.
    `began` is monotonic; `ttft` (None: no token came) and `seconds` count from when it was sent. `estimated`: the
    endpoint told no usage, as the answer broke off, and tokens and cost are by rule. `hedged`: it was a second request
    while the first was late. `resumed`: it went on with an answer that broke off elsewhere. `check`: no caller, the
    edge looked whether the endpoint lives."""

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
