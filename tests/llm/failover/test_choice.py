"""The choice of an endpoint, its statistics, its breaker and the share of hedges: pure, in any time."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceagent.llm.failover.breaker import Breaker, State
from voiceagent.llm.failover.choice import Candidate, blended_price, choose, scores
from voiceagent.llm.failover.health import MOST_SAMPLES, Health, Hedges, percentile
from voiceagent.llm.failover.options import PREFERENCES, BreakerSection, HedgeSection, Weights

LATENCY, COST, BALANCED = PREFERENCES["latency"], PREFERENCES["cost"], PREFERENCES["balanced"]


def name(*candidates: Candidate, weights: Weights = LATENCY, sticky: str | None = None, margin: float = 0.5) -> str:
    chosen = choose(candidates, weights, sticky=sticky, margin=margin)
    assert chosen is not None
    return chosen.name


def test_the_fastest_is_chosen() -> None:
    assert name(Candidate("a", p50=0.4, p95=0.5), Candidate("b", p50=0.2, p95=0.3)) == "b"


def test_a_long_tail_counts_against_an_endpoint() -> None:
    assert name(Candidate("a", p50=0.2, p95=2.0), Candidate("b", p50=0.25, p95=0.3)) == "b"


def test_one_that_was_not_measured_is_tried() -> None:
    measured = Candidate("a", p50=0.3, p95=0.4, recent=5)
    assert name(measured, Candidate("b")) == "b"


def test_failures_outweigh_speed() -> None:
    assert name(Candidate("a", p50=0.1, failure_rate=0.3), Candidate("b", p50=0.3)) == "b"


def test_a_full_endpoint_is_relieved() -> None:
    assert name(Candidate("a", p50=0.1, in_flight=8, capacity=8), Candidate("b", p50=0.15, capacity=8)) == "b"


def test_one_near_its_rate_limit_is_relieved() -> None:
    assert name(Candidate("a", p50=0.1, headroom=0.05), Candidate("b", p50=0.12)) == "b"


def test_cost_prefers_the_cheap_and_latency_the_fast() -> None:
    dear, cheap = Candidate("dear", p50=0.2, price=5.0), Candidate("cheap", p50=0.8, price=0.5)
    assert name(dear, cheap, weights=COST) == "cheap"
    assert name(dear, cheap, weights=LATENCY) == "dear"
    assert name(dear, replace(cheap, p50=0.4), weights=BALANCED) == "cheap"
    assert name(dear, replace(cheap, p50=3.2, price=4.0), weights=BALANCED) == "dear"


def test_even_the_cheapest_is_left_when_it_fails() -> None:
    dear, cheap = Candidate("dear", p50=0.2, price=5.0), Candidate("cheap", p50=0.2, price=0.5, failure_rate=0.95)
    assert name(dear, cheap, weights=COST) == "dear"


def test_a_session_stays_until_another_is_much_better() -> None:
    mine, other = Candidate("a", p50=0.25), Candidate("b", p50=0.2)
    assert name(mine, other, sticky="a") == "a"
    assert name(replace(mine, p50=0.5), other, sticky="a") == "b"
    assert name(replace(mine, rank=2), other, sticky="a") == "b"
    assert name(other, sticky="gone") == "b"


def test_equals_share_by_weight() -> None:
    served: Counter[str] = Counter()
    for _ in range(400):
        equals = [
            Candidate(one, p50=0.2, weight=weight, recent=served[one]) for one, weight in (("a", 3.0), ("b", 1.0))
        ]
        served[name(*equals)] += 1
    assert served == {"a": 300, "b": 100}


def test_what_is_kept_for_need_comes_before_what_is_out_of_order() -> None:
    spare, out = Candidate("spare", p50=3.0, rank=1), Candidate("out", p50=0.1, rank=2)
    assert name(spare, out) == "spare"
    assert name(spare, out, Candidate("a", p50=9.0)) == "a"
    assert choose([], LATENCY) is None


@given(
    st.lists(
        st.builds(
            Candidate,
            st.sampled_from("abcdef"),
            p50=st.none() | st.floats(0, 100),
            p95=st.none() | st.floats(0, 100),
            failure_rate=st.floats(0, 1),
            in_flight=st.integers(0, 1000),
            capacity=st.none() | st.integers(1, 100),
            headroom=st.floats(0, 1),
            price=st.floats(0, 100),
            weight=st.floats(0, 10),
            rank=st.integers(0, 2),
        ),
        unique_by=lambda one: one.name,
        min_size=1,
    ),
    st.sampled_from([LATENCY, COST, BALANCED]),
)
def test_any_state_of_things_gives_a_choice_of_the_lowest_rank(candidates: list[Candidate], weights: Weights) -> None:
    chosen = choose(candidates, weights)
    assert chosen is not None
    assert chosen.rank == min(one.rank for one in candidates)
    assert all(value >= -20 for value in scores(candidates, weights).values())


def test_the_price_of_a_usual_turn() -> None:
    assert blended_price(1.0, 6.0) == pytest.approx(2.0)


def test_measurements_age() -> None:
    health = Health(window=60)
    assert health.p50(0) is None
    for at, seconds in enumerate([0.1, 0.2, 0.3, 2.0]):
        health.spoke(at, seconds)
    assert (health.p50(4), health.p95(4)) == (0.2, 2.0)
    assert health.p50(62.5) == 2.0
    assert health.p50(64) is None
    health.ended(100, failed=True)
    health.ended(101, failed=False)
    assert health.failure_rate(101) == pytest.approx(1 / 3)
    assert health.failure_rate(162) == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=600))
def test_percentiles_are_of_the_latest_measurements(times: list[float]) -> None:
    health = Health(window=1e9)
    for at, seconds in enumerate(times):
        health.spoke(at, seconds)
    latest = sorted(times[-MOST_SAMPLES:])
    assert health.samples(len(times)) == len(latest)
    assert health.p50(len(times)) == percentile(latest, 0.5)
    assert sum(one <= (health.p95(len(times)) or 0) for one in latest) >= 0.95 * len(latest)


def breaker(**options: float) -> Breaker:
    return Breaker(BreakerSection.model_validate(options), Health(60))


def test_a_breaker_opens_after_failures_in_a_row() -> None:
    one = breaker(failures=3, open_seconds=2)
    assert not one.failed(0)
    assert not one.failed(1)
    one.succeeded()
    assert [one.failed(at) for at in (2, 3, 4)] == [False, False, True]
    assert (one.state(5.9), one.state(6)) == (State.OPEN, State.HALF_OPEN)


def test_one_probe_at_a_time_closes_it_again() -> None:
    one = breaker(open_seconds=2)
    assert one.failed(0, at_once=True)
    assert not one.probe(1)
    assert one.probe(2)
    assert not one.probe(2)
    one.released()
    assert one.probe(2)
    one.succeeded()
    assert one.state(2) is State.CLOSED


def test_pauses_double_up_to_the_longest() -> None:
    one, now = breaker(open_seconds=2, most_seconds=10), 0.0
    pauses = []
    for _ in range(5):
        one.probe(now)
        assert one.failed(now, at_once=True)
        pauses.append(one.reopens_in(now))
        now += one.reopens_in(now)
    assert pauses == [2, 4, 8, 10, 10]


def test_retry_after_is_obeyed() -> None:
    one = breaker(open_seconds=2)
    assert one.failed(0, retry_after=30)
    assert one.state(29) is State.OPEN
    assert not one.failed(5, retry_after=60)
    assert one.reopens_in(5) == 60


def test_many_failures_among_successes_open_it_too() -> None:
    health = Health(60)
    one = Breaker(BreakerSection(failures=100, share=0.5), health)
    opened = False
    for at in range(30):
        health.ended(at, failed=at % 3 > 0)
        opened = (at % 3 > 0 and one.failed(at)) or opened
    assert opened
    assert one.is_open


def test_hedges_keep_their_share() -> None:
    hedges = Hedges(HedgeSection(share=0.1))
    taken = 0
    for _ in range(1000):
        hedges.request()
        taken += hedges.take()
    assert taken == 100
    for _ in range(1000):
        hedges.request()
    assert sum(hedges.take() for _ in range(100)) == 5


def test_a_first_token_is_late_after_the_p95_but_not_after_many_medians() -> None:
    health, hedges = Health(60), Hedges(HedgeSection(least_ms=30, most_medians=2.5))
    for at in range(19):
        health.spoke(0, 0.1 + at / 1000)
    assert hedges.after(health, 0) is None
    health.spoke(0, 0.15)
    assert hedges.after(health, 0) == pytest.approx(0.118)
    for _ in range(5):
        health.spoke(0, 5.0)
    assert hedges.after(health, 0) == pytest.approx(2.5 * 0.112)
    assert Hedges(HedgeSection(on=False)).after(health, 0) is None
