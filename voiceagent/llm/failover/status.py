"""What the operator sees of the edge."""

from collections.abc import Mapping
from dataclasses import dataclass

from voiceagent.llm.failover.breaker import State


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One endpoint now. Times to the first token (`ttft`) in seconds over the window, None without measurement; counts,
    tokens and `spend` since the start, checks and hedges included; `errors` by code."""

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
    """All endpoints, in the order of the configuration, and what the edge did with its callers' requests: `hedged` got
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
