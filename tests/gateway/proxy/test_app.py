"""The proxy as OpenAI's own client sees it, and as the endpoints behind it do."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from openai import APIError, APIStatusError, AuthenticationError, InternalServerError, NotFoundError, RateLimitError
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import SecretStr

from tests.support.llm.proxy import Proxied, proxied
from tests.support.llm.server import Reply
from voiceagent.gateway.proxy.request import MODEL
from voiceagent.server.settings import ApiKey, LimitSection

HI: list[ChatCompletionMessageParam] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "你好"}, {"type": "text", "text": ", hello"}]},
]
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}},
}
KEYS = LimitSection(
    api_keys=(ApiKey(name="acme", key=SecretStr("k-acme")), ApiKey(name="umbrella", key=SecretStr("k-umbrella"))),
    sessions_per_key=2,
)
WAIT_SECONDS = 10.0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def metric(page: str, series: str) -> float:
    return next((float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(series + " ")), 0.0)


async def metrics(served: Proxied) -> str:
    return (await served.http.get("/metrics")).text


async def test_an_answer_as_one_piece() -> None:
    answer = Reply("你好！ Hello there.", thoughts="Hm", input_tokens=12, cached_tokens=4)
    own = {"a": {"price_in": 1.0, "price_out": 10.0}}
    async with proxied([answer], own=own) as served, served.client() as client:
        completion = await client.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=50)
        [sent] = served.upstream[0].requests
    message = completion.choices[0].message
    assert (message.content, message.role, completion.choices[0].finish_reason) == (
        "你好！ Hello there.",
        "assistant",
        "stop",
    )
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (12, answer.output_tokens)
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    assert completion.model == MODEL
    assert (message.model_extra or {})["reasoning_content"] == "Hm"
    ours = (completion.model_extra or {})["voiceagent"]
    assert ours == {"endpoint": "a", "cost": pytest.approx((12 + 10 * answer.output_tokens) / 1e6)}
    assert sent.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好, hello"}]
    assert sent.body["max_tokens"] == 50


async def test_an_answer_as_a_stream_with_usage() -> None:
    answer = Reply("One two three.", thoughts="Hm", input_tokens=7)
    async with proxied([answer]) as served, served.client() as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "One two three."
    assert len([text for text in texts if text]) == 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].choices) == (7, [])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_without_stream_options_no_usage_comes() -> None:
    async with proxied(["Hello."]) as served, served.client() as client:
        chunks = [chunk async for chunk in await client.chat.completions.create(model=MODEL, messages=HI, stream=True)]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_are_called_and_answered(stream: bool) -> None:
    calls = Reply(calls=[("weather", '{"city": "北京"}'), ("weather", '{"city": "Oslo"}')])
    async with proxied([calls, "Sunny."]) as served, served.client() as client:
        asked = client.chat.completions
        if stream:
            made: dict[int, list[str]] = {}
            reason = None
            async for chunk in await asked.create(model=MODEL, messages=HI, tools=[WEATHER], stream=True):
                reason = chunk.choices[0].finish_reason
                for call in chunk.choices[0].delta.tool_calls or []:
                    assert call.function is not None
                    parts = made.setdefault(call.index, [call.id or "", call.function.name or "", ""])
                    parts[2] += call.function.arguments or ""
            found = [tuple(parts) for parts in made.values()]
        else:
            choice = (await asked.create(model=MODEL, messages=HI, tools=[WEATHER], tool_choice="required")).choices[0]
            assert choice.message.content is None
            reason = choice.finish_reason
            found = [
                (call.id, call.function.name, call.function.arguments)
                for call in choice.message.tool_calls or []
                if call.type == "function"
            ]
        assert found == [
            ("call_0", "weather", '{"city": "北京"}'),
            ("call_1", "weather", '{"city": "Oslo"}'),
        ]
        assert reason == "tool_calls"
        function = {"name": "weather", "arguments": "{}"}
        talk: list[ChatCompletionMessageParam] = [
            *HI,
            {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},  # type: ignore[typeddict-item]
            {"role": "tool", "tool_call_id": "c1", "content": "sun"},
        ]
        last = await asked.create(model=MODEL, messages=talk, tools=[WEATHER])
        assert last.choices[0].message.content == "Sunny."
        sent = served.upstream[0].requests[1].body["messages"]
    assert isinstance(sent, list)
    assert sent[-1] == {"role": "tool", "tool_call_id": "c1", "content": "sun"}


async def test_models_are_listed() -> None:
    async with proxied(["Hello."]) as served, served.client() as client:
        assert [model.id async for model in await client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(NotFoundError):
            await client.models.retrieve("gpt-9")


async def test_a_failed_endpoint_is_not_noticed() -> None:
    broken = Reply(["One", " two", " three", " four"], reset_after=2)

    def goes_on(messages: list[dict[str, str]]) -> Reply:
        said = messages[-2]["content"] if messages[-1]["role"] == "user" and len(messages) > 2 else ""
        return Reply(f"{said} three four")

    async with proxied([broken], goes_on, own={"b": {"weight": 0}}) as served, served.client() as client:
        completion = await client.chat.completions.create(model=MODEL, messages=HI)
    text = completion.choices[0].message.content
    assert text is not None
    assert text.count("One") == 1
    assert text.endswith("four")


@pytest.mark.parametrize(
    ("status", "raised", "told", "code"),
    [
        (429, RateLimitError, 429, "rate_limited"),
        (500, InternalServerError, 503, "unavailable"),
        (401, InternalServerError, 502, "upstream_unauthorized"),
        (400, APIStatusError, 400, "bad_request"),
    ],
)
async def test_what_no_endpoint_can_answer_is_told_in_openais_words(
    status: int, raised: type[APIStatusError], told: int, code: str
) -> None:
    refusal = Reply(status=status, error={"error": {"message": "the key sk-1234 is bad"}}, headers={"retry-after": "7"})
    async with proxied([refusal]) as served, served.client() as client:
        for stream in (False, True):
            with pytest.raises(raised) as caught:
                await client.chat.completions.create(model=MODEL, messages=HI, stream=stream)
            assert caught.value.status_code == told
            assert caught.value.code == code
            assert "sk-1234" not in caught.value.message
            if status == 429:
                assert 1 <= int(caught.value.response.headers["retry-after"]) <= 7
        page = await metrics(served)
    assert metric(page, f'voiceagent_proxy_requests_total{{status="{told}"}}') == 2


async def test_a_failure_in_mid_answer_is_the_streams_last_event() -> None:
    breaks = Reply("One two three", reset_after=2)
    async with proxied([breaks], failover={"check_seconds": 0, "resumes": 0}) as served, served.client() as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        said = ""
        with pytest.raises(APIError) as caught:  # noqa: PT012
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        assert (said, caught.value.code) == ("One two", "unavailable")
        response = await served.ask({**BODY, "stream": True})
        assert b"[DONE]" not in response.content
        assert json.loads(response.text.strip().rpartition("data: ")[2])["error"]["type"] == "server_error"
        assert metric(await metrics(served), 'voiceagent_proxy_requests_total{status="599"}') == 2


# -- who asks ------------------------------------------------------------------------------------------------------


async def test_a_key_is_wanted_where_keys_are_configured() -> None:
    async with proxied(["Hello."], limits=KEYS) as served:
        async with served.client("wrong") as client:
            with pytest.raises(AuthenticationError):
                await client.chat.completions.create(model=MODEL, messages=HI)
            with pytest.raises(AuthenticationError):
                await client.models.list()
        async with served.client("k-acme") as client:
            assert (await client.chat.completions.create(model=MODEL, messages=HI)).choices
        assert (await served.http.get("/llm/status")).status_code == 401
        assert (await served.http.get("/healthz")).status_code == 200
        assert len(served.upstream[0].requests) == 1


async def test_tenant_user_session_and_priority_reach_the_engine(tmp_path: object) -> None:
    log = f"{tmp_path}/audit.jsonl"
    async with proxied(["Hello."], limits=KEYS, audit={"on": True, "path": log}) as served:
        key = {"Authorization": "Bearer k-acme"}
        await served.ask({**BODY, "user": "zoë"}, X_Session_Id="s-1", **key)
        await served.ask({**BODY, "user": "zoë"}, **key)
        await served.ask(BODY, X_Priority="background", X_Session_Id="s-1", **key)
        await served.ask(BODY, X_Priority="speculative", X_Session_Id="s-1", **key)
    with open(log, encoding="utf-8") as file:  # noqa: ASYNC230
        lines = [json.loads(line) for line in file]
    assert {line["tenant"] for line in lines} == {"acme"}
    assert [(line["user"], line["session"] == "s-1") for line in lines] == [
        ("zoë", True),
        ("zoë", False),
        ("", False),
        ("", True),
    ]
    assert (lines[1]["session"] != "", lines[2]["session"], lines[3]["speculative"]) == (True, "", True)
    assert lines[0]["turn"] == 1


async def test_a_key_has_so_many_requests_at_once() -> None:
    slow = Reply("Late.", first_token_seconds=30)
    async with proxied([slow], limits=KEYS) as served:
        key = {"Authorization": "Bearer k-acme"}
        waiting = [asyncio.create_task(served.ask(BODY, **key)) for _ in range(2)]
        await served.upstream[0].requested(2)
        third = await served.ask(BODY, **key)
        assert (third.status_code, third.json()["error"]["code"]) == (429, "too_many_sessions")
        assert int(third.headers["retry-after"]) > 0
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: served.proxy.access.requests == 0)


# -- hanging up and going down --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_ends_the_request_at_once(stream: bool) -> None:
    endless = Reply("One " * 5000, token_seconds=0.05)
    async with proxied([endless]) as served:
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as other:
            asking = asyncio.create_task(other.post("/v1/chat/completions", json={**BODY, "stream": stream}))
            await served.upstream[0].requested(1)
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await served.upstream[0].disconnected(1)
        await until(lambda: served.proxy.access.requests == 0)
        assert metric(await metrics(served), 'voiceagent_proxy_requests_total{status="499"}') == 1


async def test_draining_lets_answers_finish_and_refuses_new_ones() -> None:
    async with proxied([Reply("One two three four.", token_seconds=0.1)]) as served, served.client() as client:
        asking = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=HI))
        await served.upstream[0].requested(1)
        draining = asyncio.create_task(served.proxy.drain())
        await until(lambda: served.proxy.access.draining)
        health = await served.http.get("/healthz")
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        refused = await served.ask(BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_draining")
        assert (await asking).choices[0].message.content == "One two three four."
        await draining


async def test_what_takes_longer_than_the_drain_is_ended_with_an_error() -> None:
    async with proxied([Reply("One " * 5000, token_seconds=0.02)]) as served:
        served.proxy.drain_seconds = 0.2
        asking = asyncio.create_task(served.ask({**BODY, "stream": True}))
        await served.upstream[0].requested(1)
        await asyncio.sleep(0.1)
        await served.proxy.drain()
        text = (await asking).text
    assert json.loads(text.strip().rpartition("data: ")[2])["error"]["code"] == "server_draining"


async def test_health_and_status_are_shown() -> None:
    async with proxied(["Hello."], ["Hello."]) as served:
        assert (await served.http.get("/healthz")).json() == {"status": "ok", "requests": 0}
        await served.ask(BODY)
        status = (await served.http.get("/llm/status")).json()
        assert [endpoint["name"] for endpoint in status["endpoints"]] == ["a", "b"]
        assert status["requests"] == 1
        assert (await served.http.get("/nowhere")).json()["error"]["code"] == "not_found"
        assert (await served.http.get("/v1/chat/completions")).status_code == 405
