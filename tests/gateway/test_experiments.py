"""Experiments: who is in which arm, and what the report says."""

import random
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.llm.failover import answer, failover_over
from tests.support.llm.wires import Reply
from voiceagent.errors import ConfigError
from voiceagent.gateway.experiments.assignment import ArmOptions, ExperimentOptions, Experiments, arm_of, identity
from voiceagent.gateway.experiments.report import Tally, report
from voiceagent.gateway.experiments.statistics import of_ranks, of_shares
from voiceagent.gateway.routes.engine import RoutedLlm
from voiceagent.gateway.routes.options import RouteOptions
from voiceagent.gateway.routes.rules import Route, Router
from voiceagent.llm.base import Caller, LlmRequest, Message
from voiceagent.llm.failover.reports import Outcome

TRIAL = ExperimentOptions(
    name="small-first",
    routes=("easy",),
    arms=(ArmOptions(name="old", to=("a",)), ArmOptions(name="new", weight=3, to=("b",), effort="low")),
)
EASY = Route("easy", ("a", "b"))


def experiments(path: str = "", *trials: ExperimentOptions) -> Experiments:
    return Experiments(trials or (TRIAL,), {}, ("a", "b"), path)


def caller(number: int, turn: int = 1) -> Caller:
    return Caller(session=f"s{number}", user=f"u{number}", tenant="anna", turn=turn)


def outcome(who: Caller, code: str = "ok", ttft: float | None = 0.2, *, check: bool = False) -> Outcome:
    return Outcome("a", "openai", "m", who, code, 0.0, 1.0, ttft, cost=0.001, check=check)


def test_users_are_split_by_weight_and_stay() -> None:
    arms = Counter(arm_of(TRIAL, f"user {number}").name for number in range(4000))
    assert 0.22 < arms["old"] / 4000 < 0.28
    assert [arm_of(TRIAL, f"user {n}").name for n in range(50)] == [arm_of(TRIAL, f"user {n}").name for n in range(50)]


def test_experiments_split_independently() -> None:
    halves = [
        ExperimentOptions(name=name, arms=(ArmOptions(name="x"), ArmOptions(name="y"))) for name in ("one", "two")
    ]
    both = Counter((arm_of(halves[0], f"{n}").name, arm_of(halves[1], f"{n}").name) for n in range(4000))
    assert all(850 < count < 1150 for count in both.values())


def test_a_user_is_more_than_a_session_and_of_one_tenant() -> None:
    assert identity(Caller(session="s1", user="u", tenant="t")) == identity(Caller(session="s2", user="u", tenant="t"))
    assert identity(Caller(user="u", tenant="t")) != identity(Caller(user="u", tenant="other"))
    assert identity(Caller(session="s1")) != identity(Caller(session="s2"))
    assert identity(Caller()) == ""


async def test_only_the_routes_of_an_experiment_are_split() -> None:
    trial = experiments()
    assert trial.divert(Route("hard", ("b",)), caller(1)).arm == ""
    assert trial.divert(EASY, Caller()) is EASY
    diverted = {trial.divert(EASY, caller(number)) for number in range(50)}
    assert diverted == {
        Route("easy", ("a",), None, "small-first", "old"),
        Route("easy", ("b",), "low", "small-first", "new"),
    }


async def test_what_is_seen_counts_for_the_arm(tmp_path: Path) -> None:
    path = str(tmp_path / "experiments.sqlite")
    trial = experiments(path)
    await trial.open()
    for number in range(40):
        who = caller(number)
        route = trial.divert(EASY, who)
        trial.entered(route, who)
        trial.observe_outcome(outcome(who, ttft=0.1 if route.arm == "new" else 0.3))
        trial.observe_outcome(outcome(who, "timeout", None))
        trial.observe_outcome(outcome(who, check=True))
        trial.observe_outcome(outcome(caller(number, turn=2)))  # of a turn that is in no experiment
        trial.observe_reply(who.session, who.user, number % 2 == 0)
        trial.observe_reply(who.session, who.user, False)
    trial.observe_reply("unknown", "", True)
    await trial.close()

    again = experiments(path)
    await again.open()
    (found,) = await again.report()
    old, new = found.arms
    assert old.tally.turns + new.tally.turns == 80
    assert old.tally.requests == old.tally.turns == 2 * old.tally.sessions
    assert old.ttft_p50 == pytest.approx(0.3)
    assert new.ttft_p50 == pytest.approx(0.1)
    assert old.error_share == new.error_share == 0.5
    assert old.turns_a_session == 2
    assert new.cost_a_turn == pytest.approx(0.001)
    assert new.chances is not None
    assert new.chances.latency is not None
    assert new.chances.latency < found.threshold
    table = found.table()
    assert "small-first" in table
    assert "*" in table
    await again.close()
    await again.close()


