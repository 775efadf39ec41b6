"""Options of the failover engine: the endpoints, how one is chosen, and what happens when one fails."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from voiceagent.llm.failover.limits.buckets import LimitSettings
from voiceagent.section import Milliseconds, Seconds, Section

Price = Annotated[float, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class EndpointOptions(BaseModel):
    """One endpoint. Every key that is not listed here is the dialect's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[^\\s/]+$")]
    """In events, metrics and logs."""
    dialect: Annotated[str, Field(min_length=1)] = "openai"
    """An LLM engine's name (`openai`, `anthropic`, `gemini`, `embedded` …), or `azure`."""
    weight: Weight = 1.0
    """How endpoints that are equally good share the requests; 0 keeps one for the time when no other answers."""
    region: str = ""
    """Shown to the operator."""
    price_in: Price = 0.0
    """Of a million tokens of the prompt, in any one currency."""
    price_out: Price = 0.0
    """Of a million tokens of the answer."""
    price_cached: Price | None = None
    """Of a million cached tokens; as `price_in` without one."""
    rpm: Annotated[int, Field(ge=0)] = 0
    """Requests a minute; 0: no limit."""
    tpm: Annotated[int, Field(ge=0)] = 0
    """Tokens a minute; 0: no limit."""
    capacity: Annotated[int, Field(ge=1)] | None = None
    """Requests that it answers at once without getting slower."""
    resume: Literal["instruction", "prefix"] = "instruction"
    """How it goes on with an answer that broke off elsewhere: told to by an `instruction`, which every model
    understands, or by the answer as its own `prefix` (llama.cpp, vLLM, older models of Anthropic's)."""
    first_token_seconds: Seconds | None = None
    """In place of the failover's, for a model that thinks in silence."""
    next_token_seconds: Seconds | None = None
    """Likewise."""

    @property
    def model(self) -> str:
        """The model's name as far as the table tells it."""
        return str((self.model_extra or {}).get("model", ""))

    @property
    def dialect_options(self) -> dict[str, object]:
        """The keys that are the engine's own. Keys (secrets) may be among them: never to be shown."""
        return dict(self.model_extra or {})

    def __repr__(self) -> str:
        return f"EndpointOptions(name={self.name!r}, dialect={self.dialect!r})"

    __str__ = __repr__

    @model_validator(mode="after")
    def _is_one_endpoint(self) -> Self:
        if self.dialect in ("failover", "gateway"):
            raise ValueError("an endpoint's dialect cannot be an engine over many endpoints")
        return self


class Weights(Section):
    """How much each thing counts in the choice. An endpoint's score is the sum of weight times badness; see
    `voiceagent/llm/failover/choice.py` for the scale of each."""

    latency: Weight = 1.0
    """How much slower it is than the fastest."""
    failures: Weight = 1.0
    """Its failures of late."""
    load: Weight = 1.0
    """Its requests in flight, by its capacity."""
    headroom: Weight = 1.0
    """What is left of its rate limit."""
    price: Weight = 0.0
    """What it costs."""


PREFERENCES = {
    "latency": Weights(),
    "balanced": Weights(latency=0.7, price=0.7),
    "cost": Weights(latency=0.15, price=2.0),
}
"""With "cost" the cheapest endpoint is taken unless it fails, is full, or is some twenty times slower; with "balanced"
one that is twice as fast may cost half as much again."""


class BalanceSection(Section):
    """How an endpoint is chosen."""

    prefer: Literal["latency", "cost", "balanced"] | Weights = "latency"
    """What counts most, or weights of your own."""
    sticky: bool = True
    """Whether a session stays with its endpoint, whose prompt cache knows it."""
    sticky_margin: Annotated[float, Field(ge=0)] = 0.5
    """By how much another's score must be better; 0.5 is about 1.4 times faster."""
    window_seconds: Seconds = 300.0
    """How far back measurements count."""

    @property
    def weights(self) -> Weights:
        return self.prefer if isinstance(self.prefer, Weights) else PREFERENCES[self.prefer]


class HedgeSection(Section):
    """A second request when the first token is later than the endpoint's own p95."""

    on: bool = True
    """Whether there are any."""
    share: Share = 0.1
    """At most this share of all requests is hedged."""
    least_ms: Milliseconds = 30
    """Not before so long."""
    most_medians: Annotated[float, Field(ge=1)] = 2.0
    """Not after so many times the endpoint's median (a tail of 5 % hides the p95 in itself)."""


class BreakerSection(Section):
    """When the breaker of an endpoint opens. A refused key, a 429 or a first token that did not come in time is enough;
    an endpoint's own Retry-After is obeyed."""

    failures: Annotated[int, Field(ge=1)] = 3
    """After so many failures in a row."""
    share: Share = 0.5
    """After such a share of the last requests (at least ten) failed."""
    open_seconds: Seconds = 2.0
    """The first pause; it doubles with each further one."""
    most_seconds: Seconds = 60.0
    """The longest pause."""


class FailoverSection(Section):
    """When a request moves on to another endpoint."""

    connect_seconds: Seconds = 1.5
    """For the connection, and again for TLS."""
    first_token_seconds: Seconds = 4.0
    """For the first token; reasoning counts."""
    next_token_seconds: Seconds = 3.0
    """For each further token."""
    queue_seconds: Seconds = 2.0
    """How long a request may wait for an endpoint's rate limit when no other endpoint is left."""
    check_seconds: Annotated[float, Field(ge=0)] = 30.0
    """An endpoint without traffic for so long is asked for one token, to know whether it lives; 0: never."""
    resumes: Annotated[int, Field(ge=0)] = 3
    """How often one answer may go on elsewhere."""
    hedge: HedgeSection = HedgeSection()
    """Second requests."""
    breaker: BreakerSection = BreakerSection()
    """When an endpoint is let alone."""


class FailoverOptions(Section):
    """`[llm] engine = "failover"`: everything under it."""

    endpoints: Annotated[tuple[EndpointOptions, ...], Field(min_length=1)]
    """The endpoints behind the one name."""
    balance: BalanceSection = BalanceSection()
    """How one is chosen."""
    failover: FailoverSection = FailoverSection()
    """When a request moves on."""
    limits: LimitSettings = LimitSettings()
    """How rate limits are kept."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [endpoint.name for endpoint in self.endpoints]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two endpoints are called {min(twice)}")
        return self
