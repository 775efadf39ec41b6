"""Routes: which request goes where."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from tests.support.llm.failover import answer, failover_of, failover_over
from tests.support.llm.server import ScriptedLlm
from voiceagent.errors import ConfigError
from voiceagent.gateway.experiments.assignment import Experiments
from voiceagent.gateway.routes.engine import RoutedLlm
from voiceagent.gateway.routes.options import RouteOptions
from voiceagent.gateway.routes.rules import Router, count_words
from voiceagent.llm.base import Caller, LlmRequest, Message, ToolSpec

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
TOOLS = (ToolSpec("weather"),)
KNOWN = ("a", "b", "c")


def ask(text: str, *, tools: tuple[ToolSpec, ...] = (), after_tool: bool = False, **caller: object) -> LlmRequest:
    messages = [Message("system", "Be brief."), Message("user", text)]
    if after_tool:
        messages.append(Message("tool", "sunny", tool_call_id="1"))
    return LlmRequest(tuple(messages), tools=tools, caller=Caller(**caller))  # type: ignore[arg-type]


def taken(options: Mapping[str, object], request: LlmRequest, now: datetime = NOON) -> bool:
    route = RouteOptions.model_validate({"name": "it", "to": ["a"], **options})
    return Router([route], {}, KNOWN).route(request, now).name == "it"


@pytest.mark.parametrize(
    ("options", "yes", "no"),
    [
        ({"matches": "prove|explain"}, ask("Please EXPLAIN gravity"), ask("Hello")),
        ({"matches": "证明|为什么"}, ask("天为什么是蓝的"), ask("你好")),
        ({"max_words": 4}, ask("what time is it"), ask("what time is it in Berlin")),
        ({"max_words": 4}, ask("现在几点了呢你"), ask("请你告诉我现在柏林几点")),
        ({"min_words": 3}, ask("one two three"), ask("one two")),
        ({"languages": ["zh"]}, ask("你好 John"), ask("Hello", language="en")),
        ({"languages": ["zh"]}, ask("OK", language="zh-CN"), ask("OK")),
        ({"languages": ["en"]}, ask("OK"), ask("好的", language="en")),
        ({"tools": True}, ask("weather?", tools=TOOLS), ask("weather?")),
        ({"tools": False}, ask("weather?"), ask("weather?", tools=TOOLS)),
        ({"results": True}, ask("weather?", after_tool=True), ask("weather?")),
        ({"tenants": ["anna"]}, ask("hi", tenant="anna"), ask("hi", tenant="bob")),
        ({"min_turn": 5}, ask("hi", turn=5), ask("hi", turn=4)),
        ({"max_turn": 1}, ask("hi", turn=1), ask("hi", turn=2)),
    ],
)
def test_each_condition(options: Mapping[str, object], yes: LlmRequest, no: LlmRequest) -> None:
    assert taken(options, yes)
    assert not taken(options, no)


@pytest.mark.parametrize(
    ("options", "hour", "day", "yes"),
    [
        ({"hours": "09:00-17:30"}, 9, 2, True),
        ({"hours": "09:00-17:30"}, 18, 2, False),
        ({"hours": "22:00-06:00"}, 23, 2, True),
        ({"hours": "22:00-06:00"}, 5, 2, True),
        ({"hours": "22:00-06:00"}, 6, 2, False),
        ({"hours": "00:00-00:00"}, 3, 2, True),
        ({"hours": "22:00-06:00", "zone": "Asia/Shanghai"}, 15, 2, True),  # 23:00 there
        ({"hours": "22:00-06:00", "zone": "Asia/Shanghai"}, 12, 2, False),
        ({"days": ["mon"]}, 12, 2, True),
        ({"days": ["mon"], "zone": "Asia/Shanghai"}, 17, 2, False),  # already Tuesday there
        ({"days": ["tue"], "zone": "Asia/Shanghai"}, 17, 2, True),
    ],
)
def test_times_are_those_of_the_zone(options: Mapping[str, object], hour: int, day: int, yes: bool) -> None:
    assert taken(options, ask("hi"), datetime(2026, 3, day, hour, 0, tzinfo=UTC)) is yes


def test_the_first_rule_that_takes_it_wins_and_all_conditions_must_hold() -> None:
    router = Router(
        [
            RouteOptions(name="both", to=("a",), languages=("zh",), max_words=4),
            RouteOptions(name="chinese", to=("many", "c"), languages=("zh",), effort="high"),
            RouteOptions(name="rest", to=("b",)),
        ],
        {"many": ("a", "b")},
        KNOWN,
    )
    assert router.route(ask("你好"), NOON).name == "both"
    chinese = router.route(ask("请你详细解释一下相对论"), NOON)
    assert (chinese.endpoints, chinese.effort) == (("a", "b", "c"), "high")
    assert router.route(ask("hi"), NOON).name == "rest"


def test_without_a_rule_every_endpoint_may_answer() -> None:
    route = Router([], {}, KNOWN).route(LlmRequest(()), NOON)
    assert (route.name, route.endpoints, route.effort) == ("default", KNOWN, None)


@pytest.mark.parametrize(
    "options",
    [
        {"matches": "("},
        {"hours": "9-17"},
        {"hours": "24:00-06:00"},
        {"zone": "Mars/Base"},
        {"min_words": 3, "max_words": 2},
        {"min_turn": 3, "max_turn": 2},
        {"effort": "huge"},
        {"lenght": 3},
    ],
)
def test_a_slip_is_named_at_the_start(options: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        RouteOptions.model_validate({"name": "it", **options})


def test_routes_lead_somewhere_and_have_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match="'nowhere'"):
        Router([RouteOptions(name="it", to=("nowhere",))], {}, KNOWN)
    with pytest.raises(ConfigError, match="called it"):
        Router([RouteOptions(name="it"), RouteOptions(name="it")], {}, KNOWN)


def test_a_long_text_takes_no_time() -> None:
    route = RouteOptions(name="it", matches="z$")
    Router([route], {}, KNOWN).route(ask("a" * 5_000_000), NOON)


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("it's a well-known X200", 4), ("你好世界", 2), ("我用 iPhone", 2)]
)
def test_words(text: str, words: float) -> None:
    assert count_words(text) == words


async def test_requests_go_the_way_of_their_route_with_its_effort() -> None:
    routes = [RouteOptions(name="hard", to=("b",), matches="prove", effort="high")]
    async with failover_over(["Small."], ["Strong."]) as (engine, servers, _):
        llm = RoutedLlm(engine, Router([*routes, RouteOptions(name="easy", to=("a",))], {}, ("a", "b")))
        assert (await answer(llm, ask("Hello")))[0] == "Small."
        assert (await answer(llm, ask("Prove it")))[0] == "Strong."
        assert "reasoning_effort" not in servers[0].requests[0].body
        assert servers[1].requests[0].body["reasoning_effort"] == "high"
        assert llm.taken == {"hard": 1, "easy": 1, "default": 0}


async def test_an_effort_that_was_asked_for_stays() -> None:
    async with failover_over(["Hi."]) as (engine, (server,), _):
        llm = RoutedLlm(engine, Router([RouteOptions(name="all", effort="high")], {}, ("a",)))
        await answer(llm, LlmRequest((Message("user", "Hi"),), effort="low"))
        assert server.requests[0].body["reasoning_effort"] == "low"


async def test_an_open_routed_model_opens_and_closes_its_experiments() -> None:
    async with ScriptedLlm(["Hi."]) as server:
        experiments = Experiments([], {}, ("a",))
        llm = RoutedLlm(failover_of([server.base_url]), Router([], {}, ("a",)), experiments)
        await llm.open()
        assert (await answer(llm))[0] == "Hi."
        assert await experiments.report() == []
        await llm.close()