async def test_an_interruption_takes_the_arm_of_the_last_request() -> None:
    trial = experiments()
    await trial.open()
    who = caller(1)
    trial.entered(trial.divert(EASY, who), who)
    trial.entered(Route("hard", ("b",)), caller(1, turn=2))
    trial.observe_reply(who.session, who.user, True)
    (found,) = await trial.report()
    assert sum(arm.tally.turns for arm in found.arms) == 0
    await trial.close()


async def test_experiment_over_the_failover_engine() -> None:
    routes = Router([RouteOptions(name="easy")], {}, ("a", "b"))
    trial = experiments()
    async with failover_over(["A."], ["B."], own={"b": {"price_out": 1_000_000.0}}) as (engine, servers, _):
        engine.subscribe(trial.observe_outcome)
        llm = RoutedLlm(engine, routes, trial)
        await trial.open()
        for number in range(24):
            request = LlmRequest((Message("user", "Hi"),), caller=caller(number))
            said, _ = await answer(llm, request)
            assert said == {"old": "A.", "new": "B."}[arm_of(TRIAL, identity(request.caller)).name]
            trial.observe_reply(f"s{number}", f"u{number}", False)
        (found,) = await trial.report()
        await trial.close()
        assert [arm.tally.requests for arm in found.arms] == [len(server.requests) for server in servers]
        assert found.arms[0].tally.cost == 0
        assert found.arms[1].tally.cost > 0
        assert found.arms[1].ttft_p50 is not None


async def test_errors_are_counted() -> None:
    only = ExperimentOptions(name="x", arms=(ArmOptions(name="bad", to=("a",)), ArmOptions(name="good", to=("a",))))
    trial = experiments("", only)
    async with failover_over([Reply("", status=500)]) as (engine, _, _):
        engine.subscribe(trial.observe_outcome)
        llm = RoutedLlm(engine, Router([], {}, ("a",)), trial)
        await trial.open()
        with pytest.raises(Exception, match="language model"):
            await answer(llm, LlmRequest((Message("user", "Hi"),), caller=caller(1)))
        (found,) = await trial.report()
        await trial.close()
        assert sum(arm.tally.errors for arm in found.arms) >= 1


def test_ranks_tell_a_difference_from_none() -> None:
    chance = random.Random(1)
    ours = [chance.lognormvariate(0, 0.5) for _ in range(200)]
    theirs = [chance.lognormvariate(0, 0.5) for _ in range(200)]
    p = of_ranks(ours, theirs)
    assert p is not None
    assert p > 0.05
    slower = of_ranks(ours, [value * 1.3 for value in theirs])
    assert slower is not None
    assert slower < 0.01
    assert of_ranks([1.0] * 5, theirs) is None
    assert of_ranks([1.0] * 20, [1.0] * 30) == 1.0
    assert of_ranks(ours, theirs) == pytest.approx(of_ranks(theirs, ours))


def test_ranks_by_hand() -> None:
    # U = 16 of 64: mean 32, variance 8 * 8 * 17 / 12, z = (16 - 0.5) / 9.522, two-sided p = 0.1036
    ours, theirs = [1, 2, 3, 4, 9, 10, 11, 12], [5, 6, 7, 8, 13, 14, 15, 16]
    assert of_ranks(ours, theirs) == pytest.approx(0.1036, abs=0.0005)


def test_false_alarms_are_as_rare_as_promised() -> None:
    chance = random.Random(2)
    alarms = 0
    for _ in range(400):
        p = of_ranks([chance.expovariate(1) for _ in range(30)], [chance.expovariate(1) for _ in range(30)])
        assert p is not None
        alarms += p < 0.05
    assert 8 <= alarms <= 34


def test_shares_by_hand() -> None:
    # 30 of 100 against 45 of 100: pooled 0.375, standard error 0.06847, z = 2.1909, two-sided p = 0.0285
    assert of_shares(30, 100, 45, 100) == pytest.approx(0.0285, abs=0.0005)
    assert of_shares(30, 100, 30, 100) == 1.0
    assert of_shares(1, 100, 2, 100) is None
    assert of_shares(0, 0, 2, 100) is None


def test_more_arms_make_the_test_stricter() -> None:
    arms = [(name, Tally()) for name in ("a", "b", "c")]
    assert report("x", arms).threshold == pytest.approx(0.05 / 6)
    assert "-" in report("x", arms).table()


def test_slips() -> None:
    arm = ArmOptions(name="x")
    with pytest.raises(ValidationError, match="called x"):
        ExperimentOptions(name="it", arms=(arm, arm))
    with pytest.raises(ValidationError):
        ExperimentOptions(name="it", arms=(arm,))
    with pytest.raises(ConfigError, match="'nowhere'"):
        Experiments([ExperimentOptions(name="it", arms=(arm, ArmOptions(name="y", to=("nowhere",))))], {}, ("a",))
    with pytest.raises(ConfigError, match="small-first"):
        Experiments([TRIAL, TRIAL], {}, ("a", "b"))


async def test_a_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and not a database at all. " * 10)
    with pytest.raises(ConfigError, match="experiments_path"):
        await experiments(str(path)).open()
