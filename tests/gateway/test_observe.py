"""The series of endpoints and gateway and report, the page that shows it, and the alert rules that go by the series."""

import asyncio
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tests.support.llm.failover import HI, answer
from tests.support.llm.proxy import gateway_over, proxied, serving
from tests.support.llm.server import Reply, ScriptedLlm
from voiceagent.admin.settings import AdminSection
from voiceagent.errors import EngineError
from voiceagent.gateway.budgets.accounts import EVERYONE, BudgetSettings, PeriodClock
from voiceagent.gateway.budgets.ledger import MOST_SHARES, MemoryLedger, SpentShares
from voiceagent.gateway.engine import GatewayLlm
from voiceagent.llm.base import Caller, LlmRequest, Message
from voiceagent.llm.layers import layers
from voiceagent.server.metrics import Metrics, Observable
from voiceagent.server.settings import ApiKey, LimitSection
from voiceagent.settings import Settings

ALERTS = Path(__file__).parents[2] / "docs" / "guides" / "operator" / "alerts.yml"


class Series:
    """What a reading of /metrics holds."""

    def __init__(self, llm: GatewayLlm) -> None:
        registry = CollectorRegistry()
        for layer in layers(llm):
            if isinstance(layer, Observable):
                registry.register(layer)
        families = list(text_string_to_metric_families(generate_latest(registry).decode()))
        self.samples = [sample for family in families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        found = [one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        return sum(found)

    def labels(self, name: str, label: str) -> Collection[str]:
        return {one.labels[label] for one in self.samples if one.name == name}


async def test_every_endpoint_has_its_series() -> None:
    good = Reply("Hello there.", input_tokens=10, cached_tokens=2)
    async with ScriptedLlm([Reply(status=503, error={})]) as one, ScriptedLlm([good]) as other:
        own: Mapping[str, Mapping[str, object]] = {
            "a": {"weight": 5},
            "b": {"weight": 0, "price_in": 1.0, "rpm": 60},
        }
        llm = gateway_over([one.base_url, other.base_url], own)
        await llm.open()
        before = Series(llm)
        assert before.value("voiceagent_llm_endpoint_attempts_total") == 0
        assert before.labels("voiceagent_llm_endpoint_ttft_seconds_count", "endpoint") == {"a", "b"}
        await answer(llm)
        seen = Series(llm)
        await llm.close()
    attempts = "voiceagent_llm_endpoint_attempts_total"
    assert seen.value(attempts, endpoint="a", kind="first", code="unavailable") == 1
    assert seen.value(attempts, endpoint="b", kind="first", code="ok") == 1
    assert seen.value(attempts) == 2
    assert seen.value("voiceagent_llm_endpoint_ttft_seconds_count", endpoint="b") == 1
    assert seen.value("voiceagent_llm_endpoint_ttft_seconds_count", endpoint="a") == 0
    assert seen.value("voiceagent_llm_endpoint_tokens_total", endpoint="b", direction="input") == 10
    assert seen.value("voiceagent_llm_endpoint_tokens_total", endpoint="b", direction="cached") == 2
    assert seen.value("voiceagent_llm_endpoint_spend_total", endpoint="b") == pytest.approx(10e-6)
    assert seen.value("voiceagent_llm_endpoint_breaker", endpoint="a", state="closed") == 1
    assert seen.value("voiceagent_llm_endpoint_breaker", endpoint="a") == 1
    assert seen.value("voiceagent_llm_endpoint_in_flight") == 0
    assert 0 < seen.value("voiceagent_llm_endpoint_headroom", endpoint="b") < 1
    assert seen.value("voiceagent_llm_failover_requests_total") == 1
    assert seen.value("voiceagent_llm_failover_failed_total") == 0


async def test_an_open_breaker_is_seen() -> None:
    async with ScriptedLlm([Reply(status=429, error={})]) as one, ScriptedLlm(["Hello."]) as other:
        llm = gateway_over([one.base_url, other.base_url], {"a": {"weight": 5}})
        await llm.open()
        await answer(llm)
        seen = Series(llm)
        await llm.close()
    assert seen.value("voiceagent_llm_endpoint_breaker", endpoint="a", state="open") == 1
    assert seen.value("voiceagent_llm_endpoint_breaker", endpoint="a", state="closed") == 0
    assert seen.value("voiceagent_llm_endpoint_breaker", endpoint="b", state="closed") == 1


async def test_those_who_wait_for_a_limit_are_seen() -> None:
    async with ScriptedLlm(["Hello."]) as server:
        llm = gateway_over([server.base_url], {"a": {"rpm": 1}}, failover={"check_seconds": 0, "queue_seconds": 100})
        await llm.open()
        await answer(llm)
        waiting = asyncio.create_task(answer(llm))
        async with asyncio.timeout(10):
            while not Series(llm).value("voiceagent_llm_endpoint_waiting", endpoint="a"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        seen, report = Series(llm), llm.report()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await llm.close()
    assert seen.value("voiceagent_llm_endpoint_in_flight", endpoint="a") == 1
    assert isinstance(report["endpoints"], list)
    assert isinstance(told := report["endpoints"][0], dict)
    assert told["waiting"] == 1


async def test_hedges_resumes_and_routes_are_counted() -> None:
    broken = Reply(["One", " two", " three"], reset_after=2)
    async with ScriptedLlm([broken]) as one, ScriptedLlm([Reply("One two three")]) as other:
        llm = gateway_over(
            [one.base_url, other.base_url],
            {"b": {"weight": 0}},
            routes=[{"name": "greetings", "matches": "hello"}],
        )
        await llm.open()
        await answer(llm)
        seen = Series(llm)
        await llm.close()
    assert seen.value("voiceagent_llm_endpoint_attempts_total", endpoint="b", kind="resume", code="ok") == 1
    assert seen.value("voiceagent_llm_failover_resumed_total") == 1
    assert seen.value("voiceagent_llm_routes_total", route="greetings") == 1


async def test_budgets_are_seen_from_the_warning_to_the_refusal(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedLlm([Reply("Yes.", input_tokens=1000)]) as dear, ScriptedLlm([Reply("Well.")]) as cheap:
        llm = gateway_over(
            [dear.base_url, cheap.base_url],
            {"a": {"price_in": 100.0}, "b": {"weight": 0}},
            budgets={"all": {"daily": 0.4}, "tenants": {"acme": {"monthly": 1.0}}, "cheaper": ["b"], "degrade": 0.7},
        )
        asked = LlmRequest((Message("user", "Hi"),), max_tokens=1, caller=Caller(tenant="acme", session="s"))
        await llm.open()
        said = [(await answer(llm, asked))[0] for _ in range(4)]
        seen = Series(llm)
        await llm.close()
    assert said == ["Yes.", "Yes.", "Yes.", "Well."]
    assert seen.value("voiceagent_llm_budget_share", account="all", period="day") == pytest.approx(0.75)
    assert seen.value("voiceagent_llm_budget_share", account="acme", period="month") == pytest.approx(0.3)
    assert seen.value("voiceagent_llm_budget_alerts_total", account="all", level="degrade") == 1
    assert seen.labels("voiceagent_llm_budget_share", "account") == {"all", "acme"}
    assert "budget of '/all'" in caplog.text


async def test_yesterdays_budget_is_no_longer_shown() -> None:
    now = [1_700_000_000.0]
    clock = PeriodClock(lambda: now[0], lambda: now[0])
    settings = BudgetSettings.model_validate({"all": {"daily": 1.0, "monthly": 10.0}})
    ledger = SpentShares(MemoryLedger(clock), settings, clock)
    ledger.settle(await ledger.reserve("acme", 10), Caller(), "m", 500_000_000)
    ledger.settle(await ledger.reserve("acme", 10), Caller(), "m", 0)
    assert ledger.now() == {(EVERYONE, "day"): 0.5, (EVERYONE, "month"): 0.05}
    now[0] += 86_400
    assert ledger.now() == {(EVERYONE, "month"): 0.05}


async def test_what_the_cache_did_and_moderation_blocked_is_counted() -> None:
    async with ScriptedLlm(["Paris."]) as server:
        llm = gateway_over([server.base_url], cache={}, guard={"words": ["forbidden"], "sides": ["in"]})
        await llm.open()
        asked = LlmRequest((Message("user", "What is the capital of France?"),), caller=Caller(alone=True))
        for _ in range(2):
            assert (await answer(llm, asked))[0] == "Paris."
            await asyncio.sleep(0.1)
        await answer(llm, LlmRequest((Message("user", "Something forbidden"),)))
        seen = Series(llm)
        await llm.close()
    assert seen.value("voiceagent_llm_cache_total", result="missed") == 1
    assert seen.value("voiceagent_llm_cache_total", result="hit") == 1
    assert seen.value("voiceagent_guard_blocked_total", side="in") == 1
    assert len(server.requests) == 1


async def test_the_budgets_that_are_shown_are_bounded() -> None:
    settings, clock = BudgetSettings.model_validate({"tenant": {"daily": 1.0}}), PeriodClock()
    ledger = SpentShares(MemoryLedger(clock), settings, clock)
    for number in range(2 * MOST_SHARES):
        await ledger.reserve(f"t{number}", 10)
    assert len(ledger.now()) == MOST_SHARES


async def test_no_label_tells_who_asked() -> None:
    async with ScriptedLlm(["Hello."]) as server:
        llm = gateway_over([server.base_url], budgets={"all": {"daily": 1.0}})
        await llm.open()
        await answer(llm, LlmRequest((Message("user", "Hi"),), caller=Caller("s-1", "u-1", "t-1")))
        seen = Series(llm)
        await llm.close()
    assert not {"s-1", "u-1", "t-1"} & {value for sample in seen.samples for value in sample.labels.values()}


# -- the page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api_keys", "admin", "accepted", "refused"),
    [
        (False, None, ["", "any"], []),
        (True, None, ["k"], ["", "admin"]),
        (False, "admin", ["admin"], ["", "k"]),
        (True, "admin", ["k", "admin"], ["", "x"]),
    ],
)
async def test_the_status_wants_a_key_once_there_are_keys(
    api_keys: bool, admin: str | None, accepted: list[str], refused: list[str]
) -> None:
    keys = (ApiKey(name="acme", key=SecretStr("k")),) if api_keys else ()
    section = AdminSection(key=None if admin is None else SecretStr(admin))
    settings = Settings(limits=LimitSection(api_keys=keys), admin=section)
    async with ScriptedLlm(["Hello."]) as upstream:
        llm = gateway_over([upstream.base_url])
        async with serving(llm, settings) as (_, _, url), httpx.AsyncClient(base_url=url, trust_env=False) as http:
            for key in (*accepted, *refused):
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                response = await http.get("/llm/status", headers=headers)
                assert response.status_code == (200 if key in accepted else 401), key
                assert "secret" not in response.text


# -- the alerts ----------------------------------------------------------------------------------------------------


def expressions() -> dict[str, str]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
    found = {rule["alert"]: rule["expr"] for rule in rules}
    assert len(found) == len(rules)
    return found


async def test_every_metric_and_label_of_the_alerts_exists() -> None:
    async with proxied(
        ["Hello."], budgets={"all": {"daily": 1.0}}, cache={}, routes=[{"name": "r"}], guard={"words": ["x"]}
    ) as served:
        await served.ask({"model": "voiceagent", "messages": [{"role": "user", "content": "Hi"}]})
        page = (await served.http.get("/metrics")).text + Metrics().text()[0].decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    families = {family.name + suffix for family in text_string_to_metric_families(page) for suffix in ("", "_total")}
    names = {sample.name for sample in samples} | families
    for alert, expression in expressions().items():
        used = re.findall(r"\bvoiceagent_\w+", expression)
        assert used, alert
        for name in used:
            assert name in names or f"{name.removesuffix('_bucket')}_bucket" in names, f"{alert}: there is no {name}"
        for name, wanted in re.findall(r"(voiceagent_llm_\w+)\{(\w+)[=!]", expression):
            assert any(sample.name == name and wanted in sample.labels for sample in samples), f"{alert}: {wanted}"


def test_the_alerts_cover_what_matters() -> None:
    wanted = {"VoiceagentSlowResponse", "VoiceagentLoopLag", "LlmNoHealthyEndpoint", "LlmEndpointErrors"}
    wanted |= {"LlmBreakerOpen", "LlmSlowFirstToken", "LlmBudgetNearlySpent"}
    found = expressions()
    assert wanted <= found.keys()
    assert all(text.count("(") == text.count(")") for text in found.values())


async def test_a_failed_request_is_one_failed_request() -> None:
    async with ScriptedLlm([Reply(status=500, error={})]) as server:
        llm = gateway_over([server.base_url])
        await llm.open()
        with pytest.raises(EngineError):
            await answer(llm, HI)
        seen = Series(llm)
        await llm.close()
    assert seen.value("voiceagent_llm_failover_failed_total") == 1
