"""Options of the failover engine: the endpoints, how one is chosen, and what happens when one fails."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from voiceagent.llm.failover.limits.buckets import LimitSettings
from voiceagent.section import Milliseconds, Seconds, Section

Price = Annotated[float, Field(ge=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class EndpointOptions(BaseModel):
    """One endpoint. `dialect` is an LLM engine's name (`openai`, `anthropic`, `gemini`, `embedded` …) or `azure`, and
    every key that is not listed here is that engine's own option.

    `weight` shares the requests among endpoints that are equally good; 0 keeps one for the time when no other answers.
    Prices are per million tokens, in any one currency; cached tokens cost as much as others unless `price_cached`
    says less. `rpm` and `tpm` are requests and tokens a minute, 0 without limit. `capacity` is how many requests it
    answers at once without getting slower. `resume` says how it goes on with an answer that another has begun: told to
    by an `instruction`, which every model understands, or by the answer as its own `prefix` (llama.cpp, vLLM, older
    models of Anthropic's). `first_token_seconds` and `next_token_seconds` replace those of `[llm.failover]`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[^\\s/]+$")]
    dialect: Annotated[str, Field(min_length=1)] = "openai"
    weight: Weight = 1.0
    region: str = ""
    price_in: Price = 0.0
    price_out: Price = 0.0
    price_cached: Price | None = None
    rpm: Annotated[int, Field(ge=0)] = 0
    tpm: Annotated[int, Field(ge=0)] = 0
    capacity: Annotated[int, Field(ge=1)] | None = None
    resume: Literal["instruction", "prefix"] = "instruction"
    first_token_seconds: Seconds | None = None
    next_token_seconds: Seconds | None = None

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
    failures: Weight = 1.0
    load: Weight = 1.0
    headroom: Weight = 1.0
    price: Weight = 0.0


PREFERENCES = {
    "latency": Weights(),
    "balanced": Weights(latency=0.7, price=0.7),
    "cost": Weights(latency=0.15, price=2.0),
}
"""With "cost" the cheapest endpoint is taken unless it fails, is full, or is some twenty times slower; with "balanced"
one that is twice as fast may cost half as much again."""


class BalanceSection(Section):
    """`sticky`: a session stays with its endpoint, whose prompt cache knows the talk, until another's score is better
    by `sticky_margin`. `window_seconds` is how far back measurements count."""

    prefer: Literal["latency", "cost", "balanced"] | Weights = "latency"
    sticky: bool = True
    sticky_margin: Annotated[float, Field(ge=0)] = 0.5
    window_seconds: Seconds = 300.0

    @property
    def weights(self) -> Weights:
        return self.prefer if isinstance(self.prefer, Weights) else PREFERENCES[self.prefer]


class HedgeSection(Section):
    """A second request when the first token is late: after the endpoint's own p95, but not before `least_ms` and not
    after `most_medians` times its median (a tail of 5 % hides the p95 in itself). At most `share` of all requests are
    hedged."""

    on: bool = True
    share: Share = 0.1
    least_ms: Milliseconds = 30
    most_medians: Annotated[float, Field(ge=1)] = 2.0


class BreakerSection(Section):
    """The breaker of an endpoint opens after `failures` in a row, or when `share` of the last requests (at least ten)
    failed; a refused key, a 429, or a first token that did not come in time is enough alone. The pause without requests
    begins with `open_seconds` and doubles up to `most_seconds`; an endpoint's own Retry-After is obeyed."""

    failures: Annotated[int, Field(ge=1)] = 3
    share: Share = 0.5
    open_seconds: Seconds = 2.0
    most_seconds: Seconds = 60.0


class FailoverSection(Section):
    """Deadlines in seconds. `connect_seconds` covers TCP and TLS. `queue_seconds` is how long a request may wait for
    an endpoint's rate limit when no other endpoint is left. `check_seconds`: an endpoint without traffic for so long is
    asked for one token, to know whether it lives; 0 never asks. `resumes` is how often one answer may go on
    elsewhere."""

    connect_seconds: Seconds = 1.5
    first_token_seconds: Seconds = 4.0
    next_token_seconds: Seconds = 3.0
    queue_seconds: Seconds = 2.0
    check_seconds: Annotated[float, Field(ge=0)] = 30.0
    resumes: Annotated[int, Field(ge=0)] = 3
    hedge: HedgeSection = HedgeSection()
    breaker: BreakerSection = BreakerSection()


class FailoverOptions(Section):
    """`[llm] engine = "failover"`: everything under it."""

    endpoints: Annotated[tuple[EndpointOptions, ...], Field(min_length=1)]
    balance: BalanceSection = BalanceSection()
    failover: FailoverSection = FailoverSection()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [endpoint.name for endpoint in self.endpoints]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two endpoints are called {min(twice)}")
        return self
