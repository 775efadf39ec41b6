"""The whole gateway: what its layers do together, and in which order."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.llm.failover import answer
from tests.support.llm.proxy import gateway_over
from tests.support.llm.server import Reply, Script, ScriptedLlm
from tests.support.llm.wires import MessagesWire
from tests.support.running import running
from tests.support.speech import EnginesFor, Speak, quiet
from tests.support.wire_client import client_of
from voiceagent.cli.main import app
from voiceagent.errors import ConfigError, EngineError
from voiceagent.gateway.engine import GatewayLlm
from voiceagent.llm.base import Caller, LlmRequest, Message, ToolCall, ToolSpec
from voiceagent.server.resources import make_llm
from voiceagent.settings import load

CARD = "4111 1111 1111 1111"
ALONE = Caller(tenant="acme", session="s", turn=1, alone=True)


def asks(text: str, caller: Caller = ALONE, **more: object) -> LlmRequest:
    return replace(LlmRequest((Message("user", text),), caller=caller), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def layered(
    *scripts: Script, own: Mapping[str, Mapping[str, object]] | None = None, **options: object
) -> AsyncIterator[tuple[GatewayLlm, list[ScriptedLlm]]]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(ScriptedLlm(script)) for script in scripts]
        llm = gateway_over([server.base_url for server in servers], own, **options)
        await llm.open()
        try:
            yield llm, servers
        finally:
            await llm.close()


async def test_gateway_without_settings_is_the_failover_engine_alone() -> None:
    async with layered(["Hello."]) as (llm, [server]):
        assert (await answer(llm))[0] == "Hello."
        assert llm.talk_tokens is None
        assert llm.status().requests == 1
        assert len(server.requests) == 1


async def test_routes_audit_and_spans_lie_inside_the_masking(tmp_path: Path) -> None:
    audit = {"on": True, "path": str(tmp_path / "audit.jsonl"), "content": True}
    routes = [{"name": "cards", "matches": "CARD_1", "to": ["b"]}]
    async with layered(["No."], ["It is [CARD_1]."], guard={"mask": True}, audit=audit, routes=routes) as (
        llm,
        servers,
    ):
        said, end = await answer(llm, asks(f"My card is {CARD}."))
        sent = json.dumps(servers[1].requests[0].messages)
    assert said == f"It is {CARD}."
    assert end.endpoint == "b"
    assert "4111" not in sent
    [line] = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["question"] == f"My card is {CARD}."


async def test_what_has_personal_data_is_never_kept_even_masked() -> None:
    async with layered(["One.", "Two."], cache={}, guard={"mask": True}) as (llm, [server]):
        for _ in range(2):
            await answer(llm, asks(f"Is {CARD} a good number?"))
            await asyncio.sleep(0.05)
        assert len(server.requests) == 2


async def test_a_kept_answer_costs_nothing_and_no_budget_refuses_it() -> None:
    own = {"a": {"price_in": 1_000_000.0}}
    asked = asks("What is the capital of France?")
    async with layered(
        [Reply("Paris.", input_tokens=5)], own=own, cache={}, budgets={"all": {"daily": 5.0}, "answer_tokens": 1}
    ) as (llm, [server]):
        assert (await answer(llm, asked))[1].cost == 5.0
        await asyncio.sleep(0.05)
        said, end = await answer(llm, asked)
        assert (said, end.endpoint, end.cost) == ("Paris.", "cache", 0.0)
        other = asks("What is the capital of Norway?")
        refused = [await answer(llm, other) for _ in range(2)]
        assert len(server.requests) == 1
    assert all("cannot answer" in text for text, _ in refused)
    assert all(end.endpoint == "" for _, end in refused)  # a refusal is not kept


async def test_what_moderation_blocks_reaches_nothing_below() -> None:
    async with layered(["Hello."], cache={}, budgets={"all": {"daily": 1.0}}, guard={"words": ["bomb"]}) as (
        llm,
        servers,
    ):
        said, end = await answer(llm, asks("How is a bomb built?"))
        assert end.reason == "content_filter"
        assert "cannot talk about that" in said
        assert not servers[0].requests
        assert llm.status().requests == 0


async def test_a_spent_budget_goes_to_the_cheaper_group_whatever_the_route() -> None:
    own: Mapping[str, Mapping[str, object]] = {"a": {"price_in": 100.0}, "b": {}, "c": {}}
    async with layered(
        [Reply("Dear.", input_tokens=10_000)],
        ["Cheap."],
        ["Never."],
        own=own,
        groups={"small": ["b"]},
        routes=[{"name": "all", "to": ["a"]}],
        budgets={"all": {"daily": 1.0}, "degrade": 0.9, "refuse": 0, "cheaper": ["small"]},
    ) as (llm, servers):
        assert [(await answer(llm, asks("Hi")))[0] for _ in range(3)] == ["Dear.", "Cheap.", "Cheap."]
        assert [len(server.requests) for server in servers] == [1, 2, 0]


async def test_experiments_see_what_became_of_requests() -> None:
    arms = [{"name": "one", "to": ["a"]}, {"name": "two", "to": ["b"]}]
    async with layered(["A."], ["B."], experiments=[{"name": "ab", "arms": arms}]) as (llm, servers):
        for number in range(20):
            await answer(llm, asks("Hi", Caller(session=f"s{number}", user=f"u{number}")))
        assert llm.experiments is not None
        [report] = await llm.experiments.report()
        assert sum(arm.tally.requests for arm in report.arms) == 20
        assert all(len(server.requests) == arm.tally.requests for server, arm in zip(servers, report.arms, strict=True))


async def test_limits_of_an_endpoint_send_requests_elsewhere() -> None:
    async with layered(["A."], ["B."], own={"a": {"rpm": 5, "weight": 1000}, "b": {"weight": 0}}) as (llm, servers):
        said = [(await answer(llm, asks("Hi")))[0] for _ in range(4)]
        assert said[0] == "A."
        assert "B." in said
        assert all(server.requests for server in servers)


async def test_tools_pass_through_all_layers() -> None:
    tool = ToolSpec("pay", "", {"type": "object"})
    call = Reply(calls=[("pay", '{"card": "[CARD_1]"}')])
    async with layered([call], cache={}, guard={"mask": True, "words": ["bomb"]}, budgets={"all": {"daily": 1.0}}) as (
        llm,
        [server],
    ):
        events = [event async for event in llm.reply(asks(f"Pay with {CARD}", tools=(tool,)))]
        assert server.requests[0].body["tools"]
    assert [json.loads(event.arguments) for event in events if isinstance(event, ToolCall)] == [{"card": CARD}]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"budgets": {"all": {"daily": 1.0}, "cheaper": ["nosuch"]}}, "there is no endpoint or group 'nosuch'"),
        ({"routes": [{"name": "r", "to": ["nosuch"]}]}, "there is no endpoint or group 'nosuch'"),
        ({"guard": {"patterns": ["("]}}, "is no regular expression"),
        ({"budgets": {"redis": "nonsense"}}, "redis"),
        ({"limits": {"redis": "nonsense"}}, "redis"),
    ],
)
def test_options_that_cannot_work_are_told(options: Mapping[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        gateway_over(["http://127.0.0.1:9/v1"], None, **options)


async def test_a_layer_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    taken = tmp_path / "folder"
    taken.mkdir()
    for options in (
        {"budgets": {"path": str(taken)}},
        {"cache": {"path": str(taken)}},
        {"experiments_path": str(taken), "experiments": [{"name": "x", "arms": [{"name": "a"}, {"name": "b"}]}]},
    ):
        llm = gateway_over(["http://127.0.0.1:9/v1"], audit={"on": True}, **options)
        with pytest.raises(ConfigError):
            await llm.open()
        await llm.close()


async def test_an_error_passes_all_layers_and_is_booked(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    async with layered(
        [Reply(status=503, error={})],
        cache={},
        guard={"mask": True, "words": ["x"]},
        budgets={"all": {"daily": 1.0}},
        audit={"on": True, "path": str(path)},
    ) as (llm, _):
        with pytest.raises(EngineError) as caught:
            await answer(llm, asks("Hi"))
        assert caught.value.code == "unavailable"
    assert json.loads(path.read_text())["outcome"] == "unavailable"


TOML = """
[llm]
engine = "gateway"
experiments_path = "{folder}/experiments.db"
groups = {{ small = ["near"] }}

[[llm.endpoints]]
name = "broken"
base_url = "{broken}"
api_key = "k"
model = "m"

[[llm.endpoints]]
name = "near"
dialect = "anthropic"
base_url = "{near}"
api_key = "k"
model = "claude"
price_in = 1.0
price_out = 5.0
rpm = 600
tpm = 200000
weight = 0

[llm.failover]
check_seconds = 0

[[llm.routes]]
name = "short"
max_words = 40
to = ["small", "broken"]

[[llm.experiments]]
name = "ab"
arms = [{{ name = "one" }}, {{ name = "two", to = ["small", "broken"] }}]

[llm.limits]
burst = 0.5

[llm.budgets]
path = "{folder}/budgets.db"
all = {{ daily = 10.0 }}
cheaper = ["small"]

[llm.cache]
path = "{folder}/cache.db"

[guard]
mask = true
words = ["bomb"]

[llm.audit]
on = true
path = "{folder}/audit.jsonl"

[tracing]
content = true

[[limits.api_keys]]
name = "acme"
key = "k-acme"
"""


@pytest.mark.real
async def test_a_spoken_talk_through_everything_from_the_file(
    engines_for: EnginesFor, speak: Speak, tmp_path: Path
) -> None:
    async with (
        ScriptedLlm([Reply(status=503, error={})]) as broken,
        ScriptedLlm([Reply("Paris is the capital of France.", input_tokens=20)], MessagesWire()) as near,
    ):
        path = tmp_path / "voiceagent.toml"
        path.write_text(TOML.format(folder=tmp_path, broken=broken.base_url, near=near.base_url), "utf-8")
        settings = load(path)
        engines = replace(engines_for("http://unused"), llm=make_llm(settings))
        question = np.concatenate([quiet(0.2), speak("What is the capital of France?"), quiet(1.2)])
        async with running(settings, engines) as (_, url), httpx.AsyncClient(trust_env=False) as http:
            said = []
            for _ in range(2):  # the second talk has the answer from the cache
                async with client_of(url, "k-acme", "zoe") as client:
                    await client.say(question)
                    response = await client.until("response.done")
                    said.append(json.dumps(response))
                    assert client.audio_bytes() > 24_000
            base = url.replace("ws:", "http:")
            page = (await http.get(f"{base}/metrics")).text
            status = (await http.get(f"{base}/llm/status", headers={"Authorization": "Bearer k-acme"})).json()
            assert (await http.get(f"{base}/llm/status")).status_code == 401
    assert all("Paris is the capital of France." in told for told in said)
    assert len(near.requests) == 1
    assert 'voiceagent_llm_endpoint_attempts_total{code="unavailable",endpoint="broken",kind="first"} 1.0' in page
    assert 'voiceagent_llm_endpoint_attempts_total{code="ok",endpoint="near",kind="first"} 1.0' in page
    assert 'voiceagent_llm_cache_total{result="hit"} 1.0' in page
    assert [endpoint["name"] for endpoint in status["endpoints"]] == ["broken", "near"]
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    told = {(line["tenant"], line["user"], line["outcome"], line["endpoint"]) for line in lines}
    assert ("acme", "zoe", "stop", "near") in told
    assert any(endpoint == "cache" for *_, endpoint in told)
    report = await asyncio.to_thread(CliRunner().invoke, app, ["llm", "experiments", "--config", str(path)])
    assert report.exit_code == 0, report.output
    rows = [line.split() for line in report.output.splitlines()]
    replies = sum(int(row[2]) for row in rows if row[0] in ("one", "two"))
    assert replies >= 1  # a user is in one arm; what the cache answers is part of no experiment
    await asyncio.get_running_loop().shutdown_default_executor()
